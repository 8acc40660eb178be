"""How well the cosine of two texts agrees with what somebody says of them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kb.errors import UsageError
from kb.evaluate.metrics import pearson, spearman

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kb.embed import Encoder
    from kb.evaluate.cases import Pair


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """A pair and the cosine similarity of its texts."""

    pair: Pair
    score: float


@dataclass(frozen=True, slots=True)
class AtThreshold:
    """What comes of calling pairs alike whose score reaches a threshold.

    Attributes:
        threshold: The bound, inclusive.
        accuracy: The share of pairs that are called what they are labelled.
        precision, recall, f1: Of the pairs labelled 1; precision is 0 where no pair reaches the threshold.
        wrong: The pairs that are called wrongly, those furthest from the threshold first.
    """

    threshold: float
    accuracy: float
    precision: float
    recall: float
    f1: float
    wrong: tuple[ScoredPair, ...]


@dataclass(frozen=True, slots=True)
class PairEvaluation:
    """How well a model tells texts that are alike from texts that are not.

    Attributes:
        model: The model.
        pairs: How many there are.
        alike: How many of them are labelled 1; None where labels are graded.
        given: What comes of the threshold that was asked for, or None.
        best: What comes of the threshold with the highest accuracy on these very pairs; None where labels are graded.
        spearman, pearson: The correlation of score and label; None where one side is constant.
    """

    model: str
    pairs: int
    alike: int | None
    given: AtThreshold | None
    best: AtThreshold | None
    spearman: float | None
    pearson: float | None

    @property
    def is_hopeless(self) -> bool:
        """Whether even the best threshold calls no more pairs right than the same answer for all of them would."""
        if self.best is None or self.alike is None:
            return False
        return self.best.accuracy <= round(max(self.alike, self.pairs - self.alike) / self.pairs, 6)


def evaluate_pairs(encoder: Encoder, pairs: Sequence[Pair], *, threshold: float | None = None) -> PairEvaluation:
    """Compare the scores of pairs with their labels.

    Args:
        encoder: The model.
        pairs: At least one.
        threshold: A bound to try, in [-1, 1]; for labels of 0 and 1.

    Raises:
        UsageError: There are no pairs, or the threshold is out of range or makes no sense with graded labels.
        EncoderError: The model failed.
    """
    if not pairs:
        raise UsageError("there are no pairs to evaluate")
    if threshold is not None and not -1.0 <= threshold <= 1.0:
        raise UsageError(f"the threshold must be from -1 to 1, not {threshold:g}")
    labels = [pair.label for pair in pairs]
    is_graded = not set(labels) <= {0.0, 1.0}
    if is_graded and threshold is not None:
        raise UsageError("the labels are graded, so no threshold can be right or wrong", hint="label pairs 0 or 1")
    scored = _scored(encoder, pairs)
    scores = [one.score for one in scored]
    return PairEvaluation(
        encoder.model,
        len(pairs),
        None if is_graded else int(sum(labels)),
        None if threshold is None else at_threshold(scored, threshold),
        None if is_graded else at_threshold(scored, best_threshold(scores, labels)),
        _rounded(spearman(scores, labels)),
        _rounded(pearson(scores, labels)),
    )


def at_threshold(scored: Sequence[ScoredPair], threshold: float) -> AtThreshold:
    """Return what comes of a threshold; the pairs are labelled 0 or 1."""
    wrong = [one for one in scored if (one.score >= threshold) != (one.pair.label == 1)]
    found = sum(one.score >= threshold and one.pair.label == 1 for one in scored)
    called = sum(one.score >= threshold for one in scored)
    alike = sum(one.pair.label == 1 for one in scored)
    return AtThreshold(
        threshold,
        _share(len(scored) - len(wrong), len(scored)),
        _share(found, called),
        _share(found, alike),
        _share(2 * found, called + alike),
        tuple(sorted(wrong, key=lambda one: -abs(one.score - threshold))),
    )


def best_threshold(scores: Sequence[float], labels: Sequence[float]) -> float:
    """Return the threshold that calls most pairs right; of several, the one in the middle of the widest gap.

    Args:
        scores: Of the pairs, in [-1, 1].
        labels: 0 or 1.
    """
    bounds = [-1.0, *sorted(set(scores)), 1.0]
    middles = [((low + high) / 2, high - low) for low, high in itertools.pairwise(bounds) if high > low]
    right = {
        middle: sum((score >= middle) == (label == 1) for score, label in zip(scores, labels, strict=True))
        for middle, _ in middles
    }
    return round(max(middles, key=lambda one: (right[one[0]], one[1]))[0], 6)


def _scored(encoder: Encoder, pairs: Sequence[Pair]) -> list[ScoredPair]:
    import numpy as np

    # As documents, both sides: a pair is symmetric only when they are embedded in the same way.
    texts = list(dict.fromkeys(text for pair in pairs for text in (pair.text1, pair.text2)))
    place = {text: at for at, text in enumerate(texts)}
    vectors = encoder.encode_documents(texts).astype(np.float64)
    first = vectors[[place[pair.text1] for pair in pairs]]
    second = vectors[[place[pair.text2] for pair in pairs]]
    cosines = np.clip(np.round(np.einsum("ij,ij->i", first, second), 6), -1.0, 1.0)
    return [ScoredPair(pair, float(score)) for pair, score in zip(pairs, cosines, strict=True)]


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
