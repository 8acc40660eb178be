"""``open_source``: from a path to the reader for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from kb.errors import UsageError
from kb.sources.arrow import ParquetSource
from kb.sources.content import CALLED, check_kind, inspect, kind_error
from kb.sources.csv_reader import CsvSource
from kb.sources.excel import ExcelSource
from kb.sources.folder import FolderSource
from kb.sources.input import Input, source_error
from kb.sources.json_reader import JsonArraySource, JsonLinesSource
from kb.sources.markdown import MarkdownSource
from kb.sources.reading import Reading
from kb.sources.recognition import format_of_content, format_of_name
from kb.sources.row import REASON, Limits
from kb.sources.source import Format
from kb.sources.sqlite import SqliteSource

if TYPE_CHECKING:
    from kb.sources.source import Source

_SAY: Final = f"say --input {'|'.join(Format)}"
_TABLES: Final = (Format.CSV, Format.TSV)
_NOT_TEXT: Final = (Format.PARQUET, Format.EXCEL, Format.SQLITE, Format.MARKDOWN)
_REJECTED: Final = f'{{"{REASON}": '.encode()


def open_source(
    path: str,
    reading: Reading = Reading(),
    *,
    limits: Limits = Limits(),
) -> Source:
    """Return the input behind a path after looking at its beginning.

    What is compressed by gzip or zstd is unpacked, whatever its name. Parquet, Excel and SQLite need to be read back
    and forth: compressed or from a pipe, they are copied to a temporary file first.

    Args:
        path: A file, a named pipe, a folder of Markdown and text files, or ``-`` for standard input.
        reading: How to read it. The format is that of the name; of a pipe without one, that of its content where
            ``recognition.format_of_content`` is certain, and a note says so. A file of rejected rows may be read
            with the options that gave those rows.
        limits: What a row may measure.

    Raises:
        UsageError: An option does not fit the format, a sheet or query is needed, or the encoding or delimiter cannot
            be one.
        SourceError: The input cannot be read, is something else, or has a header that cannot be used.
    """
    reading = _of_rejects(path, reading)
    format = reading.format or format_of_name(path)
    if os.path.isdir(path) and format in (None, Format.MARKDOWN):
        _check_options(reading, Format.MARKDOWN)
        return FolderSource(path, reading, limits)
    if format is not None:
        _check_options(reading, format)
        return _reader(Input(path), format, reading, limits)
    opened = Input(path)
    if opened.fingerprint is not None:
        raise kind_error(opened) or source_error(f"the format of {path} is not known by its name", _SAY)
    format = format_of_content(opened.head, reading)
    if format is None:
        raise kind_error(opened) or UsageError(f"what {opened.name} holds is not certain", hint=_SAY)
    _check_options(reading, format)
    source = _reader(opened, format, reading, limits)
    if opened.head:
        source.notes.insert(0, f"{opened.name} is read as {CALLED[format]}; --input says otherwise")
    return source


def _of_rejects(path: str, reading: Reading) -> Reading:
    """Return how to read a file of rejected rows: by its name, where the options speak of what it was made from."""
    told = reading.sql is not None or reading.sheet is not None or not reading.header
    of_another = os.path.isfile(path) and (reading.format in _NOT_TEXT or (reading.format is None and told))
    if of_another and format_of_name(path) is Format.JSONL and Input(path).head.startswith(_REJECTED):
        return Reading(encoding=reading.encoding)
    return reading


def _reader(opened: Input, format: Format, reading: Reading, limits: Limits) -> Source:
    if format is Format.MARKDOWN:
        return MarkdownSource(opened, reading, limits)
    if format in (Format.PARQUET, Format.EXCEL, Format.SQLITE):
        check_kind(opened, format)
        if format is Format.PARQUET:
            return ParquetSource(opened, limits)
        if format is Format.EXCEL:
            return ExcelSource(opened, reading, limits)
        return SqliteSource(opened, reading, limits)
    content = inspect(opened, format, reading.encoding)
    if format is Format.JSONL:
        return JsonLinesSource(opened, content, format, limits)
    if format is Format.JSON:
        return JsonArraySource(opened, content, limits, records=reading.records)
    return CsvSource(opened, content, format, reading, limits)


def _check_options(reading: Reading, format: Format) -> None:
    """Refuse what has no meaning for the format, rather than to leave it out."""
    given = {
        "delimiter": (reading.delimiter is not None, _TABLES),
        "quote": (reading.quote is not None, _TABLES),
        "first row without names": (not reading.header, (*_TABLES, Format.EXCEL)),
        "path to records": (reading.records is not None, (Format.JSON,)),
        "sheet": (reading.sheet is not None, (Format.EXCEL,)),
        "query": (reading.sql is not None, (Format.SQLITE,)),
        "encoding": (reading.encoding is not None, (*_TABLES, Format.JSON, Format.JSONL, Format.MARKDOWN)),
    }
    for option, (is_given, formats) in given.items():
        if is_given and format not in formats:
            article = "an" if option[0] in "aeiou" else "a"
            raise UsageError(f"{article} {option} is given, but {format} has none")
