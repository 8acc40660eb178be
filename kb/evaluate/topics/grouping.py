"""Unit vectors into groups: KMeans, with the number of groups chosen by silhouette unless it is given."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from kb.errors import UsageError
from kb.evaluate.topics.found import Attempt

if TYPE_CHECKING:
    from collections.abc import Iterator

SEED: Final = 0
FEWEST: Final = 10
"""Where there are so many thousands of documents or more, fewer topics than this are not tried."""

MOST: Final = 30
"""More topics than this are not tried: nobody reads the table. ``--topics`` takes any number."""

SAMPLE: Final = 2_000
"""Documents on which numbers of topics are compared."""

DIRECTIONS: Final = 8
"""Principal directions in which numbers of topics are compared.

In all of 384 dimensions every silhouette is near 0.06, and the best is a matter of chance. In 8, three samples of one
collection agreed to within two topics.
"""

LARGE: Final = 20_000
"""Beyond so many documents, MiniBatchKMeans: KMeans takes minutes from there on, and hardly finds anything else."""

_STARTS: Final = 5
_BATCH: Final = 4_096


class Grouping(NamedTuple):
    """Which group each vector is in, shape (n,), numbered from 0, the largest first; and how that was found."""

    labels: np.ndarray
    algorithm: str
    attempts: tuple[Attempt, ...]
    notes: tuple[str, ...]


def group(vectors: np.ndarray, count: int | None) -> Grouping:
    """Divide vectors into groups; the same vectors in the same order give the same groups.

    Args:
        vectors: Unit length, shape (n, dimension), float32; at least one.
        count: How many groups; None to choose.

    Raises:
        UsageError: There are fewer different vectors than groups asked for.
    """
    different = len({row.tobytes() for row in vectors})
    documents = f"{different} different document{'' if different == 1 else 's'}"
    if count is not None and count > different:
        raise UsageError(
            f"{count} topics cannot be made of {documents}",
            unchanged="nothing was divided",
            hint=f"ask for {different} or fewer, or leave out the number",
        )
    attempts: tuple[Attempt, ...] = ()
    if count is None and different < 4:
        return _one(vectors, f"{documents}: too few to divide, so one topic")
    if count is None:
        attempts = tuple(_attempts(vectors, different))
        count = max(attempts, key=lambda one: (one.silhouette, -one.topics)).topics if attempts else 1
    if count == 1:
        return _one(vectors)
    labels = _k_means(vectors, count)
    algorithm = "MiniBatchKMeans" if len(vectors) > LARGE else "KMeans"
    return Grouping(_by_size(labels), algorithm, attempts, ())


def _one(vectors: np.ndarray, *notes: str) -> Grouping:
    return Grouping(np.zeros(len(vectors), dtype=np.int64), "none", (), notes)


def _by_size(labels: np.ndarray) -> np.ndarray:
    """Number the groups by size; of equal ones, the one that appears first comes first."""
    found, first, inverse, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(found), dtype=np.int64)
    rank[np.lexsort((first, -sizes))] = np.arange(len(found))
    return np.asarray(rank[inverse])


def _attempts(vectors: np.ndarray, different: int) -> Iterator[Attempt]:
    """Yield numbers of topics, each with its silhouette on a sample.

    From 2, or one for each thousand documents: silhouette likes a few large topics, of which 10,000 texts are too many
    for a name; to the number that leaves four documents for each.
    """
    from sklearn.metrics import silhouette_score

    random = np.random.default_rng(SEED)
    chosen = np.sort(random.choice(len(vectors), size=min(SAMPLE, len(vectors)), replace=False))
    reduced = principal(vectors[chosen], DIRECTIONS)
    reduced /= np.maximum(np.linalg.norm(reduced, axis=1, keepdims=True), 1e-12)
    distances = np.clip(1 - reduced @ reduced.T, 0, 2)
    np.fill_diagonal(distances, 0)
    fewest = min(FEWEST, max(2, different // 1_000))
    for count in range(fewest, min(MOST, max(2, different // 4)) + 1):
        labels = _k_means(reduced, count)
        if len(np.unique(labels)) == count < len(labels):
            yield Attempt(count, round(float(silhouette_score(distances, labels, metric="precomputed")), 4))


def _k_means(vectors: np.ndarray, count: int) -> np.ndarray:
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # Different documents can fall together in a few directions; such a number of topics is passed over.
        warnings.simplefilter("ignore", ConvergenceWarning)
        if len(vectors) > LARGE:
            model = MiniBatchKMeans(count, random_state=SEED, n_init=_STARTS, batch_size=_BATCH)
        else:
            model = KMeans(count, random_state=SEED, n_init=_STARTS)
        return np.asarray(model.fit(vectors).labels_)


def principal(vectors: np.ndarray, count: int) -> np.ndarray:
    """Return vectors in their first principal directions, at most ``count`` of them, shape (n, count), float64."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, directions = np.linalg.eigh(centred.T @ centred)
    chosen = directions[:, ::-1][:, :count]
    # An eigenvector's sign is arbitrary.
    chosen = chosen * np.where(chosen[np.abs(chosen).argmax(axis=0), np.arange(chosen.shape[1])] < 0, -1.0, 1.0)
    return np.asarray(centred @ chosen)
