"""Taking documents out: to a file or a stream that ``kb import`` reads back without a change, or to a data frame."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from kb import catalog as cat
from kb.errors import UsageError
from kb.filters import matches
from kb.sources import Column, ExportFormat, export_format, replacing, to_typed_frame, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from sqlalchemy import Connection

    from kb.filters import Filter
    from kb.schema import Schema, Value

Place: TypeAlias = "tuple[cat.Catalog, cat.StoredCollection]"


def export(
    place: Place | None,
    schema: Schema,
    where: Filter | None,
    file: str | os.PathLike[str] | BinaryIO,
    *,
    format: ExportFormat | None = None,
    fields: Sequence[str] | None = None,
    raw: bool = False,
    force: bool = False,
) -> int:
    """Write documents, ordered by id, as they are at one moment, and return how many.

    Of a damaged catalog those that can be read are written, in the order of its rows.

    The id comes first, under the name of the key's column (``id`` where a field has that name), then the fields.

    Args:
        place: Where the documents are; None while nobody has stored any.
        schema: Of the collection.
        where: A checked filter; None for all.
        file: A path, or a stream that takes bytes. A file is there when it is complete, or not at all.
        format: How to write them; None to go by the end of the file's name.
        fields: Which fields, in this order; None for all in declared order.
        raw: Leave in CSV what a spreadsheet would run as a formula; see ``kb.sources.quoted``.
        force: Replace a file that is there.

    Raises:
        UsageError: No format is known, ``raw`` without CSV, or a field is named twice.
        SchemaError: A field does not exist.
        ConflictError: The file exists.
        LimitError: There is no space left; nothing of the file stays.
    """
    columns = columns_of(schema, fields)
    format = _format(file, format)
    if raw and format is not ExportFormat.CSV:
        raise UsageError(
            f"raw cells are a matter of CSV, not of {format}", unchanged="nothing was written", hint="leave out --raw"
        )
    with _stream(file, force=force) as stream, _snapshot(place) as connection:
        return write_rows(stream, format, columns, partial(_rows, connection, place, columns, where), raw=raw)


def to_frame(
    place: Place | None, schema: Schema, where: Filter | None, *, fields: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return documents, ordered by id, as a data frame with a column for the id and one for each field.

    Numbers, strings and booleans have pandas' nullable types, instants ``datetime64[us, UTC]``; days and lists are
    Python objects. ``Collection.import_frame`` reads it back without a change.

    Args:
        place: Where the documents are; None while nobody has stored any.
        schema: Of the collection.
        where: A checked filter; None for all.
        fields: Which fields, in this order; None for all in declared order.

    Raises:
        UsageError, SchemaError: As ``export``.
    """
    columns = columns_of(schema, fields)
    with _snapshot(place) as connection:
        return to_typed_frame(columns, _rows(connection, place, columns, where))


def _saved_rows(place: Place, columns: Sequence[Column], where: Filter | None) -> Iterator[list[Value]]:
    """Yield what can be read of a damaged catalog, in the order of its rows."""
    schema = place[1].schema
    for saved in cat.saved_documents(place[0].path, place[1].id):
        document = schema.load(saved.key, saved.fields)
        if where is None or matches(where, document):
            yield [saved.key, *(document.__dict__.get(column.name) for column in columns[1:])]


def columns_of(schema: Schema, fields: Sequence[str] | None) -> list[Column]:
    """Return the columns of an export; as ``export``."""
    # A key that is a field as well may have been edited there: the id needs a column of its own then.
    key = "id" if schema.key in schema.fields else schema.key
    names = list(schema.fields) if fields is None else [name for name in fields if name not in ("id", key)]
    for name in names:
        schema.field(name)
        if names.count(name) > 1:
            raise UsageError(f"the field '{name}' is named twice", unchanged="nothing was written")
    return [Column(key, None), *(Column(name, schema.fields[name]) for name in names)]


def _format(file: str | os.PathLike[str] | BinaryIO, format: ExportFormat | None) -> ExportFormat:
    if isinstance(file, str | os.PathLike):
        return format or export_format(PurePath(file).suffix)
    if hasattr(file, "encoding"):
        raise UsageError(
            "the export is bytes, but the file takes text", unchanged="nothing was written", hint='open it with "wb"'
        )
    return format or ExportFormat.JSONL


@contextmanager
def _stream(file: str | os.PathLike[str] | BinaryIO, *, force: bool) -> Iterator[BinaryIO]:
    if not isinstance(file, str | os.PathLike):
        yield file
        return
    with replacing(os.fspath(file), force=force) as stream:
        yield stream


@contextmanager
def _snapshot(place: Place | None) -> Iterator[Connection | None]:
    if place is None:
        yield None
        return
    with place[0].read() as connection:
        yield connection


def _rows(
    connection: Connection | None, place: Place | None, columns: Sequence[Column], where: Filter | None
) -> Iterator[list[Value]]:
    """Yield the typed values of each document, in the order of the columns."""
    if connection is None or place is None:
        return
    if place[0].damage is not None:
        yield from _saved_rows(place, columns, where)
        return
    condition = None if where is None else cat.to_sql(where, place[1].schema)
    loaders = [(column.name, column.field.load_value) for column in columns[1:] if column.field is not None]
    for key, text in cat.walk(connection, place[1].id, condition):
        stored = json.loads(text)
        yield [key, *(load(stored.get(name)) for name, load in loaders)]
