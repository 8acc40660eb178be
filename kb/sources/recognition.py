"""What an input is: by its name, by its first bytes, and, where neither says it, by text that can be one thing only."""

from __future__ import annotations

import csv
import io
import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from kb.sources.content import codec_name
from kb.sources.dialect import DELIMITERS, Dialect
from kb.sources.packing import Packing
from kb.sources.source import Format

if TYPE_CHECKING:
    from kb.sources.reading import Reading

SUFFIXES: Final = {
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".tab": Format.TSV,
    ".json": Format.JSON,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
    ".xlsx": Format.EXCEL,
    ".xlsm": Format.EXCEL,
    ".db": Format.SQLITE,
    ".sqlite": Format.SQLITE,
    ".sqlite3": Format.SQLITE,
    ".md": Format.MARKDOWN,
    ".markdown": Format.MARKDOWN,
    ".txt": Format.MARKDOWN,
}
_BINARY: Final = (
    (rb"PAR1", Format.PARQUET),
    (rb"PK\x03\x04(?=.*xl/)", Format.EXCEL),
    (rb"SQLite format 3\x00", Format.SQLITE),
)
_SAMPLE_LINES: Final = 20


def format_of_name(path: str) -> Format | None:
    """Return the format that the end of a name says, with or without that of a compression, or None."""
    return SUFFIXES.get(PurePath(without_packing(path)).suffix.lower())


def without_packing(path: str) -> str:
    """Return the name without the suffix of a compression."""
    for packing in Packing:
        if path.lower().endswith(packing.suffix):
            return path[: -len(packing.suffix)]
    return path


def format_of_content(head: bytes, reading: Reading) -> Format | None:
    """Return what the beginning of an input shows that it is, or None where that is not certain.

    Parquet, Excel and SQLite have their own first bytes. Text that begins with ``[`` is a JSON list; with ``{``, JSON
    Lines, or a JSON document where ``records`` is given. It is CSV or TSV when its first row names different columns,
    at least two, and the rows that follow have as many cells: prose has a comma now and then, but not so.
    """
    for magic, format in _BINARY:
        if re.match(magic, head, re.DOTALL):
            return format
    text = head.decode(codec_name(reading.encoding), "replace").lstrip("\ufeff")
    start = text.lstrip()[:1]
    if start == "[" or (start == "{" and reading.records is not None):
        return Format.JSON
    if start in ("{", ""):
        return Format.JSONL
    if reading.delimiter is not None or reading.quote is not None or not reading.header:
        return Format.CSV
    for delimiter in DELIMITERS:
        if _is_table(text, delimiter):
            return Format.TSV if delimiter == "\t" else Format.CSV
    return None


def _is_table(text: str, delimiter: str) -> bool:
    records: list[list[str]] = []
    try:
        for cells in Dialect(delimiter, sniffed=True).read(io.StringIO(text, newline="")):
            if any(cell.strip() for cell in cells):
                records.append(cells)
            if len(records) == _SAMPLE_LINES:
                break
    except csv.Error as error:
        if "unexpected end" not in str(error):
            return False
    if not records or len({len(cells) for cells in records}) > 1:
        return False
    names = records[0]
    return len(names) > 1 and len(set(names)) == len(names) and all(name.strip() for name in names)
