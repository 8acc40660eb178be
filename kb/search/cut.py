"""Where an answer ends: bounds on the cosine, relative to the best, or at the largest jump. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from kb.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kb.catalog import Relevance

WINDOW: Final = 50
"""The end of an answer is looked for in its best so many documents, then in the next so many, whatever a page shows."""

STEEP: Final = 2.0
"""A jump counts when it is so many times the average drop between neighbours: an even slope has no end."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What keeps a document that was compared out of an answer.

    Attributes:
        min_score: The lowest cosine of a hit, in [-1, 1]; None for no bound.
        max_score: The highest, in [-1, 1]: leaves out near-copies of the query; None for no bound.
        within: The lowest cosine as a share of the best one's, in (0, 1]; None for no bound.
        autocut: Whether the answer stops at the largest jump of what it is ordered by.
        relevance: Which calibrated bound stands in for ``min_score``; None for neither.
    """

    min_score: float | None = None
    max_score: float | None = None
    within: float | None = None
    autocut: bool = False
    relevance: Relevance | None = None

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            QueryError: A number is out of range.
        """
        for name, bound in (("min_score", self.min_score), ("max_score", self.max_score)):
            if bound is not None and not -1.0 <= bound <= 1.0:
                raise QueryError(
                    f"{name} must be from -1 to 1, not {bound:g}",
                    hint="it is a cosine similarity: 1 is the same meaning, 0 is unrelated",
                )
        if self.min_score is not None and self.relevance is not None:
            raise QueryError("min_score and relevance are both the lowest score of a hit: give one of them")
        if self.min_score is not None and self.max_score is not None and self.min_score > self.max_score:
            raise QueryError(f"min_score {self.min_score:g} is above max_score {self.max_score:g}: nothing can be both")
        if self.within is not None and not 0.0 < self.within <= 1.0:
            raise QueryError(
                f"within must be above 0 and at most 1, not {self.within:g}",
                hint="it is a share of the best score: 0.9 keeps what reaches nine tenths of it",
            )

    def bounded_by(self, min_score: float) -> Cut:
        """Return the cut with a score in place of its relevance."""
        return replace(self, min_score=min_score, relevance=None)

    def bound(self, best: float | None) -> float | None:
        """Return the lowest cosine of a hit, given the best one; None for no bound."""
        if self.within is None or best is None:
            return self.min_score
        relative = best - (1 - self.within) * abs(best)
        return relative if self.min_score is None else max(relative, self.min_score)


def end_of(scores: Sequence[float]) -> int:
    """Return how many of the scores come before the largest drop of the first window that has a steep one.

    Args:
        scores: In the order of the answer, whole windows of it unless there are no more.
    """
    for start in range(0, len(scores), WINDOW):
        first = max(0, start - 1)  # the drop from the window before belongs to this one
        window = scores[first : start + WINDOW]
        kept = largest_jump(window)
        if kept < len(window):
            return first + kept
    return len(scores)


def largest_jump(scores: Sequence[float]) -> int:
    """Return how many of the scores come before the largest drop; all of them where the slope is even.

    Args:
        scores: From the best down.
    """
    # A reranker orders what it reads in portions: between two of them the score may rise.
    drops = [max(0.0, upper - lower) for upper, lower in pairwise(scores)]
    if len(drops) < 2:
        return len(scores)
    largest = max(drops)
    if largest <= 0 or largest * len(drops) < STEEP * sum(drops):
        return len(scores)
    return drops.index(largest) + 1
