"""``open_source``: from a path to the reader for it."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from kb.errors import UsageError
from kb.sources.content import inspect
from kb.sources.csv_reader import CsvSource
from kb.sources.input import Input, source_error
from kb.sources.json_reader import JsonArraySource, JsonLinesSource
from kb.sources.reading import Reading
from kb.sources.row import Limits
from kb.sources.source import Format

if TYPE_CHECKING:
    from kb.sources.source import Source

_SUFFIXES: Final = {
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".tab": Format.TSV,
    ".json": Format.JSON,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
}
_SAY: Final = "say --input csv|tsv|json|jsonl"


def open_source(
    path: str,
    reading: Reading = Reading(),
    *,
    limits: Limits = Limits(),
) -> Source:
    """Return the input behind a path after looking at its first megabyte.

    Args:
        path: A file or named pipe, or ``-`` for standard input.
        reading: How to read it.
        limits: What a row may measure.

    Raises:
        UsageError: The format of stdin is not given, or the encoding or delimiter cannot be one.
        SourceError: The input cannot be read, is something else, or has a header that cannot be used.
    """
    format = _by_suffix(path) if reading.format is None else reading.format
    delimiter = reading.delimiter
    if delimiter is not None and format not in (Format.CSV, Format.TSV):
        raise UsageError(f"a delimiter is given, but {format} has none")
    opened = Input(path)
    content = inspect(opened, format, reading.encoding)
    if format is Format.JSONL:
        return JsonLinesSource(opened, content, format, limits)
    if format is Format.JSON:
        return JsonArraySource(opened, content, format, limits)
    return CsvSource(opened, content, format, limits, delimiter=delimiter)


def _by_suffix(path: str) -> Format:
    if path == "-":
        raise UsageError("the format of standard input is not known", hint=_SAY)
    suffix = PurePath(path).suffix.lower()
    if suffix not in _SUFFIXES:
        Input(path)  # a missing file or a directory is the better message
        raise source_error(f"the format of {path} is not known by its name", _SAY)
    return _SUFFIXES[suffix]
