"""Counting distinct values in bounded memory, and finding where one stands twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from kb.ingest.inspect.inspection import Repeat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

SHOWN: Final = 3
MAX_REPEATED: Final = 100_000
"""How many distinct values are told apart once one has been found to repeat: it is no key any more."""


class Distinct:
    """The distinct values of one column, as 64-bit hashes with the line of each.

    Attributes:
        count: How many there are; a lower bound when not ``exact``.
        exact: Whether every value was compared with all others.
        repeated: How many values repeat an earlier one, among those that were compared.
        repeats: The first of them, at most three.
    """

    def __init__(self, most: int) -> None:
        self.count = 0
        self.exact = True
        self.repeated = 0
        self.repeats: list[Repeat] = []
        self._most = most
        # Sorted runs of hashes with their lines, each at least twice as long as the next: few, and cheap to merge.
        self._runs: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []

    def add(self, first: Mapping[str, int], values: Sequence[str], lines: Sequence[int]) -> None:
        """Count a batch.

        Args:
            first: The line of each different value of the batch, where it stands first.
            values: All values of the batch.
            lines: Their lines.
        """
        if not self.exact:
            return
        self.repeated += len(values) - len(first)
        if len(first) < len(values) and len(self.repeats) < SHOWN:
            self._show_repeats(first, values, lines)
        hashes = np.fromiter(map(hash, first), np.int64, len(first))
        places = np.fromiter(first.values(), np.int64, len(first))
        earlier = self._earlier(hashes)
        known = earlier > 0
        self.repeated += int(known.sum())
        if known.any() and len(self.repeats) < SHOWN:
            texts = list(first)
            for at in np.flatnonzero(known)[: SHOWN - len(self.repeats)]:
                self.repeats.append(Repeat(shown(texts[at]), int(places[at]), int(earlier[at])))
        self._keep(hashes[~known], places[~known])

    def _show_repeats(self, first: Mapping[str, int], values: Sequence[str], lines: Sequence[int]) -> None:
        seen: set[str] = set()
        for value, line in zip(values, lines, strict=True):
            if value in seen:
                self.repeats.append(Repeat(shown(value), line, first[value]))
                if len(self.repeats) == SHOWN:
                    return
            seen.add(value)

    def _earlier(self, hashes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the line where each hash was seen before, 0 where it was not."""
        earlier = np.zeros(len(hashes), np.int64)
        for run, places in self._runs:
            at = np.searchsorted(run, hashes)
            at[at == len(run)] = 0
            known = run[at] == hashes
            earlier[known] = places[at[known]]
        return earlier

    def _keep(self, hashes: NDArray[np.int64], places: NDArray[np.int64]) -> None:
        if not len(hashes):
            return
        self.count += len(hashes)
        if self.count >= (min(MAX_REPEATED, self._most) if self.repeated else self._most):
            self.exact = False
            self._runs.clear()
            return
        self._runs.append(_sorted(hashes, places))
        while len(self._runs) > 1 and len(self._runs[-2][0]) < 2 * len(self._runs[-1][0]):
            (a, lines_a), (b, lines_b) = self._runs.pop(), self._runs.pop()
            self._runs.append(_sorted(np.concatenate([a, b]), np.concatenate([lines_a, lines_b])))


def shown(text: str, room: int = 60) -> str:
    """Return a text cut to ``room`` characters."""
    return text if len(text) <= room else text[: room - 1] + "…"


def _sorted(hashes: NDArray[np.int64], places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    order = np.argsort(hashes, kind="stable")
    return hashes[order], places[order]
