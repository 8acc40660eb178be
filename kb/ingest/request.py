"""What an import was asked to do: kept with its job, so that it can be continued."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from kb.sources import Format, Reading

if TYPE_CHECKING:
    from collections.abc import Mapping


class UnknownColumns(StrEnum):
    """What happens to a column or key that is neither mapped nor a field."""

    ERROR = "error"
    IGNORE = "ignore"


class OnConflict(StrEnum):
    """What happens to a row whose document was edited since its last import from the same source."""

    KEEP = "keep"
    THEIRS = "theirs"
    FAIL = "fail"


CONTENT_KEY: Final = "@content"
"""As the only key column: the id is a hash of the fields that the input fills."""


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """From the columns of an input to the fields of a collection.

    Wherever a field is named, ``id`` is allowed too. Wherever a column is named, a path into a nested record
    (``author.name``, ``tags.0``) is allowed too; a column of that very name wins. What is said here wins over a
    column that has the name of a field.

    Attributes:
        columns: By input column, the field that it fills, or several.
        constants: By field, the value that every document gets, spelled as in a CSV file.
        templates: By field, a text with ``{column}`` in it.
        split: By list field, what separates the items in one cell.
        dates: By date or datetime field, its format, as ``strptime`` reads it.
        key: Columns whose values, joined by ``-``, make the id; ``("@content",)`` for a hash of the filled fields;
            empty when something else fills it.
        where: A filter over the input's columns; other rows are not read at all.
        nulls: Words that mean "missing" as an empty cell does, e.g. ``("NULL", "N/A")``.
        unknown_columns: What happens to columns that nothing here names and no field is called.
    """

    columns: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)
    split: Mapping[str, str] = field(default_factory=dict)
    dates: Mapping[str, str] = field(default_factory=dict)
    key: tuple[str, ...] = ()
    where: str | None = None
    nulls: tuple[str, ...] = ()
    unknown_columns: UnknownColumns = UnknownColumns.ERROR

    @property
    def targets(self) -> Mapping[str, tuple[str, ...]]:
        """By mapped column, the fields that it fills."""
        return {c: (fields,) if isinstance(fields, str) else tuple(fields) for c, fields in self.columns.items()}


@dataclass(frozen=True, slots=True)
class Policy:
    """What an import does about rows that are wrong, in conflict, or gone.

    Attributes:
        atomic: All rows or none, in one transaction; its steps belong to one thread.
        max_errors: At more rejected rows than this the import stops; None for no bound.
        max_error_share: The same as a share of the rows read, in [0, 1].
        source: A name for where the rows come from; documents remember it.
        sync: Whether documents of that source that are not in the input any more are deleted.
        max_delete: The largest share of the source's documents that a sync may delete, in [0, 1].
        on_conflict: What happens to rows whose documents were edited; only with a source.
        fail_empty: Whether no rows at all is an error.
    """

    atomic: bool = False
    max_errors: int | None = None
    max_error_share: float | None = None
    source: str | None = None
    sync: bool = False
    max_delete: float = 0.1
    on_conflict: OnConflict = OnConflict.FAIL
    fail_empty: bool = False


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """The inputs of an import, how to read them, and what to do with them.

    Attributes:
        files: Paths, patterns or folders; ``-`` for standard input.
        reading: How to read them.
        mapping: How their columns fill fields.
        policy: What to do about rows that are wrong, in conflict, or gone.
        fingerprints: What the files were like when the job started, one entry a file; None for standard input.
    """

    files: tuple[str, ...]
    reading: Reading = field(default_factory=Reading)
    mapping: FieldMapping = field(default_factory=FieldMapping)
    policy: Policy = field(default_factory=Policy)
    fingerprints: tuple[str | None, ...] = ()

    def to_json(self) -> str:
        """Return the request as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ImportRequest:
        """Return the request that ``to_json`` wrote."""
        raw = json.loads(text)
        reading, mapping, policy = raw["reading"], raw["mapping"], raw["policy"]
        if reading.get("format") is not None:
            reading["format"] = Format(reading["format"])
        # JSON has no tuples.
        mapping["columns"] = {c: tuple(f) if isinstance(f, list) else f for c, f in mapping["columns"].items()}
        mapping["key"] = tuple(mapping.get("key", ()))
        mapping["nulls"] = tuple(mapping.get("nulls", ()))
        mapping["unknown_columns"] = UnknownColumns(mapping["unknown_columns"])
        if "on_conflict" in policy:
            policy["on_conflict"] = OnConflict(policy["on_conflict"])
        return cls(
            files=tuple(raw["files"]),
            reading=Reading(**reading),
            mapping=FieldMapping(**mapping),
            policy=Policy(**policy),
            fingerprints=tuple(raw["fingerprints"]),
        )
