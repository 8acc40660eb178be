"""The same two rows in every format, as bytes; and each way of packing them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sqlite3
import tempfile
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from kb.sources import Format, Reading

ROWS: list[dict[str, object]] = [{"id": "a", "t": "café"}, {"id": "b", "t": "x\ny"}]
SUFFIX = {
    Format.CSV: ".csv",
    Format.TSV: ".tsv",
    Format.JSON: ".json",
    Format.JSONL: ".jsonl",
    Format.PARQUET: ".parquet",
    Format.EXCEL: ".xlsx",
    Format.SQLITE: ".db",
}
TABLES = list(SUFFIX)
PACK = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}


def reading(format: Format, *, said: bool = False) -> Reading:
    """Return how the sample of a format is read; ``said`` names the format, too."""
    return Reading(format if said else None, sql="SELECT * FROM t" if format is Format.SQLITE else None)


def sample(format: Format, rows: list[dict[str, object]] = ROWS) -> bytes:
    """Return rows as a file of a format."""
    if format in (Format.CSV, Format.TSV):
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter="," if format is Format.CSV else "\t")
        writer.writerows([list(rows[0]), *(list(row.values()) for row in rows)])
        return text.getvalue().encode()
    if format is Format.JSON:
        return json.dumps(rows).encode()
    if format is Format.JSONL:
        return "\n".join(json.dumps(row) for row in rows).encode()
    if format is Format.PARQUET:
        return parquet(pa.Table.from_pylist(rows))
    if format is Format.EXCEL:
        return workbook([list(rows[0]), *(list(row.values()) for row in rows)])
    columns = ", ".join(f'"{name}"' for name in rows[0])
    marks = ", ".join("?" * len(rows[0]))
    return database(
        f"CREATE TABLE t ({columns})", *((f"INSERT INTO t VALUES ({marks})", tuple(r.values())) for r in rows)
    )


def parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def workbook(*sheets: list[list[object]], names: tuple[str, ...] = ("one", "two", "three")) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in zip(names, sheets, strict=False):
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def database(*statements: str | tuple[str, tuple[object, ...]]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.db")
        connection = sqlite3.connect(path)
        for statement in statements:
            if isinstance(statement, str):
                connection.execute(statement)
            else:
                connection.execute(*statement)
        connection.commit()
        connection.close()
        return path.read_bytes()
