"""A second look at the best candidates: a reranker's order, and one that shows different things."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kb import catalog as cat
from kb.chunks import sentences
from kb.search.rank import DECIMALS, Placed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kb.search.searchable import Asked

MAX_SENTENCES = 40
"""Of a hit's best chunk, so many sentences are compared with the query."""


def rerank(one: Asked, model: str, placed: Sequence[Placed]) -> list[Placed]:
    """Order candidates by what a cross-encoder thinks of the query and each one's best chunk, read together.

    Args:
        one: The query.
        model: The id of the cross-encoder.
        placed: The candidates.

    Returns:
        All of them, best first, equal scores in the order that they came in.

    Raises:
        ModelNotFoundError: The id resolves to nothing usable.
        EncoderError: The model failed.
    """
    if not placed:
        return []
    found = cat.found_chunks(one.connection, [(p.best.seq, p.best.chunk) for p in placed])
    texts = [found[p.best.seq].text[found[p.best.seq].start : found[p.best.seq].end].strip() for p in placed]
    scores = np.round(one.on.reranker(model).score(one.query.text, texts).astype(np.float64), DECIMALS)
    again = [Placed(p.best, score) for p, score in zip(placed, scores.tolist(), strict=True)]
    return sorted(again, key=lambda p: -p.rank_score)


def diversify(one: Asked, strength: float, placed: Sequence[Placed], limit: int) -> list[Placed]:
    """Choose candidates that are good and differ from each other.

    Maximal marginal relevance (Carbonell and Goldstein, 1998): each next one has the largest
    ``(1 - strength) * relevance - strength * similarity``. Relevance is its rank score, scaled to [0, 1] over the
    candidates; similarity is its largest cosine with those chosen before.

    Args:
        one: The query.
        strength: In [0, 1].
        placed: The candidates, best first.
        limit: How many to choose.
    """
    if not placed:
        return []
    vectors = _vectors(one, placed)
    scores = np.array([p.rank_score for p in placed])
    spread = float(scores.max() - scores.min())
    relevance = (scores - scores.min()) / spread if spread > 0 else np.ones(len(scores))
    similarity = np.zeros(len(placed))
    chosen: list[int] = []
    open_to_choice = np.ones(len(placed), dtype=bool)
    while len(chosen) < min(limit, len(placed)):
        worth = (1 - strength) * relevance - strength * similarity
        best = int(np.argmax(np.where(open_to_choice, worth, -np.inf)))
        chosen.append(best)
        open_to_choice[best] = False
        similarity = np.maximum(similarity, vectors @ vectors[best])
    return [placed[row] for row in chosen]


def best_sentence(one: Asked, text: str) -> str:
    """Return the sentence of a text that is nearest to the query.

    Sentences are embedded as queries are: that needs no more than the query itself did, and only their order counts.
    """
    parts = [part for part in (text[start:end].strip() for start, end in sentences(text)) if part][:MAX_SENTENCES]
    if len(parts) < 2:
        return text.strip()
    vectors = one.on.encoder().encode_queries(parts)
    return parts[int(np.argmax(vectors @ one.vector))]


def _vectors(one: Asked, placed: Sequence[Placed]) -> np.ndarray:
    """Return the vector of each one's best chunk; shape (n, dimension)."""
    on = one.on
    seqs = [p.best.seq for p in placed]
    vectors = cat.chunk_vectors(one.connection, on.collection.id, on.collection.dimension, seqs=seqs)
    chunks = zip(vectors.seqs.tolist(), vectors.ordinals.tolist(), strict=True)
    rows = {chunk: row for row, chunk in enumerate(chunks)}
    return np.asarray(vectors.matrix[[rows[p.best.seq, p.best.chunk] for p in placed]])
