"""From the columns of an input to the fields of a schema: checked once per file, applied to every row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kb.errors import DocumentError, SourceError, UsageError, nearest
from kb.ingest.request import UnknownColumns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kb.ingest.request import FieldMapping
    from kb.schema import Document, Schema
    from kb.sources import Row


@dataclass(frozen=True, slots=True)
class Columns:
    """How the rows of one input become documents of one schema."""

    schema: Schema
    mapping: Mapping[str, str]
    split: Mapping[str, str]
    ignore_unknown: bool
    textual: bool

    def document(self, row: Row) -> Document:
        """Return the document of a readable row.

        Raises:
            DocumentError: With every problem of the row.
        """
        values: dict[str, object] = {}
        # What kb exports has a column of its own for the id where the key is a field as well.
        apart = "id" in row.values and self.schema.key in self.schema.fields
        for column, value in row.values.items():
            for name in self.targets(column):
                if apart and name == "id" and column == self.schema.key and column not in self.mapping:
                    continue
                if name in values and values[name] is not None and value is not None:
                    raise DocumentError("", problems=(f"{name}: filled by two columns, one of them '{column}'",))
                values[name] = value
        return self.schema.document(values, textual=self.textual, separators=self.split)

    def targets(self, column: str) -> tuple[str, ...]:
        """Return what a column fills: fields, ``id``, or nothing; an unknown one itself, for the schema to name."""
        if column in self.mapping:
            return (self.mapping[column],)
        found = [column] if column in self.schema.fields else []
        if column == self.schema.key:
            found.append("id")
        if found or self.ignore_unknown:
            return tuple(found)
        return (column,)


def resolve(
    schema: Schema, mapping: FieldMapping, header: Sequence[str] | None, *, name: str, textual: bool
) -> Columns:
    """Return the checked columns of one input.

    Args:
        schema: Of the collection.
        mapping: What fills what.
        header: The input's columns where it declares them, else None.
        name: The input's name, for messages.
        textual: Whether its values are text.

    Raises:
        UsageError: The mapping or the splitting names what is not there.
        SourceError: The header has unknown columns, or lacks the key or a required field.
    """
    valid = ["id", *schema.fields]
    for column, target in mapping.columns.items():
        if target not in valid:
            raise UsageError(f"--map {column}={target}: '{target}' is not a field", hint=nearest(target, valid))
        if header is not None and column not in header:
            raise UsageError(f"--map {column}={target}: {name} has no column '{column}'", hint=nearest(column, header))
    for target in mapping.split:
        declared = schema.fields.get(target)
        if declared is None or not declared.many:
            lists = [f.name for f in schema.fields.values() if f.many]
            raise UsageError(f"--split {target}: '{target}' is not a list field", hint=nearest(target, lists))
    ignore = mapping.unknown_columns is UnknownColumns.IGNORE
    columns = Columns(schema, mapping.columns, mapping.split, ignore, textual)
    if header is not None:
        _check_header(columns, header, name)
    return columns


def _check_header(columns: Columns, header: Sequence[str], name: str) -> None:
    schema = columns.schema
    valid = ["id", *schema.fields]
    unknown = [c for c in header if any(t not in valid for t in columns.targets(c))]
    if unknown:
        listed = ", ".join(f"'{c}'" for c in unknown[:10])
        raise SourceError(
            f"{name} has {'an unknown column' if len(unknown) == 1 else 'unknown columns'}: {listed}",
            unchanged="nothing was imported",
            hint=f"{nearest(unknown[0], [schema.key, *schema.fields])}; "
            f"map it (--map '{unknown[0]}=field') or leave such columns out (--unknown-columns ignore); "
            "is the first line a header?",
        )
    filled = {target for column in header for target in columns.targets(column)}
    required = [f.name for f in schema.fields.values() if f.required and not f.many and f.default is None]
    missing = [n for n in required if n not in filled]
    if "id" not in filled:
        missing.insert(0, schema.key)
    if missing:
        listed = ", ".join(f"'{n}'" for n in missing)
        raise SourceError(
            f"{name} has no column for {listed}",
            unchanged="nothing was imported",
            hint=f"its columns: {', '.join(header)}; say which one it is: --map 'COLUMN={missing[0]}'",
        )
