"""How similar texts are to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kb.embed import Encoder


@dataclass(frozen=True, slots=True)
class Comparison:
    """Texts and the cosine similarity of each pair: ``scores[i][j]`` in [-1, 1], symmetric, 1 on the diagonal."""

    model: str
    texts: tuple[str, ...]
    scores: tuple[tuple[float, ...], ...]


def compare(encoder: Encoder, texts: Sequence[str]) -> Comparison:
    """Return the cosine similarity of every pair of texts, rounded to six places.

    Raises:
        EncoderError: The model failed.
    """
    import numpy as np

    # As documents, all of them: a pair is symmetric only when both sides are embedded in the same way.
    vectors = encoder.encode_documents(list(texts)).astype(np.float64)
    matrix = np.clip(np.round(vectors @ vectors.T, 6), -1.0, 1.0)
    np.fill_diagonal(matrix, 1.0)
    return Comparison(encoder.model, tuple(texts), tuple(tuple(float(x) for x in row) for row in matrix))
