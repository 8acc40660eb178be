"""What the best document of a collection scores for each of many queries, in a memory that does not grow with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from kb import catalog as cat

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import numpy as np

    from kb.catalog import Connection, StoredCollection
    from kb.filters import Filter

PAGE: Final = 2_000
"""Documents that are compared at once."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A query whose best document is wanted.

    Attributes:
        vector: Unit length, shape (dimension,).
        filter: A checked filter, or None for every document.
        held_out: Document row and chunk number that the query was taken from, or None: this chunk and its neighbours,
            which overlap it, do not count.
        least: What the best document scores at least: what is left of the one that the query was taken from.
    """

    vector: np.ndarray
    filter: Filter | None = None
    held_out: tuple[int, int] | None = None
    least: float = -1.0


class BestDocuments(NamedTuple):
    """The best document of each probe, index by index; row number -1 where ``least`` is best, or nothing was compared.

    Attributes:
        scores: Cosines; shape (n,).
        seqs: Row numbers; shape (n,).
        seen: How many documents have been compared.
    """

    scores: np.ndarray
    seqs: np.ndarray
    seen: int


def best_documents(
    connection: Connection, collection: StoredCollection, probes: Sequence[Probe]
) -> Generator[BestDocuments]:
    """Compare every document with every probe; yield what is known after each page of documents, at least once."""
    import numpy as np

    queries = np.stack([probe.vector for probe in probes])
    scores = np.array([probe.least for probe in probes], dtype=np.float64)
    seqs = np.full(len(probes), -1, dtype=np.int64)
    conditions = _conditions(collection, probes)
    seen, last = 0, 0
    while True:
        page = cat.page_seqs(connection, collection.id, after=last, limit=PAGE)
        if page:
            vectors = cat.chunk_vectors(connection, collection.id, collection.dimension, seqs=page)
            cosines = queries @ vectors.matrix.T
            _leave_out(cosines, vectors, probes)
            for condition, rows in conditions.items():
                kept = list(cat.matching_among(connection, condition, page))
                others = np.flatnonzero(~np.isin(vectors.seqs, kept))
                cosines[np.ix_(np.array(rows), others)] = -1.0
            places = cosines.argmax(axis=1)
            found = cosines[np.arange(len(probes)), places]
            better = found > scores
            scores[better], seqs[better] = found[better], vectors.seqs[places[better]]
            seen, last = seen + len(page), page[-1]
        yield BestDocuments(scores, seqs, seen)
        if len(page) < PAGE:
            return


def _conditions(collection: StoredCollection, probes: Sequence[Probe]) -> dict[cat.Condition, list[int]]:
    """Return the filters that are used, compiled, each with the numbers of its probes."""
    rows: dict[cat.Condition, list[int]] = {}
    for number, probe in enumerate(probes):
        if probe.filter is not None:
            condition = cat.compile_condition(collection.id, probe.filter, collection.schema)
            rows.setdefault(condition, []).append(number)
    return rows


def _leave_out(cosines: np.ndarray, vectors: cat.ChunkVectors, probes: Sequence[Probe]) -> None:
    import numpy as np

    first, last = vectors.seqs[0], vectors.seqs[-1]
    for number, probe in enumerate(probes):
        if probe.held_out is None or not first <= probe.held_out[0] <= last:
            continue
        seq, ordinal = probe.held_out
        left, right = np.searchsorted(vectors.seqs, (seq, seq + 1))
        near = np.abs(vectors.ordinals[left:right] - ordinal) <= 1
        cosines[number, left:right][near] = -1.0
