"""JSON Lines, and one JSON list of objects, which is checked as a whole before its first row is handed out."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO, Final

from kb.sources.input import source_error
from kb.sources.json_elements import Elements
from kb.sources.json_text import LOOSE, STRICT, read_object
from kb.sources.lines import Lines
from kb.sources.markdown import note_of_text
from kb.sources.row import PATH, RAW, Row
from kb.sources.source import Format, TextSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kb.errors import SourceError
    from kb.sources.content import Content
    from kb.sources.input import Input
    from kb.sources.row import Limits

LINES_EXAMPLE: Final = '{"id": "a1", "title": "…"}'
_LIST_START: Final = re.compile(r"\s*\[\s*(?:\{|[\r\n])")
_OBJECT_START: Final = re.compile(r"(?:^|[\r\n])[ \t]*\{")
_SPREAD_START: Final = re.compile(r"\s*\{[ \t]*[\r\n]")
_REASON_ROOM: Final = 64 * 1024


class JsonLinesSource(TextSource):
    """One object a line."""

    textual = False

    def __init__(self, opened: Input, content: Content, format: Format, limits: Limits) -> None:
        super().__init__(opened, content, format, limits)
        if _LIST_START.match(content.text):
            raise source_error(f"{self.name} is one JSON list, not one object a line", "add --input json")
        if content.text.strip() and not _OBJECT_START.search(content.text):
            raise source_error(
                f"{self.name} is not JSON Lines: no line holds an object", f"write {LINES_EXAMPLE} in each"
            )
        if _SPREAD_START.match(content.text):
            raise source_error(
                f"{self.name} holds an object that is spread over several lines",
                f"write one object a line, {LINES_EXAMPLE}, or a list of them with --input json",
            )

    def rows(self) -> Iterator[Row]:
        """Yield the rows in order; see ``Source.rows``."""
        self.begin()
        number = 0
        with self._input.open() as stream:
            # A rejected line comes back with its quotes escaped and a reason before it.
            limit = 2 * self._limits.row_bytes + _REASON_ROOM
            lines = Lines(stream, name=self.name, encoding=self.encoding, limit=limit)
            while text := lines.next():
                if text.isspace():
                    continue
                number += 1
                if lines.overlong(text):
                    problem = f"the row is longer than {self._limits.row_bytes:,} bytes"
                    yield Row(number, lines.number, {}, "", problem)
                    continue
                values, text, refused = read_object(
                    text.rstrip("\r\n"), line=lines.number, encoding=self.encoding, limits=self._limits
                )
                path, note = values.get(PATH), values.get(RAW)
                if len(values) == 2 and isinstance(path, str) and isinstance(note, str):
                    row = note_of_text(number, path, note, self.encoding, self._limits)
                    yield replace(row, line=lines.number)
                else:
                    yield Row(number, lines.number, values, text, refused)
        self.check_unchanged()


class JsonArraySource(TextSource):
    """One list of objects: the document, or a list somewhere in it.

    Attributes:
        opening: What stands before the members of the list where the same call is to find them.
        closing: What stands after them.
    """

    textual = False

    def __init__(self, opened: Input, content: Content, limits: Limits, *, records: str | None = None) -> None:
        super().__init__(opened, content, Format.JSON, limits)
        self._path = tuple(records.split(".")) if records else ()
        self.opening = "".join(f"{{{json.dumps(key)}: " for key in self._path) + "["
        self.closing = "]" + "}" * len(self._path)
        self._checked = self.blank
        self._empty = self.blank

    def rows(self) -> Iterator[Row]:
        """Yield the rows in order, after the whole list has been found to be well-formed; see ``Source.rows``."""
        self.begin()
        if not self._checked:
            self._input.spool()
            self._check()
        if self._empty:
            return
        number = 0
        with self._input.open() as stream:
            for line, element, value in self._elements(stream, STRICT):
                number += 1
                if element is None:
                    problem = f"the row is longer than {self._limits.row_bytes:,} bytes"
                    yield Row(number, line, {}, "", problem)
                    continue
                values, text, refused = read_object(
                    element, line=line, encoding=self.encoding, limits=self._limits, value=value
                )
                yield Row(number, line, values, text, refused)
        self.check_unchanged()

    def _elements(self, stream: BinaryIO, decoder: json.JSONDecoder) -> Elements:
        return Elements(stream, self.name, self.encoding, self._limits, path=self._path, decoder=decoder)

    def _check(self) -> None:
        """Read the whole list once, so that a document that breaks off later has no effect at all."""
        count = objects = 0
        with self._input.open() as stream:
            for _, text, _ in self._elements(stream, LOOSE):
                count += 1
                objects += text is None or text.startswith("{")
        self._input.position = 0
        self._checked = True
        if not count:
            self._empty = True
            self.notes.append(f"{self.name}: an empty list, no rows")
        elif not objects:
            raise self._no_objects(count)

    def _no_objects(self, count: int) -> SourceError:
        return source_error(
            f"{self.name} is a list of {count:,} values, none of which is an object",
            f"write a list of objects: [{LINES_EXAMPLE}, …]",
        )
