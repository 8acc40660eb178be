"""``Elements``: the texts of the members of one JSON list, streamed; the document is checked on the way.

Not ijson, which was measured beside it on 200 MB, 324,000 objects: its C parser makes the objects in 1.3 s where two
passes here, the first of which only checks, take 4.3 s, both in constant memory. But it has neither the text of an
object, for the file of rejected rows, nor its line; it takes the last of repeated keys, holds an object of any size,
and stops at the first byte that is not UTF-8. 70,000 objects a second are several times what an import can take.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import TYPE_CHECKING, BinaryIO, Final

from kb.errors import nearest
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
_WHITE: Final = " \t\r\n"
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_SHOWN_KEYS: Final = 20
_STRUCTURE: Final = re.compile(r'["\[\]{},]')
# The usual end of a member: nothing else is tried where it fits.
_NEXT: Final = re.compile(r"[ \t\r\n]*,[ \t\r\n]*(?=\{)")
_STRING_REST: Final = re.compile(r'(?:[^"\\]++|\\.)*+', re.DOTALL)
# Numbers are left as text: converting one of 5000 digits fails, and that is the matter of its row.
_PLAIN: Final = json.JSONDecoder(parse_int=str, parse_float=str)


class Elements:
    """The members of a list with the physical lines where they start.

    A member over the size limit comes as None. What is wrong *inside* a well-formed member is left to its reader.

    Args:
        stream: The document.
        name: Of the input, for messages.
        encoding: The codec.
        limits: What a member may measure.
        path: The keys that lead from the document to the list; empty when the document is the list.
        decoder: What makes values of members; where it does not, the value is left to whoever reads the text.

    Raises:
        SourceError: While iterating: the document is not well-formed, or there is no list. Names the byte and the line.
    """

    def __init__(
        self,
        stream: BinaryIO,
        name: str,
        encoding: str,
        limits: Limits,
        *,
        path: tuple[str, ...] = (),
        decoder: json.JSONDecoder,
    ) -> None:
        self._stream = stream
        self._name = name
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
        self._limit = 2 * limits.row_bytes + _REASON_ROOM
        self._path = path
        self._decode = decoder.raw_decode
        self._member = "value"
        self._text = ""
        self._at = 0
        self._ended = False
        self._dropped_bytes = len("".encode(encoding))  # the byte order mark
        self._counted_to = 0
        self._line = 1

    def __iter__(self) -> Iterator[tuple[int, str | None, object]]:
        """Yield of each member its first line, its text, and its value where it is an object that the decoder reads."""
        for depth in range(len(self._path)):
            self._descend(depth)
        if self._peek() != "[":
            raise self._not_a_list()
        self._member = "row"
        self._at += 1
        following = self._peek() != "]"
        while following:
            line = self._line_here()
            yield line, *self._element(line)
            if simple := _NEXT.match(self._text, self._at):
                self._at = simple.end()
                continue
            following = self._another("]")
        if self._peek() == "]":
            self._at += 1
        self._member = "value"
        for key in reversed(self._path):
            self._leave(key)
        if (extra := self._peek()) != "":
            what = f"something follows after the end of the {'document' if self._path else 'list'}"
            hint = "join the lists into one" if extra == "[" else "remove it"
            raise self._error(self._at, what, hint)

    def _descend(self, depth: int) -> None:
        """Go to the value under the key of the path, passing over the members before it."""
        where = ".".join(self._path[:depth])
        place = f"'{where}'" if where else "the document"
        if self._peek() != "{":
            raise source_error(f"{self._name}: {place} is no object: there is no '{'.'.join(self._path)}' in it")
        self._at += 1
        keys: list[str] = []
        following = self._peek() != "}"
        while following:
            key = self._key()
            if key == self._path[depth]:
                return
            if len(keys) < _SHOWN_KEYS:
                keys.append(key)
            self._element(self._line_here())
            following = self._another("}")
        raise source_error(
            f"{self._name}: there is no '{self._path[depth]}' in {place}", nearest(self._path[depth], keys)
        )

    def _leave(self, key: str) -> None:
        """Pass over the members that follow after the value under the key, and the end of their object."""
        while self._another("}"):
            at = self._at
            if self._key() == key:
                raise self._error(at, f"the key '{key}' appears twice")
            self._element(self._line_here())
        self._at += 1

    def _key(self) -> str:
        """Return the key of the next member of an object, standing before its value."""
        if self._peek() != '"':
            raise self._error(self._at, "expected a key in double quotes")
        while True:
            end = self._string_end(self._at + 1)
            if end < len(self._text):
                break
            if len(self._text) - self._at > self._limit:
                raise self._error(self._at, "the key is too long")
            if not self._more():
                raise self._error(self._at, "the document breaks off within a key")
        start, self._at = self._at, end + 1
        try:
            key = str(_PLAIN.raw_decode(self._text, start)[0])
        except json.JSONDecodeError as error:
            raise self._error(error.pos, error.msg) from None
        if self._peek() != ":":
            raise self._error(self._at, "expected ':'")
        self._at += 1
        self._peek()
        return key

    def _another(self, end: str) -> bool:
        """Return whether another member follows before the end, standing before it."""
        found = self._peek()
        if found == end:
            return False
        if found == "":
            raise self._broken_off(end)
        if found != ",":
            raise self._error(self._at, f"expected ',' or '{end}'")
        comma = self._at
        self._at += 1
        if self._peek() == end:
            raise self._error(comma, f"the ',' before '{end}' has nothing after it")
        return True

    def _broken_off(self, end: str) -> SourceError:
        return self._error(self._at, f"{self._whole()} breaks off: its '{end}' is missing")

    def _whole(self) -> str:
        return "the list" if self._member == "row" else "the document"

    def _element(self, line: int) -> tuple[str | None, object]:
        following = self._peek()
        if following == "":
            raise self._broken_off("]" if self._member == "row" else "}")
        if following == "{":
            try:
                value, end = self._decode(self._text, self._at)
            except (ValueError, RecursionError):
                return self._scan_element(line), None
            text = self._text[self._at : end]
            self._at = end
            return (text, value) if len(text) <= self._limit else (None, None)
        return self._scan_element(line), None

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
                    what = f"{self._whole()} breaks off within the {self._member} that starts in line {line}"
                    raise self._error(self._at, what)
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
            if self._text[self._at : self._at + 1] in _WHITE:
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
        whole = True
        try:
            value, end = _PLAIN.raw_decode(self._text, self._at)
        except (ValueError, RecursionError):
            if self._text[self._at : self._at + 1] != "{":
                return self._error(self._at, "this is not JSON", f"write a list of objects: {ARRAY_EXAMPLE}")
            whole, value, end = False, {}, len(self._text)
        rest = self._text[end:].lstrip()
        if isinstance(value, dict) and rest.startswith("{") and not self._path:
            return source_error(f"{self._name} holds one object after another, not a list", "add --input jsonl")
        what = kind_of(value) if self._text[self._at] not in "-0123456789" else "a number"
        hint = f"write a list of objects: {ARRAY_EXAMPLE}"
        if isinstance(value, dict) and (lists := _lists_in(value, ".".join(self._path))):
            hint = f"say which list in it is meant: --records {' or '.join(lists[:3])}"
        elif not whole:
            hint = "say which list in it is meant, e.g. --records response.items"
        place = f" under '{'.'.join(self._path)}'" if self._path else ""
        return source_error(f"{self._name} holds {what}{place}, not a list of objects", hint)


def _lists_in(value: dict[str, object], place: str) -> list[str]:
    """Return the paths to the lists of objects in an object, nearest first."""
    found: list[str] = []
    objects = [(place, value)]
    for where, members in objects:
        for key, member in members.items():
            path = f"{where}.{key}" if where else key
            if isinstance(member, list) and member and isinstance(member[0], dict):
                found.append(path)
            elif isinstance(member, dict):
                objects.append((path, member))
    return found
