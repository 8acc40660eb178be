"""Two scores of a document, by meaning and by words, into one that ranks: pure functions over arrays.

Each score is counted in standard deviations from its mean over the whole collection, and the two are added with fixed
weights. Neither mean nor deviation needs a look at every document: for meaning a sample of the collection's vectors
gives them, for words they follow from how many documents hold each word. How the formula and its numbers were chosen
and what they reach stands in docs/search.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

MEANING_WEIGHT: Final = 0.75
"""Weight of the standardised cosine; from 0.75 to 0.80 the mean over nine sets changes by less than 0.001."""

WORDS_WEIGHT: Final = 0.25
"""Weight of the standardised BM25 score."""

DECIMALS: Final = 6
"""Rank scores are rounded to so many places, so that equal documents tie."""

_USUAL_DEVIATION: Final = 0.1
"""One made-up cosine so far from the mean joins every sample: one document, or equal ones, have no deviation."""


@dataclass(frozen=True, slots=True)
class Term:
    """One distinct word of the query, analysed as the keyword index does it.

    Attributes:
        word: The word as the index holds it.
        count: How often the query has it, from 1; its score counts so many times.
        documents: How many documents hold it, from 0.
    """

    word: str
    count: int
    documents: int


@dataclass(frozen=True, slots=True)
class Leg:
    """How one of the two scores is distributed over the collection, for one query.

    Attributes:
        weight: What a standardised score is multiplied by; 0.0 when this score can tell no documents apart.
        mean: The mean score of all documents.
        deviation: The standard deviation around it, above 0.0.
    """

    weight: float
    mean: float
    deviation: float

    def standardise(self, scores: ArrayLike) -> Floats:
        """Return the scores in deviations from the mean; any shape, float64."""
        return (np.asarray(scores, dtype=np.float64) - self.mean) / self.deviation


@dataclass(frozen=True, slots=True)
class Fused:
    """What ranks the candidates, and how it came about; arrays of shape (n,), float64, in the candidates' order.

    Attributes:
        rank_scores: Comparable within one query only; higher is better, below 0.0 is worse than the average document.
        meaning_standard: The standardised cosines.
        words_standard: The standardised keyword scores.
        meaning: The cosines' leg.
        words: The keyword scores' leg.
    """

    rank_scores: Floats
    meaning_standard: Floats
    words_standard: Floats
    meaning: Leg
    words: Leg


def meaning_leg(sample: ArrayLike) -> Leg:
    """Estimate the cosines' distribution.

    Args:
        sample: Cosines of the query with vectors drawn evenly from the collection, shape (m,); all of a small
            collection, else 1,000 or so. May be empty.
    """
    cosines = np.asarray(sample, dtype=np.float64)
    mean = float(cosines.mean()) if cosines.size else 0.0
    squares = float(((cosines - mean) ** 2).sum()) + _USUAL_DEVIATION**2
    return Leg(MEANING_WEIGHT, mean, math.sqrt(squares / (cosines.size + 1)))


def words_leg(terms: Sequence[Term], documents: int) -> Leg:
    """Derive the BM25 scores' distribution from document frequencies.

    A word scores about its inverse document frequency where it occurs and 0 elsewhere; words are taken to be
    independent. Its second moment stands for the variance: for all but stop words the two are nearly equal, and stop
    words would otherwise count the more, the fewer documents lack them.

    Args:
        terms: The distinct words of the query, those of its phrases included.
        documents: How many documents the keyword index counts, from 0.
    """
    mean = square = 0.0
    for term in terms:
        if term.documents <= 0:
            continue
        share = min(1.0, term.documents / max(documents, 1))
        score = term.count * inverse_document_frequency(term.documents, documents)
        mean += score * share
        square += score * score * share
    if square == 0.0:
        return Leg(0.0, 0.0, 1.0)
    return Leg(WORDS_WEIGHT, mean, math.sqrt(square))


def inverse_document_frequency(having: int, documents: int) -> float:
    """Return a word's weight in BM25 as Tantivy computes it; above 0.0 also where every document has the word."""
    return math.log1p((max(documents, having) - having + 0.5) / (having + 0.5))


def fuse(cosines: ArrayLike, keyword_scores: ArrayLike, meaning: Leg, words: Leg) -> Fused:
    """Rank candidates by both scores.

    Args:
        cosines: Of each candidate's best chunk, shape (n,), in [-1, 1].
        keyword_scores: BM25 of each candidate, shape (n,), from 0.0, which stands for no common word.
        meaning: From :func:`meaning_leg`.
        words: From :func:`words_leg`.
    """
    by_meaning, by_words = meaning.standardise(cosines), words.standardise(keyword_scores)
    rank_scores = np.round(meaning.weight * by_meaning + words.weight * by_words, DECIMALS)
    return Fused(rank_scores, by_meaning, by_words, meaning, words)
