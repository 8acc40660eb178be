"""Fusion ranks sanely on any collection: large, tiny, made of equal documents, and for words that say nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kb.search.fusion import Leg, Term, fuse, inverse_document_frequency, meaning_leg, words_leg

COSINES = st.floats(-1.0, 1.0)
KEYWORD_SCORES = st.floats(0.0, 200.0)
STEP = 0.001


def test_meaning_is_standardised_by_the_sample() -> None:
    leg = meaning_leg(np.tile([0.0, 0.4], 500))

    assert leg.weight == 0.75
    assert leg.mean == pytest.approx(0.2)
    assert leg.deviation == pytest.approx(math.sqrt((1000 * 0.04 + 0.01) / 1001))


def test_words_are_standardised_by_document_frequencies() -> None:
    leg = words_leg([Term("rare", 1, 1), Term("common", 2, 50)], 100)

    rare, common = math.log(1 + 99.5 / 1.5), 2 * math.log(1 + 50.5 / 50.5)
    assert leg.weight == 0.25
    assert leg.mean == pytest.approx(rare * 0.01 + common * 0.5)
    assert leg.deviation == pytest.approx(math.sqrt(rare**2 * 0.01 + common**2 * 0.5))


def test_the_rank_score_is_the_weighted_sum_of_both() -> None:
    fused = fuse([0.5, 0.1], [0.0, 6.0], Leg(0.75, 0.1, 0.2), Leg(0.25, 1.0, 2.0))

    assert fused.meaning_standard.tolist() == [2.0, 0.0]
    assert fused.words_standard.tolist() == [-0.5, 2.5]
    assert fused.rank_scores.tolist() == [1.375, 0.625]
    assert (fused.meaning, fused.words) == (Leg(0.75, 0.1, 0.2), Leg(0.25, 1.0, 2.0))


def test_a_rare_word_counts_more_than_a_common_one() -> None:
    assert inverse_document_frequency(1, 1000) > inverse_document_frequency(500, 1000)
    assert inverse_document_frequency(1000, 1000) > 0.0


@pytest.mark.parametrize("terms", [[], [Term("unknown", 1, 0)]])
def test_without_a_known_word_the_order_is_that_of_meaning(terms: list[Term]) -> None:
    words = words_leg(terms, 1000)
    fused = fuse([0.2, 0.6, 0.4], [0.0, 0.0, 0.0], meaning_leg([0.0, 0.1, 0.2]), words)

    assert words == Leg(0.0, 0.0, 1.0)
    assert np.argsort(-fused.rank_scores).tolist() == [1, 2, 0]


def test_an_unknown_word_changes_nothing_beside_known_ones() -> None:
    known = Term("known", 1, 10)

    assert words_leg([known, Term("unknown", 3, 0)], 100) == words_leg([known], 100)


@pytest.mark.parametrize("lacking", [0, 1, 100])
def test_stop_words_alone_do_not_outweigh_meaning(lacking: int) -> None:
    documents = 10_000
    words = words_leg([Term("the", 1, documents - lacking), Term("of", 1, documents - lacking)], documents)
    # The most that BM25 gives two words, with k1 = 1.2, against nothing at all.
    most = 2.2 * 2 * inverse_document_frequency(documents - lacking, documents)
    low, high = fuse([0.0, 0.0], [0.0, most], meaning_leg([0.0, 0.2]), words).rank_scores

    assert high - low < 1.0


def test_a_rare_word_does_outweigh_a_little_meaning() -> None:
    words = words_leg([Term("KB-4711", 1, 1)], 10_000)
    score = inverse_document_frequency(1, 10_000)
    fused = fuse([0.5, 0.3], [0.0, score], meaning_leg([0.0, 0.2] * 100), words)

    assert int(np.argmax(fused.rank_scores)) == 1


@pytest.mark.parametrize("documents", [1, 10])
def test_equal_documents_tie(documents: int) -> None:
    cosines, scores = [0.37] * documents, [1.25] * documents
    fused = fuse(cosines, scores, meaning_leg(cosines), words_leg([Term("a", 1, documents)], documents))

    assert np.isfinite(fused.rank_scores).all()
    assert len(set(fused.rank_scores.tolist())) == 1


def test_an_empty_collection_has_statistics() -> None:
    fused = fuse([], [], meaning_leg([]), words_leg([Term("a", 1, 0)], 0))

    assert fused.rank_scores.shape == (0,)
    assert meaning_leg([]) == Leg(0.75, 0.0, 0.1)


def test_more_documents_with_a_word_than_documents_is_no_error() -> None:
    """The index counts deleted documents for a while, in the frequencies or in the number, not always in both."""
    assert words_leg([Term("a", 1, 12)], 10) == Leg(
        0.25, pytest.approx(math.log1p(1 / 25)), pytest.approx(math.log1p(1 / 25))
    )


@given(
    cosine=COSINES,
    score=KEYWORD_SCORES,
    sample=st.lists(COSINES, max_size=30),
    frequencies=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 100_000)), min_size=1, max_size=9),
)
def test_more_of_either_score_never_ranks_lower(
    cosine: float, score: float, sample: list[float], frequencies: list[tuple[int, int]]
) -> None:
    terms = [Term(str(n), count, documents) for n, (count, documents) in enumerate(frequencies)]
    cosines, scores = [cosine, cosine + STEP, cosine], [score, score, score + STEP]
    fused = fuse(cosines, scores, meaning_leg(sample), words_leg(terms, 100_000))

    base, more_meaning, more_words = fused.rank_scores.tolist()
    assert np.isfinite(fused.rank_scores).all()
    assert more_meaning > base
    assert more_words >= base


@given(scale=st.floats(0.1, 1.0), shift=st.floats(-0.5, 0.5))
def test_the_order_does_not_depend_on_where_a_model_puts_its_cosines(scale: float, shift: float) -> None:
    rng = np.random.default_rng(7)
    sample, cosines, scores = rng.normal(0.1, 0.1, 2000), rng.normal(0.2, 0.1, 20), rng.exponential(3.0, 20)
    words = words_leg([Term("a", 1, 20), Term("b", 1, 400)], 2000)
    plain = fuse(cosines, scores, meaning_leg(sample), words)
    moved = fuse(scale * cosines + shift, scores, meaning_leg(scale * sample + shift), words)

    # The made-up cosine is all that differs: little beside 2,000 real ones.
    np.testing.assert_allclose(moved.rank_scores, plain.rank_scores, rtol=0.05, atol=0.05)
