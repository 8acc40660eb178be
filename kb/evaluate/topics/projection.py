"""Vectors in two dimensions, for a map."""

from __future__ import annotations

from typing import Final

import numpy as np

from kb.evaluate.topics.grouping import SEED, principal

MOST_POINTS: Final = 3_000
"""Of more documents the map shows a sample: t-SNE takes ten seconds for these, and more points are one carpet."""

_FEWEST: Final = 30
"""Fewer are not enough to tell neighbourhoods; their principal directions show them well."""

_PERPLEXITY: Final = 30.0
_DIRECTIONS: Final = 50


def project(vectors: np.ndarray) -> tuple[np.ndarray, str]:
    """Return a place for each vector, shape (n, 2), in [0, 1], and the method: ``t-SNE`` or ``PCA``.

    t-SNE keeps neighbours together, which is what a map of topics is for; two principal directions hold a tenth of what
    distinguishes texts, and topics lie upon each other in them. Distances between topics mean little in either.
    """
    flat = principal(vectors, 2)
    spread = float(flat[:, 0].std())
    if len(vectors) < _FEWEST or spread < 1e-6:
        return _scaled(flat), "PCA"
    from sklearn.manifold import TSNE

    made = TSNE(
        perplexity=min(_PERPLEXITY, (len(vectors) - 1) / 3),
        init=(flat / spread * 1e-4).astype(np.float32),
        random_state=SEED,
    ).fit_transform(principal(vectors, _DIRECTIONS).astype(np.float32))
    return _scaled(made.astype(np.float64)), "t-SNE"


def _scaled(places: np.ndarray) -> np.ndarray:
    """Fit places into the unit square, both directions alike."""
    low, high = places.min(axis=0), places.max(axis=0)
    widest = float((high - low).max())
    if widest < 1e-9:
        return np.full(places.shape, 0.5)
    return np.asarray((places - (low + high) / 2) / widest + 0.5)
