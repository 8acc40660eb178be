"""Several inputs of one shape as one, for whoever wants to look at all of them at once."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from dataclasses import replace
from typing import TYPE_CHECKING

from kb.errors import UsageError
from kb.sources.input import SourceFingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kb.sources.row import Row
    from kb.sources.source import Source


class SeveralSource:
    """Inputs one after the other. Lines are counted through all of them; ``place`` says which one a line is in."""

    def __init__(self, sources: Sequence[Source]) -> None:
        check_same_shape(sources)
        first = sources[0]
        self.name = f"{first.name} and {len(sources) - 1:,} more"
        self.format = first.format
        self.rejects = first.rejects
        self.encoding = first.encoding
        self.textual = first.textual
        self.columns = first.columns
        self.delimiter = first.delimiter
        self.notes: list[str] = []
        self._sources = sources
        self._before = [0]  # how many lines there are before each input

    @property
    def total(self) -> int | None:
        """The size of all; None when that of one cannot be known."""
        totals = [source.total for source in self._sources]
        return None if None in totals else sum(total for total in totals if total is not None)

    @property
    def position(self) -> int:
        """How much of that has been read."""
        return sum(source.position for source in self._sources)

    def place(self, line: int) -> str:
        """Return in words where the row of that line stands."""
        number = bisect_left(self._before, line) - 1
        source = self._sources[number]
        return f"{source.place(line - self._before[number])} of {source.name}"

    def rows(self) -> Iterator[Row]:
        """Yield the rows of all; see ``Source.rows``."""
        self._before = [0]
        for source in self._sources:
            before = last = self._before[-1]
            for row in source.rows():
                last = before + row.line
                yield replace(row, line=last)
            self._before.append(last)
            self.notes += [note for note in source.notes if note not in self.notes]

    def fingerprint(self) -> SourceFingerprint | None:
        """Return what identifies the content of all; None when one can be read only once."""
        found = [source.fingerprint() for source in self._sources]
        known = [one for one in found if one is not None]
        if len(known) < len(found):
            return None
        digest = hashlib.blake2b("".join(one.digest for one in known).encode(), digest_size=16)
        return SourceFingerprint(sum(one.size for one in known), max(one.mtime_ns for one in known), digest.hexdigest())

    def check_unchanged(self) -> None:
        """Raise ``SourceChangedError`` when one is not what it was when it was opened."""
        for source in self._sources:
            source.check_unchanged()


def check_same_shape(sources: Sequence[Source]) -> None:
    """Make sure that inputs can be taken together: one mapping reads them all, and one reject file takes their rows.

    Raises:
        UsageError: One has another format, encoding, delimiter or other columns than the first.
    """
    first = sources[0]
    for source in sources[1:]:
        if _shape(source) != _shape(first):
            raise UsageError(
                f"{source.name} has another format, encoding or other columns than {first.name}",
                unchanged="nothing was imported",
                hint="take them one by one",
            )


def _shape(source: Source) -> tuple[object, ...]:
    return source.rejects, source.encoding, source.columns, source.delimiter
