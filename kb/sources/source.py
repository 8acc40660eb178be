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
    """How the records of an input are written."""

    CSV = "csv"
    TSV = "tsv"
    JSON = "json"  # one list of objects
    JSONL = "jsonl"  # one object a line


class Source(Protocol):
    """An input that can be read row by row.

    Attributes:
        name: The path as given, ``<stdin>`` or ``<data frame>``.
        format: How its rejected rows are written; JSON Lines for a data frame.
        encoding: The codec of its text.
        textual: Whether values are text, to be parsed by the type of their field.
        columns: The header, without the columns that the reject writer adds; None for JSON.
        delimiter: What separates the cells of CSV and TSV, else None.
        total: The size in bytes (of a data frame: in rows), or None when it cannot be known.
        position: How much of ``total`` has been read; for a progress bar, ahead of the last row by a buffer.
        notes: What a person should know, e.g. that there are no rows; complete when the rows have been read.
    """

    name: str
    format: Format
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

    def __init__(self, opened: Input, content: Content, format: Format, limits: Limits) -> None:
        self.name = opened.name
        self.format = format
        self.encoding = content.encoding
        self.columns: tuple[str, ...] | None = None
        self.delimiter: str | None = None
        self.notes: list[str] = []
        self._input = opened
        self._limits = limits
        if not opened.head:
            self.notes.append(f"{self.name} is empty (0 bytes)")
        elif content.complete and not content.text.strip():
            self.notes.append(f"{self.name} holds only blank lines")

    @property
    def total(self) -> int | None:
        """The size in bytes, None for a pipe."""
        return self._input.size

    @property
    def position(self) -> int:
        """How many bytes have been read."""
        return self._input.position

    def fingerprint(self) -> SourceFingerprint | None:
        """Return what identifies the content as it was when the input was opened; None for a pipe."""
        return self._input.fingerprint

    def check_unchanged(self) -> None:
        """Raise ``SourceChangedError`` when the file is not what it was when it was opened."""
        self._input.check_unchanged()
