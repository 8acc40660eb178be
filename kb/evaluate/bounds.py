"""From which cosine on there is an answer: bounds from the best scores of queries. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from kb.catalog import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

PRECISION: Final = 0.9
RECALL: Final = 0.95
PLATEAU: Final = 0.005
"""Bounds whose accuracy differs by less are equally good: the middle of them is the most likely to hold elsewhere."""

RESAMPLES: Final = 500


class BestScores(NamedTuple):
    """What the best document scores, a number for each query; none of the four is empty.

    Attributes:
        answered: Queries that have an answer.
        hard_answered: Those that are the hardest to answer.
        unanswered: Queries that have none.
        hard_unanswered: Those that look most as if they had one.
    """

    answered: np.ndarray
    hard_answered: np.ndarray
    unanswered: np.ndarray
    hard_unanswered: np.ndarray


class Bounds(NamedTuple):
    """Three bounds, the balanced accuracy at the middle one and the precision at the strict one."""

    strict: Interval
    normal: Interval
    loose: Interval
    accuracy: Interval
    precision: float


def find_bounds(scores: BestScores, *, seed: int = 0) -> Bounds:
    """Return the bounds, each the median over bootstrap samples, which varies less than the bound of the one sample."""
    import numpy as np

    rng = np.random.default_rng(seed)
    found = []
    for _ in range(RESAMPLES):
        drawn = BestScores(*(rng.choice(kind, len(kind)) for kind in scores))
        normal = balanced_bound(drawn.answered, drawn.unanswered)
        strict = precise_bound(drawn.answered, (drawn.unanswered, drawn.hard_unanswered))
        loose = float(np.quantile(drawn.hard_answered, 1 - RECALL))
        found.append((max(strict, normal), normal, min(loose, normal)))
    strict_interval, normal_interval, loose_interval = (_interval(values) for values in zip(*found, strict=True))
    bound = normal_interval.value
    right, wrong = scores.answered, scores.unanswered
    resampled = [
        balanced_accuracy(rng.choice(right, len(right)), rng.choice(wrong, len(wrong)), bound) for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(resampled, (0.025, 0.975))
    accuracy = Interval(round(balanced_accuracy(right, wrong, bound), 4), round(float(low), 4), round(float(high), 4))
    precision = precision_at(scores.answered, (scores.unanswered, scores.hard_unanswered), strict_interval.value)
    return Bounds(strict_interval, normal_interval, loose_interval, accuracy, round(precision, 4))


def balanced_accuracy(answered: np.ndarray, unanswered: np.ndarray, bound: float) -> float:
    """Return the mean of the shares of both kinds of queries that the bound treats rightly, in [0, 1]."""
    return float(((answered >= bound).mean() + (unanswered < bound).mean()) / 2)


def precision_at(answered: np.ndarray, unanswered: Sequence[np.ndarray], bound: float) -> float:
    """Return which share of the queries that reach the bound has an answer, each kind of queries being equally common.

    Args:
        answered: Best scores of queries that have an answer.
        unanswered: Those of the kinds of queries that have none.
        bound: The bound.
    """
    right = float((answered >= bound).mean())
    wrong = sum(float((kind >= bound).mean()) for kind in unanswered)
    return right / (right + wrong) if right + wrong else 1.0


def balanced_bound(answered: np.ndarray, unanswered: np.ndarray) -> float:
    """Return the bound with the largest balanced accuracy."""
    import numpy as np

    between = _between(answered, unanswered)
    accuracy = (_reaching(answered, between) + 1 - _reaching(unanswered, between)) / 2
    return float(between[accuracy >= accuracy.max() - PLATEAU].mean()) if len(between) else float(np.max(answered))


def precise_bound(answered: np.ndarray, unanswered: Sequence[np.ndarray]) -> float:
    """Return the lowest bound at which precision reaches 90 %, or the one where it is highest if it never does."""
    import numpy as np

    between = _between(answered, *unanswered)
    if not len(between):
        return float(np.max(answered))
    right = _reaching(answered, between)
    wrong = np.sum([_reaching(kind, between) for kind in unanswered], axis=0)
    precision = np.divide(right, right + wrong, out=np.zeros_like(right), where=right > 0)
    reached = np.flatnonzero(precision >= PRECISION)
    return float(between[reached[0] if len(reached) else np.argmax(precision)])


def _between(*kinds: np.ndarray) -> np.ndarray:
    """Return a bound between each two neighbouring scores, from the lowest up."""
    import numpy as np

    scores = np.unique(np.concatenate(kinds))
    return np.asarray((scores[1:] + scores[:-1]) / 2)


def _reaching(scores: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Return the share of the scores that reaches each bound."""
    import numpy as np

    return np.asarray(1 - np.searchsorted(np.sort(scores), bounds, "left") / len(scores))


def _interval(values: Sequence[float]) -> Interval:
    import numpy as np

    low, middle, high = np.quantile(values, (0.025, 0.5, 0.975))
    return Interval(round(float(middle), 4), round(float(low), 4), round(float(high), 4))
