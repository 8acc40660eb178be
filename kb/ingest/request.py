"""What an import was asked to do: kept with its job, so that it can be continued."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class UnknownColumns(StrEnum):
    """What happens to a column or key that is neither mapped nor a field."""

    ERROR = "error"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """The inputs of an import and how to read them.

    Attributes:
        files: Paths, or ``-`` for standard input.
        input: The format, ``csv``, ``tsv``, ``json`` or ``jsonl``; None to go by the file's name.
        encoding: Of CSV and TSV; None for UTF-8.
        mapping: By input column, the field (or ``id``) that it fills.
        split: By field, what separates the items of a list in one cell.
        unknown_columns: What happens to other columns.
        fail_empty: Whether no rows at all is an error.
        fingerprints: What the files were like when the job started, one entry a file; None for standard input.
    """

    files: tuple[str, ...]
    input: str | None = None
    encoding: str | None = None
    mapping: Mapping[str, str] = field(default_factory=dict)
    split: Mapping[str, str] = field(default_factory=dict)
    unknown_columns: UnknownColumns = UnknownColumns.ERROR
    fail_empty: bool = False
    fingerprints: tuple[str | None, ...] = ()

    def to_json(self) -> str:
        """Return the request as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ImportRequest:
        """Return the request that ``to_json`` wrote."""
        raw = json.loads(text)
        return cls(
            **{
                **raw,
                "files": tuple(raw["files"]),
                "fingerprints": tuple(raw["fingerprints"]),
                "unknown_columns": UnknownColumns(raw["unknown_columns"]),
            }
        )
