"""CSV and TSV: records with their physical lines, where one broken row costs one row and nothing is guessed."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Final

from kb.sources.content import encoding_error
from kb.sources.dialect import find_dialect
from kb.sources.input import source_error
from kb.sources.lines import LINE_BREAK, Lines, encoded_size, first_escaped, undecodable
from kb.sources.quoted import QUOTED, unquote
from kb.sources.row import RESERVED, Row
from kb.sources.source import Format, TextSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kb.sources.content import Content
    from kb.sources.dialect import Dialect
    from kb.sources.input import Input
    from kb.sources.reading import Reading
    from kb.sources.row import Limits

_REASON_ROOM: Final = 64 * 1024
_RESCAN_ROOM: Final = 64 * 1024 * 1024
_LOOKAHEAD_ROWS: Final = 2
_LOOKAHEAD_LINES: Final = 100_000


class CsvSource(TextSource):
    """A CSV or TSV file.

    Where backslashes escape the quotes inside cells, the text of a row has them doubled: one spelling in the file of
    rejected rows, whatever rows are in it.

    Attributes:
        dialect: How it is written.
        header: The header's text without line ending and without the columns that the reject writer adds.
    """

    textual = True

    def __init__(self, opened: Input, content: Content, format: Format, reading: Reading, limits: Limits) -> None:
        super().__init__(opened, content, format, limits)
        self.dialect = find_dialect(content, format, reading)
        self.delimiter = self.dialect.delimiter
        self.header = ""
        self._leading = 0
        self._quoted: int | None = None
        self._header_lines = 0
        self.columns = () if self.blank else self._read_header(content, named=reading.header)
        if self.columns and self.dialect.sniffed and self.dialect.delimiter not in ",\t":
            self.notes.append(f"{self.name}: cells are separated by {self.dialect.name}")
        if self.dialect.escaped:
            self.notes.append(f"{self.name}: quotes inside cells have a backslash before them")

    def rows(self) -> Iterator[Row]:
        """Yield the rows in order; see ``Source.rows``."""
        self.begin()
        if not self.columns:
            return
        number = 0
        with self._input.open() as stream:
            limit = self._limits.row_bytes + _REASON_ROOM
            lines = Lines(stream, name=self.name, encoding=self.encoding, limit=limit)
            for _ in range(self._header_lines):
                lines.next()
            for line, text, cells, problem in _Records(lines, self.name, self.dialect, limit):
                number += 1
                yield self._row(number, line, text, cells, problem)
        self.check_unchanged()
        if not number:
            self.notes.append(f"{self.name}: header only, no rows")

    def _row(self, number: int, line: int, text: str, cells: list[str], problem: str | None) -> Row:
        columns = self.columns or ()
        if self._leading:
            text = self.dialect.without_cells(text, self._leading)
            cells = cells[self._leading :]
        if self.dialect.escaped and problem is None:
            text = self.dialect.write(cells)
        if problem is None and not (text.isascii() and len(text) <= self._limits.row_bytes and "\0" not in text):
            problem = self._text_problem(text, line)
        width = len(columns) + (self._quoted is not None)
        if problem is None and len(cells) != width:
            last = line + len(LINE_BREAK.findall(text))
            where = "" if last == line else f" in lines {line} to {last}"
            problem = f"expected {width} cells, found {len(cells)}{where}"
        if problem is not None:
            return Row(number, line, {}, text, problem)
        quoted = None if self._quoted is None else cells.pop(self._quoted)
        values: dict[str, object] = dict(zip(columns, cells, strict=True))
        if quoted:
            unquote(values, quoted)
        return Row(number, line, values, text)

    def _text_problem(self, text: str, line: int) -> str | None:
        size = encoded_size(text, self.encoding)
        if size > self._limits.row_bytes:
            return f"the row is {size:,} bytes long; the limit is {self._limits.row_bytes:,}"
        if "\0" in text:
            return f"the row contains a NUL character in line {line + text.count(chr(10), 0, text.index(chr(0)))}"
        return undecodable(text, self.encoding, line)

    def _read_header(self, content: Content, *, named: bool) -> tuple[str, ...]:
        start, last, cells = self._first_record(content)
        while self._leading < len(cells) and self._leading < len(RESERVED) and cells[self._leading] in RESERVED:
            self._leading += 1
        if not named and not self._leading:
            names = [f"column_{number}" for number in range(1, len(cells) + 1)]
            self.header = self.dialect.write(names)
            return self._checked_names(names)
        # A file of rejected rows has a header, also where the file that they come from has none.
        text = _physical(content.text, start, last)
        if first_escaped(text) is not None:
            raise encoding_error(self._input, content)
        self._header_lines = last
        names = cells[self._leading :]
        if self.dialect.escaped:
            self.header = self.dialect.write(names)
        else:
            self.header = self.dialect.without_cells(text, self._leading)
        if QUOTED in names:
            self._quoted = names.index(QUOTED)
            names.pop(self._quoted)
        return self._checked_names(names)

    def _first_record(self, content: Content) -> tuple[int, int, list[str]]:
        """Return the first and last line of the first record that is not blank, and its cells."""
        reader = self.dialect.read(lines := _Counting(content.text))
        start = 1
        try:
            for cells in reader:
                if len(cells) > 1 or (cells and cells[0].strip()):
                    return start, lines.number, cells
                start = lines.number + 1
        except csv.Error as error:
            raise source_error(f"{self.name}: the header in line {start} cannot be read: {error}") from None
        raise source_error(f"{self.name}: the first megabyte holds only blank lines")

    def _checked_names(self, names: list[str]) -> tuple[str, ...]:
        if len(names) > self._limits.columns:
            raise source_error(f"{self.name} has {len(names):,} columns; the limit is {self._limits.columns:,}")
        seen: dict[str, int] = {}
        for position, name in enumerate(names, start=1):
            if not name.strip():
                raise source_error(
                    f"{self.name}: column {position} of the header has no name",
                    "the first line must name every column; remove a delimiter at its end",
                )
            if "\0" in name:
                raise source_error(f"{self.name}: the name of column {position} contains a NUL character")
            if name in seen:
                raise source_error(
                    f"{self.name}: the header names '{name}' twice, in columns {seen[name]} and {position}",
                    "rename or remove one of them",
                )
            seen[name] = position
        return tuple(names)


class _Counting:
    """The lines of a text, counted."""

    def __init__(self, text: str) -> None:
        self.number = 0
        self._lines = io.StringIO(text, newline="")

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.number += 1
            yield line


class _TooLongError(Exception):
    """The record being read has become too long to be one."""


class _Records:
    """Splits lines into records; a record that cannot be one costs its first line, and reading goes on after that."""

    def __init__(self, lines: Lines, name: str, dialect: Dialect, limit: int) -> None:
        self._lines = lines
        self._name = name
        self._dialect = dialect
        # A quoted row over the limit must still be told from a quote that is never closed.
        self._lookahead = limit * _LOOKAHEAD_ROWS
        self._pending: list[str] = []
        self._read = 0
        self._rescanned = 0

    def __iter__(self) -> Iterator[tuple[int, str, list[str], str | None]]:
        """Yield for each record its first line, its text without line ending, its cells and its problem."""
        reader = self._dialect.read(self._feed())
        while True:
            start = self._lines.number + 1
            self._pending = []
            try:
                cells = next(reader)
            except StopIteration:
                return
            except (csv.Error, _TooLongError) as error:
                yield self._broken(start, error)
                reader = self._dialect.read(self._feed())
                continue
            text = self._pending[0] if len(self._pending) == 1 else "".join(self._pending)
            text = text.rstrip("\r\n")
            if len(cells) > 1 or not (text == "" or text.isspace()):
                yield start, text, cells, None

    def _feed(self) -> Iterator[str]:
        lines = self._lines
        held = 0
        while line := lines.next():
            if not self._pending:
                held = 0
            self._pending.append(line)
            held += len(line)
            self._read += len(line)
            if lines.overlong(line) or held > self._lookahead or len(self._pending) > _LOOKAHEAD_LINES:
                raise _TooLongError
            yield line

    def _broken(self, start: int, error: Exception) -> tuple[int, str, list[str], str | None]:
        first, rest = self._pending[0], self._pending[1:]
        last = self._lines.number
        self._lines.push_back(rest)
        self._rescanned += sum(map(len, rest))
        if self._rescanned > _RESCAN_ROOM + 4 * (self._read - self._rescanned):
            raise source_error(
                f"{self._name}: too many quotes that are never closed; the one in line {start} was the last tried",
                "close the quotes, double them inside a quoted cell, or say that they enclose nothing: --quote ''",
                midway=True,
            )
        if not rest and isinstance(error, _TooLongError):
            return start, "", [], "the row is longer than can be read"
        if isinstance(error, _TooLongError):
            problem = f"the quote that opens in this row, in line {start}, is not closed by line {last}"
        elif "unexpected end" in str(error):
            problem = f"the quote that opens in this row, in line {start}, is never closed"
        elif rest:
            problem = f"the quote that opens in this row, in line {start}, meets another one inside line {last}"
        else:
            problem = f"a quote inside a quoted cell of line {start} is not doubled"
        return start, first.rstrip("\r\n"), [], problem


def _physical(text: str, first: int, last: int) -> str:
    """Return the given physical lines, from 1, without the ending of the last."""
    ends = [0]
    for found in LINE_BREAK.finditer(text):
        ends.append(found.end())
        if len(ends) > last:
            break
    else:
        ends.append(len(text))
    return text[ends[first - 1] : ends[last]].rstrip("\r\n")
