"""A mapping meets an input: every name in it is looked up before the first row is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kb.errors import SourceError, UsageError, nearest
from kb.ingest.cells import root_of
from kb.ingest.columns import Columns
from kb.ingest.request import CONTENT_KEY
from kb.ingest.row_filter import row_filter
from kb.schema import FieldType

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kb.ingest.request import FieldMapping, ImportRequest
    from kb.schema import Schema
    from kb.sources import Row, Source

_NOTHING = "nothing was imported"


def resolve_all(schema: Schema, request: ImportRequest, sources: Sequence[Source]) -> list[Columns]:
    """Return the checked columns of every input of a request; as ``resolve``."""
    # SQLite has no booleans; its rejects, which are JSON Lines, are read with the query that they came from.
    numeric = request.reading.sql is not None
    return [
        resolve(schema, request.mapping, s.columns or None, name=s.name, textual=s.textual, numeric_booleans=numeric)
        for s in sources
    ]


def resolve(
    schema: Schema,
    mapping: FieldMapping,
    header: Sequence[str] | None,
    *,
    name: str,
    textual: bool,
    numeric_booleans: bool = False,
) -> Columns:
    """Return the checked columns of one input.

    Args:
        schema: Of the collection.
        mapping: What fills what.
        header: The input's columns where it declares them, else None.
        name: The input's name, for messages.
        textual: Whether its values are text.
        numeric_booleans: Whether 0 and 1 are what the input has for false and true.

    Raises:
        UsageError: The mapping names what is not there, fills a field in two ways, or has a constant, template, date
            format or filter that cannot be one.
        SourceError: The header has unknown columns, or lacks the key or a required field.
    """
    _check_fields(schema, mapping)
    _check_ways(mapping)
    columns = Columns(schema, mapping, header, textual=textual, numeric_booleans=numeric_booleans)
    if header is not None:
        _check_named(mapping, columns, header, name)
    if mapping.where is not None:
        columns.read_only(row_filter(mapping.where, columns, header))
    if header is not None:
        _check_header(columns, header, name)
    return columns


@dataclass
class Tally:
    """How many rows an import has seen in all its inputs, and how many of them ``--where`` has left out."""

    seen: int = 0
    left_out: int = 0


def selected(source: Source, columns: Columns, tally: Tally) -> Iterator[Row]:
    """Yield the rows of a source that are to be read; a column that is nowhere becomes a note of it.

    Args:
        source: The input.
        columns: How its rows become documents.
        tally: Goes on counting the rows.
    """
    # A header has been compared with the mapping already.
    unseen = set() if source.columns else set(columns.named)
    before = tally.seen
    for row in source.rows():
        tally.seen += 1
        if unseen and row.problem is None:
            unseen -= {name for name in unseen if columns.has(row, name)}
        kept = columns.select(row)
        if kept is None:
            tally.left_out += 1
        else:
            yield kept
    if unseen and tally.seen > before:
        source.notes += [
            f"{source.name}: no row has a column '{name}', which the mapping names" for name in sorted(unseen)
        ]


def _check_fields(schema: Schema, mapping: FieldMapping) -> None:
    valid = ["id", *schema.fields]
    named = [(f"--map {column}={target}", target) for column, names in mapping.targets.items() for target in names]
    named += [(f"--set {target}={text}", target) for target, text in mapping.constants.items()]
    named += [(f"--template {target}={text}", target) for target, text in mapping.templates.items()]
    for option, target in named:
        if target not in valid:
            raise _usage(f"{option}: '{target}' is not a field", nearest(target, valid))
    lists = [f.name for f in schema.fields.values() if f.many]
    for target in mapping.split:
        if target not in lists:
            raise _usage(f"--split {target}: '{target}' is not a list field", nearest(target, lists))
    days = [f.name for f in schema.fields.values() if f.type in (FieldType.DATE, FieldType.DATETIME)]
    for target in mapping.dates:
        if target not in days:
            raise _usage(f"--date-format {target}: '{target}' is not a date or datetime field", nearest(target, days))


def _check_ways(mapping: FieldMapping) -> None:
    """Make sure that nothing is filled in two ways; two columns may take turns in filling one field."""
    found = {target: f"--map {column}={target}" for column, names in mapping.targets.items() for target in names}
    for option, targets in (("--set", mapping.constants), ("--template", mapping.templates)):
        for target, text in targets.items():
            way = f"{option} {target}={text}"
            if target in found:
                raise _usage(f"'{target}' is filled twice: {found[target]} and {way}", "leave one of them out")
            found[target] = way
    key = f"--key {','.join(mapping.key)}"
    if mapping.key and "id" in found:
        raise _usage(f"the id is made twice: {key} and {found['id']}", "leave one of them out")
    if CONTENT_KEY in mapping.key and len(mapping.key) > 1:
        raise _usage(f"{key}: {CONTENT_KEY} stands alone", f"write --key {CONTENT_KEY}, or name columns only")


def _check_named(mapping: FieldMapping, columns: Columns, header: Sequence[str], name: str) -> None:
    options = {column: f"--map {column}={','.join(names)}" for column, names in mapping.targets.items()}
    for column in columns.named:
        if column in header or (not columns.textual and root_of(column) in header):
            continue
        option = options.get(column) or _option_of(mapping, column)
        raise _usage(f"{option}: {name} has no column '{column}'", nearest(column, header))


def _option_of(mapping: FieldMapping, column: str) -> str:
    if column in mapping.key:
        return f"--key {','.join(mapping.key)}"
    target = next(t for t, text in mapping.templates.items() if f"{{{column}}}" in text)
    return f"--template {target}={mapping.templates[target]}"


def _check_header(columns: Columns, header: Sequence[str], name: str) -> None:
    schema = columns.schema
    unknown = [column for column in header if columns.targets(column) is None]
    if unknown:
        raise _unknown_columns(columns, unknown, name)
    filled = {target for column in header for target in columns.targets(column) or ()} | columns.explicit
    required = [f.name for f in schema.fields.values() if f.required and not f.many and f.default is None]
    missing = [n for n in required if n not in filled]
    if "id" not in filled:
        missing.insert(0, schema.key)
    if missing:
        listed = ", ".join(f"'{n}'" for n in missing)
        raise SourceError(
            f"{name} has no column for {listed}",
            unchanged=_NOTHING,
            hint=f"its columns: {', '.join(header)}; say which one it is: --map 'COLUMN={missing[0]}'",
        )


def _unknown_columns(columns: Columns, unknown: Sequence[str], name: str) -> SourceError:
    first = unknown[0]
    if first in columns.explicit:
        hint = f"the mapping fills '{first}' in another way"
    else:
        hint = nearest(first, [columns.schema.key, *columns.schema.fields])
    listed = ", ".join(f"'{column}'" for column in unknown[:10])
    return SourceError(
        f"{name} has {'an unknown column' if len(unknown) == 1 else 'unknown columns'}: {listed}",
        unchanged=_NOTHING,
        hint=f"{hint}; map it (--map '{first}=field') or leave such columns out (--unknown-columns ignore); "
        "is the first line a header?",
    )


def _usage(what: str, hint: str) -> UsageError:
    return UsageError(what, unchanged=_NOTHING, hint=hint)
