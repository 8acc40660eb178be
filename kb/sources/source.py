"""``Source``: what every input offers, whatever it is made of; ``FileSource``: what the inputs made of bytes share."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kb.sources.content import Content
    from kb.sources.input import Input, SourceFingerprint
    from kb.sources.row import Limits, Row


class Format(StrEnum):
    """What an input is."""

    CSV = "csv"
    TSV = "tsv"
    JSON = "json"  # one list of objects, or a document that holds one
    JSONL = "jsonl"  # one object a line
    PARQUET = "parquet"
    EXCEL = "excel"  # one sheet of a workbook (xlsx)
    SQLITE = "sqlite"  # the rows that a query gives
    MARKDOWN = "markdown"  # one Markdown or text file, or a folder of them; a row each


class Source(Protocol):
    """An input that can be read row by row.

    Attributes:
        name: The path as given, ``<stdin>`` or ``<data frame>``.
        format: What it is; JSON Lines for a data frame.
        rejects: How its rejected rows are written: CSV, TSV and JSON as they came, all else as JSON Lines.
        encoding: The codec of its text.
        textual: Whether values are text, to be parsed by the type of their field.
        columns: The header, without the columns that the reject writer adds; None for JSON and Markdown.
        delimiter: What separates the cells of CSV and TSV, else None.
        total: The size in bytes (of data frames and Parquet: in rows; of a folder: in files), or None when it cannot
            be known.
        position: How much of ``total`` has been read; for a progress bar, ahead of the last row by a buffer.
        notes: What a person should know, e.g. that there are no rows; complete when the rows have been read.
    """

    name: str
    format: Format
    rejects: Format
    encoding: str
    textual: bool
    columns: tuple[str, ...] | None
    delimiter: str | None
    notes: list[str]

    @property
    def total(self) -> int | None:
        """The size; see above."""
        ...

    @property
    def position(self) -> int:
        """How much has been read; see above."""
        ...

    def place(self, line: int) -> str:
        """Return in words where the row of that line stands: ``on line 5``, or ``in notes.md`` where it is a file."""
        ...

    def rows(self) -> Iterator[Row]:
        """Yield the rows in order; what cannot be read is a row with a problem.

        Raises:
            SourceError: The rest cannot be read at all.
            SourceChangedError: The input is not what it was when it was opened.
        """
        ...

    def fingerprint(self) -> SourceFingerprint | None:
        """Return what identifies the content as it was when the input was opened; None for stdin and data frames."""
        ...

    def check_unchanged(self) -> None:
        """Raise ``SourceChangedError`` when the input is not what it was when it was opened."""
        ...


class FileSource:
    """The part of a ``Source`` that files, pipes and stdin share."""

    def __init__(self, opened: Input, format: Format, limits: Limits, *, encoding: str = "utf-8") -> None:
        self.name = opened.name
        self.format = format
        self.rejects: Format = format if format in (Format.CSV, Format.TSV, Format.JSON) else Format.JSONL
        self.encoding = encoding
        self.columns: tuple[str, ...] | None = None
        self.delimiter: str | None = None
        self.notes: list[str] = []
        self._input = opened
        self._limits = limits

    @property
    def total(self) -> int | None:
        """The size in bytes, None for a pipe."""
        return self._input.size

    @property
    def position(self) -> int:
        """How many bytes have been read."""
        return self._input.position

    def place(self, line: int) -> str:
        """Return in words where the row of that line stands."""
        return f"on line {line}"

    def begin(self) -> None:
        """Make sure, before the first row, that the file is what it was when it was opened."""
        self.check_unchanged()
        self._input.begun = True

    def fingerprint(self) -> SourceFingerprint | None:
        """Return what identifies the content as it was when the input was opened; None for a pipe."""
        return self._input.fingerprint

    def check_unchanged(self) -> None:
        """Raise ``SourceChangedError`` when the file is not what it was when it was opened."""
        self._input.check_unchanged()


class TextSource(FileSource):
    """The part that the inputs made of text share.

    Attributes:
        blank: Whether there is nothing in it but white space; a note says so.
    """

    def __init__(self, opened: Input, content: Content, format: Format, limits: Limits) -> None:
        super().__init__(opened, format, limits, encoding=content.encoding)
        self.blank = content.complete and not content.text.strip()
        if not opened.head:
            self.notes.append(f"{self.name} is empty (0 bytes)")
        elif self.blank:
            self.notes.append(f"{self.name} holds only blank lines")
