"""Recognises texts of documents where something else has quoted them: in messages, and in files of rejected rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LENGTH: Final = 16
"""How many characters of a text count as a quotation of it; fewer may be anything's."""

ID_LENGTH: Final = 4
"""The shortest id that is looked for: a shorter one stands everywhere."""

# CSV and JSON write quotes, backslashes and line ends each in a way of its own; what lies between is the same in both.
_PLAIN: Final = re.compile(r"[^\"\\\x00-\x1f\x7f]+")
_ESCAPED: Final = re.compile(r"\\u([0-9a-fA-F]{4})")
_WORD: Final = re.compile(r"[^\s,;:|\"'(){}\[\]<>]+")


class Quotes:
    """Knows the texts and ids of some documents."""

    def __init__(self, texts: Iterable[str], ids: Iterable[str]) -> None:
        """Learn them.

        Args:
            texts: Whole values; the beginning and the longest part of each are what is looked for.
            ids: Those shorter than four characters, or that are no single word, are not looked for.
        """
        self._pieces = {piece for text in texts for piece in _pieces(text)}
        self._ids = {one for one in ids if len(one) >= ID_LENGTH and _WORD.fullmatch(one)}

    def __call__(self, text: str) -> bool:
        """Return whether a text names one of the documents, or holds a piece of one."""
        if not self._pieces and not self._ids:
            return False
        text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
        if any(word in self._ids for word in _WORD.findall(text)):
            return True
        return any(text[at : at + LENGTH] in self._pieces for at in range(len(text) - LENGTH + 1))

    def in_file(self, path: Path) -> bool:
        """Return whether a line of a file does, in UTF-8, UTF-16 or the encoding of Western Windows."""
        with path.open("rb") as file:
            beginning = file.read(2)
        encoding = "utf-16" if beginning in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
        with path.open(encoding=encoding, errors="surrogateescape" if encoding == "utf-8" else "replace") as lines:
            return any(self(line) or self(_western(line)) for line in lines)


def _pieces(text: str) -> set[str]:
    parts = [part for part in _PLAIN.findall(text) if len(part.strip()) >= LENGTH]
    if not parts:
        return set()
    longest = max(parts, key=len).strip()
    return {parts[0].strip()[:LENGTH], longest[:LENGTH], longest[-LENGTH:]}


def _western(line: str) -> str:
    """Return the line with the bytes that were no UTF-8 as the characters that they are on Western Windows."""
    if not any("\udc80" <= character <= "\udcff" for character in line):
        return ""
    return line.encode("utf-8", "surrogateescape").decode("cp1252", "replace")
