"""Which columns could identify a document: one that never repeats, else two that together never do."""

from __future__ import annotations

import re
from itertools import combinations
from typing import TYPE_CHECKING, Final

from kb.ingest.inspect.distinct import Distinct
from kb.ingest.inspect.types import mean_words
from kb.schema import FieldType
from kb.schema.ids import MAX_ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kb.ingest.inspect.columns import ColumnState
    from kb.ingest.inspect.types import Verdict

MAX_PAIRS: Final = 10
NEARLY: Final = 0.95
_NAMES: Final = frozenset({"id", "_id", "key", "uuid", "guid", "identifier", "slug", "code", "doi", "isbn"})
_ENDINGS: Final = re.compile(r"(?i:(?:^|[_ .-])(?:id|key|code|nr|no|number)\.?)$|[a-z]Id$|ID$|^(?:ur[li]|path)$")
_TITLE_WORDS: Final = 6
_WORST: Final = 3


def rank(state: ColumnState) -> int:
    """Return how much a column looks like a key by its name and values: 0 is best, 3 is prose."""
    if state.name.lower() in _NAMES or state.name.rpartition(".")[2].lower() in _NAMES:
        return 0
    if _ENDINGS.search(state.name):
        return 1
    return _WORST if mean_words(state) >= _TITLE_WORDS else 2


def possible(state: ColumnState, verdict: Verdict, rows: int) -> bool:
    """Return whether the values of a column could be ids or parts of them: there in every row, short, no fractions."""
    return (
        0 < rows == state.values
        and verdict.type in (FieldType.STR, FieldType.TEXT, FieldType.INT, FieldType.DATE)
        and verdict.date_format is None
        and state.longest * 4 <= MAX_ID_BYTES * 2
    )


def single_keys(states: Sequence[ColumnState], verdicts: Mapping[str, Verdict], rows: int) -> list[ColumnState]:
    """Return the columns that never repeat a value, the likeliest first."""
    found = [s for s in states if possible(s, verdicts[s.name], rows) and not s.distinct.repeated]
    return sorted(found, key=rank)


def spoilt_keys(states: Sequence[ColumnState], verdicts: Mapping[str, Verdict], rows: int) -> list[ColumnState]:
    """Return the columns that are called like a key but repeat a few values."""
    return [
        s
        for s in states
        if possible(s, verdicts[s.name], rows)
        and rank(s) < 2
        and s.distinct.exact
        and s.distinct.repeated
        and s.distinct.count >= NEARLY * rows
    ]


def possible_pairs(
    states: Sequence[ColumnState], verdicts: Mapping[str, Verdict], rows: int
) -> list[tuple[ColumnState, ColumnState]]:
    """Return the pairs that have enough combinations to tell all rows apart, the likeliest first, at most ten."""
    parts = [s for s in states if possible(s, verdicts[s.name], rows) and rank(s) < _WORST and s.distinct.count > 1]
    pairs = [(a, b) for a, b in combinations(parts, 2) if a.distinct.count * b.distinct.count >= rows]
    return sorted(pairs, key=lambda pair: rank(pair[0]) + rank(pair[1]))[:MAX_PAIRS]


class Pairs:
    """Pairs of columns that have not repeated yet."""

    def __init__(self, pairs: Sequence[tuple[ColumnState, ColumnState]], most: int) -> None:
        self._seen = {(a.name, b.name): Distinct(most) for a, b in pairs}

    @property
    def left(self) -> list[tuple[tuple[str, str], bool]]:
        """The pairs that are left, and whether all rows were compared."""
        return [(pair, seen.exact) for pair, seen in self._seen.items()]

    def add(self, columns: Mapping[str, Sequence[str]], lines: Sequence[int]) -> None:
        """Take a batch in, and drop the pairs that repeat in it.

        Args:
            columns: The texts of each column of a pair, one a row.
            lines: The line of each row.
        """
        for (a, b), seen in [*self._seen.items()]:
            both = [f"{left}\0{right}" for left, right in zip(columns[a], columns[b], strict=True)]
            seen.add(dict(zip(reversed(both), reversed(lines), strict=True)), both, lines)
            if seen.repeated:
                del self._seen[a, b]
