"""Dates that are not ISO 8601: which formats the values of one column fit."""

from __future__ import annotations

from collections import Counter
from typing import Final

from kb.ingest.inspect.distinct import shown
from kb.ingest.inspect.inspection import Example
from kb.ingest.inspect.shapes import DATE_FORMATS, fits_format

_TRIES: Final = 20
_SHOWN: Final = 3


class Formats:
    """The formats so far.

    Attributes:
        fitting: How many values fit each format.
        misfits: By format, the first values that do not fit it.
    """

    def __init__(self) -> None:
        self.fitting: Counter[str] = Counter()
        self.misfits: dict[str, list[Example]] = {}
        self._tries = _TRIES

    def add(self, text: str, line: int, count: int) -> None:
        """Take in a value that looks like a local date and stands ``count`` times."""
        fitting = [format for format in self.fitting if fits_format(text, format)]
        if not fitting and self._tries:
            # All of them again, but not for ever: version numbers look like dates, too.
            self._tries -= 1
            fitting = [format for format in DATE_FORMATS if fits_format(text, format)]
        for format in fitting:
            self.fitting[format] += count
        for format in self.fitting:
            kept = self.misfits.setdefault(format, [])
            if format not in fitting and len(kept) < _SHOWN:
                kept.append(Example(shown(text), line))
