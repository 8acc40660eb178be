"""Cells such as ``python;performance``: whether one separator splits all values of a column into short items."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from kb.ingest.inspect.shapes import Shape, shape_of_text

if TYPE_CHECKING:
    from collections.abc import Mapping

_CANDIDATES: Final = (";", "|", ",")
_ITEM_CHARACTERS: Final = 60
_ITEM_WORDS: Final = 5
_MAX_ITEMS: Final = 5_000
_UNLIKE_SHARE: Final = 0.01
_UNLIKE_MOST: Final = 3


@dataclass(slots=True)
class _Split:
    """What splitting by one separator has given so far; ``unlike`` counts cells that do not look like a list."""

    unlike: int = 0
    cells: int = 0
    items: int = 0
    pairs: int = 0
    different: set[int] = field(default_factory=set)
    shapes: Counter[Shape] = field(default_factory=Counter)


class Separators:
    """The separators that are still possible."""

    def __init__(self) -> None:
        self._splits = {separator: _Split() for separator in _CANDIDATES}
        self._seen = 0
        self._unlike = 0  # cells without any separator that are too long for an item

    def add(self, value: str, count: int) -> None:
        """Take in a string that stands ``count`` times."""
        if not self._splits:
            return
        self._seen += count
        found = [separator for separator in self._splits if separator in value]
        if not found and _is_item(value):
            return
        if not found:
            self._unlike += count
        for separator in found:
            _take(self._splits[separator], value, separator, count)
        if found and len(found) < len(self._splits) and not _is_item(value):
            for separator in self._splits.keys() - found:
                self._splits[separator].unlike += count
        most = _UNLIKE_MOST + _UNLIKE_SHARE * self._seen
        self._splits = {key: split for key, split in self._splits.items() if split.unlike + self._unlike <= most}

    def best(self, values: int) -> tuple[str, Mapping[Shape, int], int] | None:
        """Return the separator of a column of lists, the shapes of its items and how many cells have it, or None.

        Args:
            values: How many values the column has.
        """
        for separator, split in self._splits.items():
            if split.cells < 2 or split.cells * 10 < values:
                continue
            repeating = len(split.different) * 2 <= split.items
            if separator == ",":
                # "Surname, Given name" and "City, Country" are no lists.
                fits = repeating and split.pairs < split.cells
            else:
                fits = repeating or split.cells * 2 >= values
            if fits:
                return separator, split.shapes, split.cells
        return None


def _take(split: _Split, value: str, separator: str, count: int) -> None:
    items = [item for part in value.split(separator) if (item := part.strip())]
    split.unlike += count * (not items or not all(map(_is_item, items)))
    split.cells += count
    split.items += len(items) * count
    split.pairs += count * (len(items) == 2)
    split.shapes.update(map(shape_of_text, items))
    if len(split.different) < _MAX_ITEMS:
        split.different.update(map(hash, items))


def _is_item(text: str) -> bool:
    return len(text) <= _ITEM_CHARACTERS and text.count(" ") < _ITEM_WORDS and "\n" not in text
