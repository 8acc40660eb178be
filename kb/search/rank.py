"""Scores of chunks into ranked documents: pure functions over arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kb.search.cache import Scored

DECIMALS: Final = 6
"""Scores are rounded to so many places: equal vectors get equal scores, and a printed score works as a bound."""

MARGIN: Final = 1e-5
"""More than float32 can be wrong about a cosine: within it of a bound, the exact score decides."""

Verify = Callable[["Sequence[int]"], "set[int]"]
"""Returns those of some document rows that satisfy the filter."""


class Best(NamedTuple):
    """One document with its best chunk and exact score."""

    seq: int
    chunk: int
    score: float


class Placed(NamedTuple):
    """A document with what the answer is ordered by."""

    best: Best
    rank_score: float


class Ranking(NamedTuple):
    """What the walk from the best chunk down has found.

    Attributes:
        best: At least ``limit`` documents where there are so many, with all that tie with the last one; unordered.
        passed: How many documents reach ``min_score`` and not more than ``max_score``; only counted when there is a
            lower bound.
        above: How many documents are above ``max_score``.
        rejected: The best document below the lower bound, or None.
        bound: The lower bound that applied, or None.
    """

    best: list[Best]
    passed: int
    above: int
    rejected: Best | None
    bound: float | None


def exact_scores(query: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return cosines of unit vectors, rounded and clamped against rounding, shape (n,), float64.

    Row by row in float64, so that the same vector has the same score wherever it stands in the matrix.
    """
    cosines = np.einsum("ij,j->i", matrix.astype(np.float64), query.astype(np.float64))
    return np.asarray(np.clip(np.round(cosines, DECIMALS), -1.0, 1.0))


def rank(
    query: np.ndarray,
    found: Scored,
    *,
    limit: int,
    min_score: float | None = None,
    max_score: float | None = None,
    verify: Verify | None = None,
) -> Ranking:
    """Return the best documents of the scored chunks.

    Args:
        query: Unit length, shape (dimension,).
        found: Chunks, several of one document included.
        limit: How many documents are wanted.
        min_score: The lowest exact score; documents below it are left out.
        max_score: The highest exact score; documents above it are left out.
        verify: Keeps the documents that satisfy the filter; None when all of them do.
    """
    walk = _Walk(query, found, verify)
    best: list[Best] = []
    rejected: Best | None = None
    bound = -np.inf if min_score is None else min_score
    top = np.inf if max_score is None else max_score
    above = 0
    worst = -np.inf
    size = max(64, 4 * limit)
    while not walk.is_done:
        some, frontier = walk.next(size)
        best += [one for one in some if bound <= one.score <= top]
        above += sum(one.score > top for one in some)
        rejected = max((one for one in some if one.score < bound), key=lambda one: one.score, default=rejected)
        if len(best) >= limit:
            worst = sorted((one.score for one in best), reverse=True)[limit - 1]
            if frontier < worst - MARGIN:
                break
        if rejected is not None and frontier < bound - MARGIN:
            break
        size *= 4
    passed = len(best)
    if min_score is not None and rejected is None:
        passed += walk.count_from(min_score)
        rejected = walk.first_below(min_score)
    return Ranking(best, passed, above, rejected, min_score)


def between(query: np.ndarray, found: Scored, low: float, high: float) -> list[int]:
    """Return every document whose exact score, that of its best chunk, lies in [low, high]."""
    scores = found.scores.astype(np.float64)
    # Only these can be on the wrong side of a bound in float32.
    close = np.flatnonzero((np.abs(scores - low) <= MARGIN) | (np.abs(scores - high) <= MARGIN))
    scores[close] = exact_scores(query, found.matrix[found.rows[close]])
    seqs, places = np.unique(found.seqs, return_inverse=True)
    best = np.full(len(seqs), -np.inf)
    np.maximum.at(best, places, scores)
    return [int(seq) for seq in seqs[(best >= low) & (best <= high)]]


class _Walk:
    """Goes through the scored chunks from the best one down, each document once, with its best chunk."""

    def __init__(self, query: np.ndarray, found: Scored, verify: Verify | None) -> None:
        self._query = query
        self._found = found
        self._verify = verify
        self._left = found.scores.astype(np.float32, copy=True)
        self._count = len(self._left)
        self._seen: set[int] = set()

    @property
    def is_done(self) -> bool:
        return self._count == 0

    def next(self, size: int) -> tuple[list[Best], float]:
        """Return the documents of the next ``size`` chunks, best first, and the score that no chunk left exceeds."""
        size = min(size, self._count)
        part = np.argpartition(-self._left, size - 1)[:size]
        self._left[part] = -np.inf
        self._count -= size
        exact = exact_scores(self._query, self._found.matrix[self._found.rows[part]])
        best: dict[int, Best] = {}
        seqs, chunks = self._found.seqs[part].tolist(), self._found.ordinals[part].tolist()
        for seq, chunk, score in zip(seqs, chunks, exact.tolist(), strict=True):
            known = best.get(seq)
            if seq not in self._seen and (known is None or (-score, chunk) < (-known.score, known.chunk)):
                best[seq] = Best(seq, chunk, score)
        self._seen.update(best)
        kept = best.keys() if self._verify is None or not best else self._verify(list(best))
        verified = sorted((one for seq, one in best.items() if seq in kept), key=lambda one: (-one.score, one.seq))
        return verified, float(exact.min())

    def count_from(self, bound: float) -> int:
        """Return how many further documents reach the bound, and leave their chunks behind."""
        close = np.flatnonzero(np.abs(self._left - bound) <= MARGIN)
        # Only these can be on the wrong side of the bound in float32.
        self._left[close] = exact_scores(self._query, self._found.matrix[self._found.rows[close]])
        reach = self._left >= np.float32(bound)
        reach[close] = exact_scores(self._query, self._found.matrix[self._found.rows[close]]) >= bound
        seqs = [seq for seq in np.unique(self._found.seqs[reach]).tolist() if seq not in self._seen]
        self._left[reach] = -np.inf
        self._count = int(np.count_nonzero(np.isfinite(self._left)))
        self._seen.update(seqs)
        return len(seqs if self._verify is None or not seqs else self._verify(seqs))

    def first_below(self, bound: float) -> Best | None:
        """Return the best document that is left, all of them being below the bound."""
        size = 16
        while not self.is_done:
            some, _ = self.next(size)
            below = [one for one in some if one.score < bound]
            if below:
                return below[0]
            size *= 4
        return None
