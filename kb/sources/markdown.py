"""Markdown and text files → one row each: the fields of the front matter, ``path``, ``title`` and ``text``."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from kb.sources.content import codec_name
from kb.sources.front_matter import split_front_matter
from kb.sources.lines import undecodable
from kb.sources.recognition import without_packing
from kb.sources.row import PATH, RAW, Row
from kb.sources.source import FileSource, Format

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kb.sources.input import Input
    from kb.sources.reading import Reading
    from kb.sources.row import Limits

_FENCE: Final = re.compile(r" {0,3}(```+|~~~+)")
_HEADING: Final = re.compile(r" {0,3}#[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*$")
_BLANK_LINES: Final = re.compile(r"\A(?:[ \t]*(?:\r\n?|\n))+")


class MarkdownSource(FileSource):
    """One file: one row. See ``note_row``."""

    textual = False

    def __init__(self, opened: Input, reading: Reading, limits: Limits) -> None:
        self._codec = codec_name(reading.encoding)
        super().__init__(opened, Format.MARKDOWN, limits, encoding=self._codec)

    def rows(self) -> Iterator[Row]:
        """Yield the row."""
        self.begin()
        path = PurePath(self.name).name if self._input.fingerprint is not None else self.name.strip("<>")
        yield note_row(1, path, self._input, self._codec, self._limits)
        self.check_unchanged()


def note_row(number: int, path: str, opened: Input, codec: str, limits: Limits) -> Row:
    """Return the row that a file makes.

    Its values are the fields of the front matter, and ``path``, ``title`` and ``text``. The title is the front
    matter's, else the first heading of the first level outside code, else the file's name without its suffix. The text
    is what follows the front matter, without blank lines before and white space after it.

    Args:
        number: Of the row.
        path: What the row names it; the problem of a row begins with it.
        opened: The file.
        codec: Of its text.
        limits: What the row may measure; the text counts as it lies in the file.
    """
    with opened.open() as stream:
        data = stream.read(limits.row_bytes + 1)
    if len(data) > limits.row_bytes:
        return Row(number, number, {}, "", f"{path}: the file is larger than {limits.row_bytes:,} bytes")
    try:
        text = data.decode(codec, "surrogateescape")
    except UnicodeError as error:
        return Row(number, number, {}, "", f"{path}: cannot be decoded as {codec}: {error}")
    return note_of_text(number, path, text, codec, limits)


def note_of_text(number: int, path: str, text: str, codec: str, limits: Limits) -> Row:
    """Return the row that the text of a file makes; with a problem, it keeps the text and the path for the rejects."""
    raw = {PATH: path, RAW: text}
    problem = undecodable(text, codec, 1)
    if problem is None and "\0" in text:
        problem = f"a NUL character in line {text.count(chr(10), 0, text.index(chr(0))) + 1}"
    if problem is not None:
        return Row(number, number, {}, raw, f"{path}: {problem}")
    try:
        fields, body = split_front_matter(text, limits)
    except ValueError as error:
        return Row(number, number, {}, raw, f"{path}: {error}")
    taken = [name for name in (PATH, "text") if name in fields]
    if taken:
        return Row(number, number, {}, raw, f"{path}: the front matter has a field '{taken[0]}'; rename it")
    values = {**fields, PATH: path}
    values.setdefault("title", _heading(body) or PurePath(without_packing(path)).stem)
    values["text"] = _BLANK_LINES.sub("", body).rstrip()
    return Row(number, number, values, values)


def _heading(text: str) -> str | None:
    fence = ""
    for line in text.splitlines():
        if opening := _FENCE.match(line):
            fence = "" if fence and opening[1].startswith(fence) else fence or opening[1]
        elif not fence and (found := _HEADING.match(line)) and found[1]:
            return found[1]
    return None
