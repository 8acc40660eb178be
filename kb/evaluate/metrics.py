"""How good a ranking is, and how sure that is. Pure functions; the definitions are those of ir-measures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

ROUNDS: Final = 2_000
"""How often the queries are drawn anew for an interval."""

_DRAWN: Final = 2_000_000
"""How many drawn numbers are kept in memory at once."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over queries, and its 95 % bootstrap interval: what other queries of the kind would give."""

    mean: float
    low: float
    high: float


def ndcg(ranking: Sequence[str], grades: Mapping[str, int], k: int) -> float:
    """Return the normalised discounted cumulative gain of the first ``k``, in [0, 1].

    The gain of a document is its grade, the discount log2(rank + 1). Nothing relevant at all gives 0.

    Args:
        ranking: Ids, best first, each once.
        grades: By id, how relevant a document is; 0 and what is missing: not at all.
        k: How far down to look; at least 1.
    """
    ideal = _gain(sorted((grade for grade in grades.values() if grade > 0), reverse=True)[:k])
    return _gain([max(0, grades.get(key, 0)) for key in ranking[:k]]) / ideal if ideal else 0.0


def _gain(grades: Sequence[int]) -> float:
    return sum(grade / math.log2(rank + 1) for rank, grade in enumerate(grades, 1))


def recall(ranking: Sequence[str], grades: Mapping[str, int], k: int) -> float:
    """Return the share of the relevant documents that are among the first ``k``; arguments as for ``ndcg``."""
    relevant = {key for key, grade in grades.items() if grade > 0}
    return len(relevant.intersection(ranking[:k])) / len(relevant) if relevant else 0.0


def reciprocal_rank(ranking: Sequence[str], grades: Mapping[str, int], k: int) -> float:
    """Return 1 / rank of the first relevant document of the first ``k``, else 0; arguments as for ``ndcg``."""
    return next((1 / rank for rank, key in enumerate(ranking[:k], 1) if grades.get(key, 0) > 0), 0.0)


def estimates(values: np.ndarray, *, seed: int) -> list[Estimate]:
    """Return the mean of every column with its 95 % interval, by drawing rows with replacement.

    Args:
        values: One row a query; shape (n, columns), n at least 1. A column of differences is a paired bootstrap.
        seed: Decides the draws, the same ones for all columns.
    """
    import numpy as np

    rows, columns = values.shape
    chance = np.random.default_rng(seed)
    means = np.empty((ROUNDS, columns))
    step = max(1, _DRAWN // rows)
    for start in range(0, ROUNDS, step):
        drawn = chance.integers(0, rows, (min(step, ROUNDS - start), rows))
        for column in range(columns):
            means[start : start + step, column] = values[:, column][drawn].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return [
        Estimate(*(round(float(figure), 6) for figure in figures))
        for figures in zip(values.mean(axis=0), low, high, strict=True)
    ]


def pearson(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return the linear correlation, in [-1, 1]; None where one side is constant."""
    import numpy as np

    if len(set(first)) < 2 or len(set(second)) < 2:
        return None
    return float(np.clip(np.corrcoef(first, second)[0, 1], -1.0, 1.0))


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return the correlation of the ranks, equal values sharing theirs, in [-1, 1]; None where one side is constant."""
    return pearson(_ranks(first), _ranks(second))


def _ranks(values: Sequence[float]) -> list[float]:
    import numpy as np

    _, place, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: np.ndarray = (last - counts + 1 + last) / 2
    return [float(rank) for rank in mean[place]]
