"""``Lines``: the physical lines of a byte stream, decoded without loss and never longer than a limit."""

from __future__ import annotations

import io
import re
from collections import deque
from typing import TYPE_CHECKING, Final

from kb.sources.input import source_error

if TYPE_CHECKING:
    from collections.abc import Iterable

_ESCAPED: Final = re.compile("[\ud800-\udfff]")
LINE_BREAK: Final = re.compile(r"\r\n?|\n")
_SKIP: Final = 64 * 1024


class Lines:
    """Lines ended by LF, CR or CRLF in any mixture, with their ending.

    A byte that the codec cannot decode becomes a lone surrogate (``surrogateescape``), which ``undecodable`` reports
    and writing turns back into the byte.

    Attributes:
        number: The number of the line that was handed out last, from 1.
    """

    def __init__(self, stream: io.BufferedReader, *, name: str, encoding: str, limit: int) -> None:
        self.number = 0
        self._name = name
        self._encoding = encoding
        self._most = limit + 2
        self._pushed: deque[str] = deque()
        self._carry = ""
        self._readline = io.TextIOWrapper(stream, encoding, "surrogateescape", newline="").readline

    def next(self) -> str:
        """Return the next line, ``""`` after the last; an overlong one is cut short and its rest skipped."""
        if self._pushed:
            self.number += 1
            return self._pushed.popleft()
        try:
            line = self._readline(self._most + 1)
            if self._carry:
                line, self._carry = self._carry + line, ""
            if len(line) > self._most:
                self._skip_rest(line[-1])
        except UnicodeError as error:
            raise source_error(
                f"{self._name}: line {self.number + 1} cannot be decoded as {self._encoding}: {error}",
                "name the right encoding with --encoding",
                midway=True,
            ) from None
        if line:
            self.number += 1
        return line

    def overlong(self, line: str) -> bool:
        """Return whether the line was cut short."""
        return len(line) > self._most

    def push_back(self, lines: Iterable[str]) -> None:
        """Hand out these lines, which came last, once more."""
        before = len(self._pushed)
        self._pushed.extendleft(reversed(list(lines)))
        self.number -= len(self._pushed) - before

    def _skip_rest(self, last: str) -> None:
        while last not in ("\n", ""):
            # A cut may fall between CR and LF: what follows a CR decides whether the line ended there.
            part = self._readline(1 if last == "\r" else _SKIP)
            if last == "\r" and part != "\n":
                self._carry = part
                return
            last = part[-1:]


def undecodable(text: str, encoding: str, line: int) -> str | None:
    """Return where the first byte is that could not be decoded, or None.

    Args:
        text: Decoded with ``surrogateescape``.
        encoding: The codec that decoded it.
        line: The physical line where the text starts.
    """
    if text.isascii():
        return None
    found = _ESCAPED.search(text)
    if found is None:
        return None
    before = LINE_BREAK.split(text[: found.start()])
    offset = encoded_size(before[-1], encoding) + 1
    return f"line {line + len(before) - 1}: byte {offset} ({escaped_byte(found[0])}) is not valid {spelled(encoding)}"


def first_escaped(text: str) -> int | None:
    """Return the index of the first character that stands for a byte that could not be decoded, or None."""
    found = None if text.isascii() else _ESCAPED.search(text)
    return None if found is None else found.start()


def escaped_byte(character: str) -> str:
    """Return the byte that a lone surrogate stands for, e.g. ``0xE9``."""
    return f"0x{ord(character) & 0xFF:02X}"


def encoded_size(text: str, encoding: str) -> int:
    """Return the size of the text in bytes, without a byte order mark."""
    try:
        return len(text.encode(encoding, "surrogateescape")) - len("".encode(encoding))
    except UnicodeError:
        return len(text)


def spelled(encoding: str) -> str:
    """Return the name of a codec as people write it."""
    return "UTF-8" if encoding in ("utf-8", "utf-8-sig") else encoding
