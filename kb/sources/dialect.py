"""``Dialect``: what separates and encloses the cells of a CSV file, as it is said or as its beginning shows."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kb.errors import UsageError
from kb.sources.lines import LINE_BREAK
from kb.sources.source import Format

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kb.sources.content import Content
    from kb.sources.reading import Reading

DELIMITERS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a file is written.

    Attributes:
        delimiter: What separates its cells.
        sniffed: Whether that was read off the first row rather than given.
        quote: What encloses a cell that holds a delimiter; ``""`` when nothing does.
        escaped: Whether a quote inside such a cell has a backslash before it; else it is doubled.
    """

    delimiter: str
    sniffed: bool
    quote: str = '"'
    escaped: bool = False

    @property
    def name(self) -> str:
        """The delimiter in words."""
        return DELIMITERS.get(self.delimiter, repr(self.delimiter))

    def read(self, lines: Iterable[str]) -> Iterator[list[str]]:
        """Yield the cells of each record; ``csv.Error`` for one that cannot be one."""
        # The limit is one for the whole process; what bounds a cell here is the size of the row.
        csv.field_size_limit(2**31 - 1)
        if not self.quote:
            return csv.reader(lines, delimiter=self.delimiter, quoting=csv.QUOTE_NONE, quotechar=None, strict=True)
        escape = "\\" if self.escaped else None
        return csv.reader(lines, delimiter=self.delimiter, quotechar=self.quote, escapechar=escape, strict=True)

    def write(self, cells: Sequence[object]) -> str:
        """Return cells as a record without line ending, with quotes doubled; where nothing encloses, as they are."""
        if not self.quote:
            return self.delimiter.join(str(cell).replace(self.delimiter, " ") for cell in cells)
        text = io.StringIO()
        csv.writer(text, delimiter=self.delimiter, quotechar=self.quote, lineterminator="").writerow(cells)
        return text.getvalue()

    def without_cells(self, text: str, count: int) -> str:
        """Return a record's text after its first cells."""
        pattern = self._enclosed() if self.quote and count else None
        at = 0
        for _ in range(count):
            enclosed = pattern.match(text, at) if pattern else None
            end = text.find(self.delimiter, enclosed.end() if enclosed else at)
            if end < 0:
                return ""
            at = end + len(self.delimiter)
        return text[at:]

    def without_enclosed(self, text: str) -> str:
        """Return the text without what stands in quotes."""
        return self._enclosed().sub("", text) if self.quote else text

    def _enclosed(self) -> re.Pattern[str]:
        quote = re.escape(self.quote)
        inside = rf"[^{quote}\\]++|\\.|{quote}{quote}" if self.escaped else rf"[^{quote}]++|{quote}{quote}"
        return re.compile(f"{quote}(?:{inside})*+{quote}?", re.DOTALL)


def find_dialect(content: Content, format: Format, reading: Reading) -> Dialect:
    """Return how a file is written: what is said, else what its beginning shows.

    Args:
        content: Its beginning.
        format: CSV or TSV, whose delimiter is a tab.
        reading: What is said.

    Raises:
        UsageError: The delimiter or quote that is said cannot be one.
    """
    quote = '"' if reading.quote is None else reading.quote
    if reading.delimiter is not None:
        delimiter = "\t" if reading.delimiter == "\\t" else reading.delimiter
        if len(delimiter) != 1 or delimiter in '"\\\r\n\0 ':
            raise UsageError(f"{delimiter!r} cannot be a delimiter", hint="use one character, e.g. ; or |")
        dialect = Dialect(delimiter, sniffed=False, quote=quote)
    elif format is Format.TSV:
        dialect = Dialect("\t", sniffed=False, quote=quote)
    else:
        bare = Dialect(",", sniffed=True, quote=quote).without_enclosed(content.text.lstrip("\r\n"))
        first = LINE_BREAK.split(bare, maxsplit=1)[0]
        dialect = Dialect(max(DELIMITERS, key=first.count), sniffed=True, quote=quote)
    if len(quote) > 1 or (quote and quote in f"{dialect.delimiter}\\\r\n\0 "):
        raise UsageError(f"{quote!r} cannot enclose cells", hint="use one character, e.g. ', or nothing at all: ''")
    return _with_escapes(dialect, content) if quote else dialect


def _with_escapes(dialect: Dialect, content: Content) -> Dialect:
    """Return the dialect with backslashes as escapes where nothing else makes sense of the beginning of the file.

    They must make records of what cannot be any with doubled quotes, and no backslash may mean anything else.
    """
    pair = f"\\{dialect.quote}"
    if pair not in content.text:
        return dialect
    lines = list(io.StringIO(content.text, newline=""))
    if not content.complete:
        lines.pop()
    if "\\" in "".join(lines).replace("\\\\", "").replace(pair, ""):
        return dialect
    escaped = Dialect(dialect.delimiter, dialect.sniffed, dialect.quote, escaped=True)
    return escaped if _breaks(dialect, lines) and not _breaks(escaped, lines) else dialect


def _breaks(dialect: Dialect, lines: list[str]) -> bool:
    try:
        for _ in dialect.read(lines):
            pass
    except csv.Error as error:
        return "unexpected end" not in str(error)
    return False
