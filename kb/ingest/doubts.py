"""What looks wrong in rows that are imported all the same: counted, with an example each, and told at the end."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kb.schema import FieldType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kb.schema import Document, Schema

SHORT_TEXT: Final = 10
"""A prose field with fewer characters than this says too little to be found by its meaning."""

MAX_CONTENTS: Final = 200_000
"""A row is compared with so many different texts before it: more of their hashes would take too much memory."""

_MIXED: Final = 0.05
_ENOUGH: Final = 40
_MOJIBAKE: Final = re.compile("Ã[\x80-\xbf©¤¶¼\u0178\u0153\u201e\u2013\u0192]|â€|Â[\xa0-\xbf]|ï¿½|\ufffd")


@dataclass
class _Doubt:
    """One kind of doubt: how often, and where first; ``earlier`` is where the same stood before."""

    count: int = 0
    at: int = 0
    example: str = ""
    earlier: int | None = None

    def add(self, at: int, example: str, *, earlier: int | None = None) -> None:
        if not self.count:
            self.at, self.example, self.earlier = at, example, earlier
        self.count += 1


@dataclass
class _Kinds:
    """How many values of a text column read as numbers, how many do not, and one example each."""

    numbers: int = 0
    words: int = 0
    number: str = ""
    word: str = ""


class Doubts:
    """Collects doubts row by row; memory grows by a few bytes a row, for the duplicates."""

    def __init__(self, schema: Schema) -> None:
        """Start without any."""
        self._texts = schema.template.names
        self._prose = tuple(name for name in self._texts if schema.fields[name].type is FieldType.TEXT)
        numeric = (FieldType.INT, FieldType.FLOAT)
        self._numbers = tuple(f.name for f in schema.fields.values() if f.type in numeric and not f.many)
        self._strings = tuple(f.name for f in schema.fields.values() if f.type is FieldType.STR and not f.many)
        self._contents: dict[int, int] = {}
        self._duplicates = _Doubt()
        self._short = _Doubt()
        self._garbled = _Doubt()
        self._zeros: dict[str, _Doubt] = {}
        self._kinds = {name: _Kinds() for name in self._strings}

    def look(self, document: Document, values: Mapping[str, object], cells: Mapping[str, str], at: int) -> None:
        """Look at a document and what it was made of.

        Args:
            document: The document.
            values: The row's text by column; nothing when it was not text.
            cells: By field, the column that fills it.
            at: Where the row stands.
        """
        stored = document.__dict__
        texts = tuple(str(stored[name]) for name in self._texts)
        self._look_for_duplicate(hash(texts), document.id, at)
        for name in self._prose:
            value = stored[name]
            if value is not None and len(value) < SHORT_TEXT:
                self._short.add(at, value)
        for text in texts:
            if not text.isascii() and _MOJIBAKE.search(text):
                self._garbled.add(at, text)
                break
        if values:
            self._look_at_cells(stored, values, cells, at)

    def sentences(self, place: Callable[[int], str], *, divided: int, most_chunks: int) -> tuple[str, ...]:
        """Return one sentence for each kind of doubt.

        Every run of a job looks at all rows again, also at those that an earlier one has committed. What was divided is
        known only of those that are written: the job itself counts them.

        Args:
            place: Says in words where something stands.
            divided: How many documents are longer than one chunk.
            most_chunks: The chunks of the longest of them.
        """
        said = [
            self._said(place, self._duplicates, f"the same text as an earlier row{self._compared()}", "both are in"),
            self._said(
                place, self._short, f"fewer than {SHORT_TEXT} characters of prose", "they are hard to find by meaning"
            ),
            self._said(place, self._garbled, "text that looks decoded with the wrong encoding", "check --encoding"),
            *(
                self._said(place, doubt, f"leading zeros that the number in '{name}' has not kept", "declare it as str")
                for name, doubt in self._zeros.items()
            ),
            *(self._mixed(name, kinds) for name, kinds in self._kinds.items()),
        ]
        if divided:
            said.append(
                f"{_rows(divided)} longer than the model's window: the longest is divided into "
                f"{most_chunks} chunks, nothing is cut off"
            )
        return tuple(sentence for sentence in said if sentence)

    def _compared(self) -> str:
        return "" if len(self._contents) < MAX_CONTENTS else f" (of the first {MAX_CONTENTS:,} different texts)"

    def _look_for_duplicate(self, content: int, id: str, at: int) -> None:
        first = self._contents.get(content)
        if first is not None:
            self._duplicates.add(at, id, earlier=first)
        elif len(self._contents) < MAX_CONTENTS:
            self._contents[content] = at

    def _look_at_cells(
        self, stored: Mapping[str, object], values: Mapping[str, object], cells: Mapping[str, str], at: int
    ) -> None:
        for name in self._numbers:
            raw = values.get(cells.get(name, name))
            if isinstance(raw, str) and len(raw) > 1 and raw[0] == "0" and raw[1].isdigit():
                self._zeros.setdefault(name, _Doubt()).add(at, raw)
        for name in self._strings:
            value = stored[name]
            if isinstance(value, str):
                kinds = self._kinds[name]
                if value.replace(".", "", 1).isdigit():
                    kinds.numbers += 1
                    kinds.number = kinds.number or value
                else:
                    kinds.words += 1
                    kinds.word = kinds.word or value

    @staticmethod
    def _said(place: Callable[[int], str], doubt: _Doubt, what: str, so: str) -> str:
        if not doubt.count:
            return ""
        example = _short(doubt.example) + ("" if doubt.earlier is None else f", as {place(doubt.earlier)}")
        return f"{_rows(doubt.count)} with {what}, first {place(doubt.at)} ({example}); {so}"

    @staticmethod
    def _mixed(name: str, kinds: _Kinds) -> str:
        total = kinds.numbers + kinds.words
        fewer = min(kinds.numbers, kinds.words)
        if total < _ENOUGH or not 0 < fewer <= total * _MIXED:
            return ""
        few, many = ("numbers", "words") if kinds.numbers < kinds.words else ("words", "numbers")
        example = kinds.number if kinds.numbers < kinds.words else kinds.word
        return f"'{name}' holds mostly {many}, but {fewer:,} {few if fewer > 1 else few[:-1]}, e.g. {_short(example)}"


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= 40 else line[:39] + "…")
