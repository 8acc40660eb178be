"""``Elements``: the texts of the members of one JSON list, streamed; the list itself is checked on the way."""

from __future__ import annotations

import codecs
import json
import re
from typing import TYPE_CHECKING, BinaryIO, Final

from kb.sources.input import source_error
from kb.sources.json_text import kind_of
from kb.sources.lines import encoded_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kb.errors import SourceError
    from kb.sources.row import Limits

ARRAY_EXAMPLE: Final = '[{"id": "a1", "title": "…"}, …]'
_BLOCK: Final = 256 * 1024
_REASON_ROOM: Final = 64 * 1024
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_STRUCTURE: Final = re.compile(r'["\[\]{},]')
_STRING_REST: Final = re.compile(r'(?:[^"\\]++|\\.)*+', re.DOTALL)
# Numbers are left as text: converting one of 5000 digits fails, and that is the matter of its row.
_PLAIN: Final = json.JSONDecoder(parse_int=str, parse_float=str)


class Elements:
    """The members of a list with the physical lines where they start.

    A member over the size limit comes as None. What is wrong *inside* a well-formed member is left to its reader.

    Raises:
        SourceError: While iterating: the document is not one well-formed list. Names the byte and the line.
    """

    def __init__(self, stream: BinaryIO, name: str, encoding: str, limits: Limits) -> None:
        self._stream = stream
        self._name = name
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
        self._limit = 2 * limits.row_bytes + _REASON_ROOM
        self._text = ""
        self._at = 0
        self._ended = False
        self._dropped_bytes = len("".encode(encoding))  # the byte order mark
        self._counted_to = 0
        self._line = 1

    def __iter__(self) -> Iterator[tuple[int, str | None]]:
        """Yield the first line and the text of each member."""
        if self._peek() != "[":
            raise self._not_a_list()
        self._at += 1
        following = self._peek() != "]"
        while following:
            line = self._line_here()
            yield line, self._element(line)
            following = self._another()
        if self._peek() == "]":
            self._at += 1
        if (extra := self._peek()) != "":
            hint = "join the lists into one" if extra == "[" else "remove it"
            raise self._error(self._at, "something follows after the end of the list", hint)

    def _another(self) -> bool:
        """Return whether another member follows, standing before it."""
        found = self._peek()
        if found == "]":
            return False
        if found == "":
            raise self._error(self._at, "the list breaks off: its ']' is missing")
        if found != ",":
            raise self._error(self._at, "expected ',' or ']'")
        comma = self._at
        self._at += 1
        if self._peek() == "]":
            raise self._error(comma, "the ',' before ']' has nothing after it")
        return True

    def _element(self, line: int) -> str | None:
        following = self._peek()
        if following == "":
            raise self._error(self._at, "the list breaks off: its ']' is missing")
        if following == "{":
            try:
                _, end = _PLAIN.raw_decode(self._text, self._at)
            except (ValueError, RecursionError):
                return self._scan_element(line)
            text = self._text[self._at : end]
            self._at = end
            return text if len(text) <= self._limit else None
        return self._scan_element(line)

    def _scan_element(self, line: int) -> str | None:
        """Return the member that starts here: one that goes on after the buffer, or one that is not an object."""
        level, in_string, dropped = 0, False, False
        pos = self._at
        while True:
            if in_string:
                pos = self._string_end(pos)
                exhausted = self._text[pos : pos + 1] != '"'
                in_string = exhausted
                pos += not exhausted
            elif (found := _STRUCTURE.search(self._text, pos)) is None:
                pos, exhausted = len(self._text), True
            elif level == 0 and found[0] in ",]}":
                pos = found.start()
                break
            else:
                pos, exhausted = found.end(), False
                in_string = found[0] == '"'
                level += (found[0] in "[{") - (found[0] in "]}")
            if exhausted:
                if pos - self._at > self._limit:
                    self._refuse_malformed(dropped=dropped)
                    self._at, dropped = pos, True
                pos -= self._at
                if not self._more():
                    self._refuse_malformed(dropped=dropped)
                    raise self._error(self._at, f"the list breaks off within the row that starts in line {line}")
        start, self._at = self._at, pos
        return None if dropped or pos - start > self._limit else self._checked(start, pos)

    def _string_end(self, pos: int) -> int:
        found = _STRING_REST.match(self._text, pos)
        return found.end() if found else pos

    def _checked(self, start: int, end: int) -> str:
        """Return the text between, which must be one JSON value."""
        text = self._text[start:end].rstrip(" \t\r\n")
        try:
            _, stop = _PLAIN.raw_decode(text)
        except json.JSONDecodeError as error:
            raise self._error(start + error.pos, error.msg) from None
        except RecursionError:
            return text
        if stop != len(text):
            raise self._error(start + stop, "expected ',' or ']'")
        return text

    def _refuse_malformed(self, *, dropped: bool) -> None:
        """Raise when the member that starts here is not just unfinished; nothing can be said once part is dropped."""
        if dropped:
            return
        text = self._text[self._at :]
        try:
            _PLAIN.raw_decode(text)
        except json.JSONDecodeError as error:
            if error.pos < len(text) - 16 and not error.msg.startswith(("Unterminated", "Invalid \\")):
                raise self._error(self._at + error.pos, error.msg) from None
        except RecursionError:
            pass

    def _peek(self) -> str:
        """Return the next character that is not white space, standing before it; ``""`` at the end."""
        while True:
            found = _SPACE.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Read on, forgetting what lies behind; return whether there was anything."""
        self._line_here()
        gone = self._text[: self._at]
        self._dropped_bytes += encoded_size(gone, self._encoding)
        self._text = self._text[self._at :]
        self._at = self._counted_to = 0
        while not self._ended:
            block = self._stream.read(max(_BLOCK, len(self._text)))
            self._ended = not block
            try:
                text = self._decoder.decode(block, final=self._ended)
            except UnicodeError as error:
                raise source_error(
                    f"{self._name} cannot be decoded as {self._encoding}: {error}",
                    "name the right encoding with --encoding",
                ) from None
            if text:
                self._text += text
                return True
        return False

    def _line_here(self) -> int:
        self._line += self._text.count("\n", self._counted_to, self._at)
        self._counted_to = self._at
        return self._line

    def _error(self, at: int, what: str, hint: str = "mend the file; a list is imported as a whole") -> SourceError:
        line = self._line + self._text.count("\n", self._counted_to, at)
        offset = self._dropped_bytes + encoded_size(self._text[:at], self._encoding) + 1
        return source_error(f"{self._name}: line {line}, byte {offset:,}: {what}", hint)

    def _not_a_list(self) -> SourceError:
        try:
            value, end = _PLAIN.raw_decode(self._text, self._at)
        except (ValueError, RecursionError):
            if self._text[self._at] != "{":
                return self._error(self._at, "this is not JSON", f"write a list of objects: {ARRAY_EXAMPLE}")
            value, end = {}, len(self._text)
        rest = self._text[end:].lstrip()
        if isinstance(value, dict) and rest.startswith("{"):
            return source_error(f"{self._name} holds one object after another, not a list", "add --input jsonl")
        what = kind_of(value) if self._text[self._at] not in "-0123456789" else "a number"
        return source_error(
            f"{self._name} holds {what}, not a list of objects", f"write a list of objects: {ARRAY_EXAMPLE}"
        )
