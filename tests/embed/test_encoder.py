"""What a model may answer, and when two models are the same."""

from __future__ import annotations

import numpy as np
import pytest

from kb.embed import FINGERPRINT_AGREEMENT, check_vectors, same_fingerprint
from kb.errors import EncoderError

GOOD = np.array([[3.0, 4.0], [0.0, 2.0], [-1.0, 0.0]])


def spoiled(row: int, value: object) -> np.ndarray:
    vectors = GOOD.copy()
    vectors[row] = value
    return vectors


def test_vectors_are_brought_to_length_one() -> None:
    vectors = check_vectors(GOOD.tolist(), 3, 2)
    assert vectors.dtype == np.float32
    assert vectors.tolist() == pytest.approx(np.array([[0.6, 0.8], [0, 1], [-1, 0]]))


@pytest.mark.parametrize("size", [1e-25, 1e-3, 1.0, 1e30])
def test_very_short_and_very_long_vectors_keep_their_direction(size: float) -> None:
    assert np.allclose(check_vectors(GOOD * size, 3, 2), check_vectors(GOOD, 3, 2))


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (spoiled(1, 0.0), "the model returned a zero vector for text 1 of 3"),
        (spoiled(2, [0.0, np.nan]), "the model returned a NaN or infinite vector for text 2 of 3"),
        (spoiled(0, [np.inf, 1.0]), "the model returned a NaN or infinite vector for text 0 of 3"),
    ],
)
def test_faults_G9_a_vector_without_direction_is_refused(vectors: np.ndarray, message: str) -> None:
    with pytest.raises(EncoderError) as caught:
        check_vectors(vectors, 3, 2)
    assert caught.value.what == message
    assert caught.value.unchanged == "nothing was stored"


@pytest.mark.parametrize(
    ("vectors", "found"),
    [(GOOD[:2], r"\(2, 2\)"), (GOOD[:, :1], r"\(3, 1\)"), (GOOD[0], r"\(2,\)"), (GOOD[None], r"\(1, 3, 2\)")],
)
def test_faults_H1_an_answer_of_the_wrong_shape_is_refused(vectors: np.ndarray, found: str) -> None:
    with pytest.raises(EncoderError, match=rf"of shape {found} where \(3, 2\) was expected"):
        check_vectors(vectors, 3, 2)


@pytest.mark.parametrize("answer", [None, "vectors", [[1.0, 2.0], [1.0]], [["a", "b"]]])
def test_faults_H1_an_answer_that_is_no_array_is_refused(answer: object) -> None:
    with pytest.raises(EncoderError):
        check_vectors(answer, 2, 2)


def test_no_texts_give_no_vectors() -> None:
    assert check_vectors([], 0, 2).shape == (0, 2)


def test_the_agreement_of_two_fingerprints_is_their_worst_sentence() -> None:
    first = check_vectors(GOOD, 3, 2)
    assert same_fingerprint(first, first) == pytest.approx(1.0)
    assert same_fingerprint(first, check_vectors(spoiled(1, [1.0, 1.0]), 3, 2)) == pytest.approx(0.5**0.5)
    assert same_fingerprint(first, -first) == pytest.approx(-1.0)


def test_fingerprints_of_different_shape_never_agree() -> None:
    first = check_vectors(GOOD, 3, 2)
    assert same_fingerprint(first, first[:2]) == -1.0 < FINGERPRINT_AGREEMENT
    assert same_fingerprint(first, np.ones((3, 3), dtype=np.float32)) == -1.0
