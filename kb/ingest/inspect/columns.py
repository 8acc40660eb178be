"""What is kept of one column while its values go by: counts and a few examples, never the values."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from kb.ingest.inspect.dates import Formats
from kb.ingest.inspect.distinct import Distinct, shown
from kb.ingest.inspect.inspection import Example
from kb.ingest.inspect.lists import Separators
from kb.ingest.inspect.measure import Lengths
from kb.ingest.inspect.shapes import Shape, items_of, shape_of_native, shape_of_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kb.ingest.inspect.measure import Ruler
    from kb.sources import Source

SHOWN: Final = 3
MAX_CHOICES: Final = 20
_SHORT_WORDS: Final = 3
_AROUND: Final = 15
_FOREIGN: Final = "\u2e80"
_LATER: Final = "[\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"
_SUSPECT: Final = re.compile(f"[ÂÃÄÅÎÏÐÑ]{_LATER}|[âãï]{_LATER}{{2}}|ð{_LATER}{{3}}|\ufffd")
"""UTF-8 that was decoded as Windows-1252 or Latin-1: a leading byte's letter before the signs of later bytes.

Not every leading byte: ``CAFÉ »`` is good French, and ``3 × 4`` may have a no-break space.
"""


class ColumnState:
    """One column so far.

    Attributes:
        name: Its name, or the path to it.
        place: Says in words where the row of a line stands; see ``Source.place``.
        textual: Whether its values are cells of text rather than JSON values.
        shapes: How many values have each shape.
        shape_examples: The first values of each shape, at most three different ones.
        item_shapes: The same counts for the items of JSON lists.
        values: How many rows have a value.
        examples: The first different values.
        few: The different values as long as there are at most 20, then None.
        distinct: The different values of all.
        formats: The date formats that its local dates fit.
        separators: What its values could be split by.
        lengths: Its long values in tokens.
        words: How many words its values have in all.
        near_empty: Values of fewer than three words: how many, and the first.
        mojibake: Values that look decoded with the wrong encoding: how many, and the first.
        shortest, longest, longest_line: In characters, and where.
        bytes: Of the longest value, at most.
    """

    def __init__(self, name: str, source: Source, *, most: int, ruler: Ruler) -> None:
        self.name = name
        self.place = source.place
        self.textual = source.textual
        self.shapes: Counter[Shape] = Counter()
        self.shape_examples: dict[Shape, list[Example]] = {}
        self.item_shapes: Counter[Shape] = Counter()
        self.values = 0
        self.examples: list[str] = []
        self.few: set[str] | None = set()
        self.distinct = Distinct(most)
        self.formats = Formats()
        self.separators = Separators()
        self.lengths = Lengths(ruler)
        self.words = 0
        self.near_empty: list[Example] = []
        self.near_empty_count = 0
        self.mojibake: list[Example] = []
        self.mojibake_count = 0
        self.shortest = self.longest = self.longest_line = 0

    def add_texts(self, values: Sequence[str], lines: Sequence[int]) -> None:
        """Take a batch of cells in; empty ones are missing.

        Args:
            values: The cells.
            lines: The line of each.
        """
        first = dict(zip(reversed(values), reversed(lines), strict=True))
        counts = Counter(values) if len(first) < len(values) else None
        if "" in first:
            del first[""]
            if counts is not None:
                del counts[""]
            present = [(v, n) for v, n in zip(values, lines, strict=True) if v]
            values, lines = [v for v, _ in present], [n for _, n in present]
        for value in reversed(first) if counts is None else counts:
            self._add(value, shape_of_text(value), first[value], 1 if counts is None else counts[value])
        self.distinct.add(first, values, lines)

    def add_natives(self, values: Sequence[object], spellings: Sequence[str], lines: Sequence[int]) -> None:
        """Take a batch of JSON or Python values in, none of which is None.

        Args:
            values: The values.
            spellings: Their texts.
            lines: The line of each.
        """
        for value, text, line in zip(values, spellings, lines, strict=True):
            self._add(text, shape_of_native(value), line, 1)
        self.distinct.add(dict(zip(reversed(spellings), reversed(lines), strict=True)), spellings, lines)

    def _add(self, value: str, shape: Shape, line: int, count: int) -> None:
        self.values += count
        self.shapes[shape] += count
        self._add_example(value, shape, line)
        size = len(value)
        if size > self.longest or not self.longest_line:
            self.shortest = size if not self.longest_line else min(self.shortest, size)
            self.longest, self.longest_line = size, line
        elif size < self.shortest:
            self.shortest = size
        if shape is Shape.OTHER or shape is Shape.LOCAL_NUMBER:
            self._add_string(value, line, count)
        elif shape is Shape.LOCAL_DATE:
            self.formats.add(value, line, count)
            self._add_string(value, line, count)
        elif shape is Shape.ARRAY:
            classify = shape_of_native if not self.textual else lambda item: shape_of_text(str(item) or " ")
            self.item_shapes.update(classify(item) for item in items_of(value))

    def _add_example(self, value: str, shape: Shape, line: int) -> None:
        kept = self.shape_examples.setdefault(shape, [])
        if len(kept) < SHOWN and all(e.value != shown(value) for e in kept):
            kept.append(Example(shown(value), line))
        if len(self.examples) < SHOWN and shown(value) not in self.examples:
            self.examples.append(shown(value))
        if self.few is not None:
            self.few.add(value)
            if len(self.few) > MAX_CHOICES:
                self.few = None

    def _add_string(self, value: str, line: int, count: int) -> None:
        words = value.count(" ") + 1
        ascii_only = value.isascii()
        if not ascii_only:
            # Scripts without spaces: two characters are about a word.
            words += sum(c >= _FOREIGN for c in value) // 2
            at = _mojibake(value)
            if at is not None:
                self.mojibake_count += count
                if len(self.mojibake) < SHOWN:
                    self.mojibake.append(Example(value[max(0, at - _AROUND) : at + _AROUND].strip(), line))
        self.words += words * count
        if words < _SHORT_WORDS:
            self.near_empty_count += count
            if len(self.near_empty) < SHOWN:
                self.near_empty.append(Example(shown(value), line))
        self.separators.add(value, count)
        self.lengths.add(value, count)


def _mojibake(value: str) -> int | None:
    """Return where a value looks as if decoded with the wrong encoding, or None."""
    for found in _SUSPECT.finditer(value):
        if found[0] == "\ufffd" or _redecodes(found[0], "cp1252") or _redecodes(found[0], "latin-1"):
            return found.start()
    return None


def _redecodes(text: str, codec: str) -> bool:
    """Return whether bytes that ``codec`` decoded to the text are UTF-8."""
    try:
        text.encode(codec).decode()
    except UnicodeError:
        return False
    return True
