"""Documents → CSV, JSON Lines or Parquet: the way out, from which the way in brings back every value as it was."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeAlias

from kb.errors import UsageError, nearest
from kb.schema import Field, FieldType, Value, json_datetime, split_list
from kb.sources.quoted import QUOTED, QuotedCell, inert, is_formula, names_cell, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pandas as pd
    import pyarrow as pa

_BLOCK_CHARACTERS: Final = 512 * 1024
_ROW_GROUP: Final = 10_000
_ROW_GROUP_CHARACTERS: Final = 16 * 1024 * 1024
_SUFFIXES: Final = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


class ExportFormat(StrEnum):
    """How documents are written."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of an export: its name, and the field that it holds; None for the id."""

    name: str
    field: Field | None


Rows: TypeAlias = "Callable[[], Iterator[Sequence[Value]]]"
"""Begins again at every call; the values of each row in the order of the columns."""


def export_format(suffix: str) -> ExportFormat:
    """Return the format that the end of a file's name stands for.

    Raises:
        UsageError: It stands for none.
    """
    found = _SUFFIXES.get(suffix.lower())
    if found is None:
        raise UsageError(
            f"'{suffix}' at the end of a file's name is no format to export to" if suffix else "no format is named",
            unchanged="nothing was written",
            hint=nearest(suffix, _SUFFIXES) + "; or say --to csv|jsonl|parquet",
        )
    return ExportFormat(found)


def write_rows(stream: BinaryIO, format: ExportFormat, columns: Sequence[Column], rows: Rows, *, raw: bool) -> int:
    """Write rows and return how many there were; the memory that it takes does not grow with their number.

    Args:
        stream: Takes bytes; text is UTF-8.
        format: How to write them.
        columns: What a row holds.
        rows: Read once; for CSV up to twice, since the header depends on whether there are quoted cells.
        raw: Leave in a CSV file what a spreadsheet would run as a formula.
    """
    if format is ExportFormat.PARQUET:
        return _write_parquet(stream, columns, rows())
    if format is ExportFormat.JSONL:
        return _write_blocks(stream, _json_lines(columns, rows()))
    return _write_blocks(stream, _csv_records(columns, rows, raw=raw)) - 1


def to_typed_frame(columns: Sequence[Column], rows: Iterable[Sequence[Value]]) -> pd.DataFrame:
    """Return one row a document; numbers, strings and booleans in nullable types, instants in UTC.

    Days and lists are Python objects.
    """
    import pandas as pd

    found = list(rows)
    series = {}
    for position, column in enumerate(columns):
        values = [row[position] for row in found]
        series[column.name] = pd.Series(values, dtype=_pandas_type(column.field), index=range(len(found)))
    return pd.DataFrame(series)


def _pandas_type(declared: Field | None) -> str:
    if declared is None:
        return "string"
    names = {FieldType.INT: "Int64", FieldType.FLOAT: "Float64", FieldType.BOOL: "boolean", FieldType.DATE: "object"}
    names[FieldType.DATETIME] = "datetime64[us, UTC]"
    return "object" if declared.many else names.get(declared.type, "string")


def _write_blocks(stream: BinaryIO, lines: Iterator[str]) -> int:
    count = size = 0
    block: list[str] = []
    for line in lines:
        block.append(line)
        count += 1
        size += len(line)
        if size >= _BLOCK_CHARACTERS:
            stream.write("".join(block).encode())
            block, size = [], 0
    stream.write("".join(block).encode())
    return count


def _json_lines(columns: Sequence[Column], rows: Iterator[Sequence[Value]]) -> Iterator[str]:
    names = [column.name for column in columns]
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_iso).encode
    for row in rows:
        yield encode(dict(zip(names, row, strict=True))) + "\n"


def _iso(value: object) -> str:
    if isinstance(value, datetime):
        return json_datetime(value)
    assert isinstance(value, date)
    return value.isoformat()


def _csv_records(columns: Sequence[Column], rows: Rows, *, raw: bool) -> Iterator[str]:
    names = [column.name for column in columns]
    cells = [_cell(column.field, raw=raw) for column in columns]
    some = [position for position, column in enumerate(columns) if _may_be_quoted(column.field)]
    with_quoted = any(isinstance(cells[position](row[position]), QuotedCell) for row in rows() for position in some)
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    # A name with a delimiter of any kind in it must not decide which one this file has.
    header = writer if all(name.isidentifier() for name in names) else csv.writer(buffer, quoting=csv.QUOTE_ALL)
    header.writerow([*names, QUOTED] if with_quoted else names)
    for row in rows():
        yield _taken(buffer)
        record = [cell(value) for cell, value in zip(cells, row, strict=True)]
        if with_quoted:
            record.append(names_cell([n for n, t in zip(names, record, strict=True) if isinstance(t, QuotedCell)]))
        writer.writerow(record)
    yield _taken(buffer)


def _may_be_quoted(declared: Field | None) -> bool:
    return declared is None or declared.is_string or declared.many


def _taken(buffer: io.StringIO) -> str:
    """Return the record just written, ended by LF: written with CRLF, cells that hold either half are enclosed."""
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text[:-2] + "\n"


def _cell(declared: Field | None, *, raw: bool) -> Callable[[Any], str]:
    """Return what turns a value of a field, or the id, into the text of a cell."""
    if declared is not None and not declared.many and not declared.is_string:
        return declared.format
    if declared is None or not declared.many:

        def text(value: str | None) -> str:
            if value is None:
                return ""
            return quote(value) if not value else value if raw else inert(value)

        return text

    def items(values: list[Any] | None) -> str:
        if not values:
            return quote("[]") if declared.default else ""
        if declared.separator is None:
            return _json_list(values)
        texts = [declared.format(value) for value in values]
        joined = declared.separator.join(texts)
        risky = declared.is_string and not raw and is_formula(joined)
        return quote(_json_list(values)) if risky or split_list(joined, declared.separator) != texts else joined

    return items


def _json_list(values: list[Any]) -> str:
    return json.dumps(values, ensure_ascii=False, default=_iso)


def _write_parquet(stream: BinaryIO, columns: Sequence[Column], rows: Iterator[Sequence[Value]]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([pa.field(column.name, _arrow_type(column.field)) for column in columns])
    count = 0
    with pq.ParquetWriter(_Counted(stream), schema, compression="zstd") as writer:
        for block in _row_groups(rows):
            arrays = [pa.array([row[position] for row in block], field.type) for position, field in enumerate(schema)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            count += len(block)
    return count


def _row_groups(rows: Iterator[Sequence[Value]]) -> Iterator[list[Sequence[Value]]]:
    group: list[Sequence[Value]] = []
    size = 0
    for row in rows:
        group.append(row)
        size += sum(len(value) for value in row if isinstance(value, str))
        if len(group) >= _ROW_GROUP or size >= _ROW_GROUP_CHARACTERS:
            yield group
            group, size = [], 0
    if group:
        yield group


def _arrow_type(declared: Field | None) -> pa.DataType:
    import pyarrow as pa

    if declared is None:
        return pa.string()
    kinds = {
        FieldType.INT: pa.int64(),
        FieldType.FLOAT: pa.float64(),
        FieldType.BOOL: pa.bool_(),
        FieldType.DATE: pa.date32(),
        FieldType.DATETIME: pa.timestamp("us", tz="UTC"),
    }
    kind = kinds.get(declared.type, pa.string())
    return pa.list_(kind) if declared.many else kind


class _Counted(io.RawIOBase):
    """A stream that knows how much it was given: Parquet asks where it is, and a pipe cannot say."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._written = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, data: Any) -> int:
        self._stream.write(data)
        self._written += len(data)
        return len(data)
