"""The vectors of one collection in memory, kept in step with the catalog: what makes exact search fast."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from kb import catalog as cat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

MAX_BYTES: Final = 2 * 1024**3
"""The most memory that one collection's vectors may take; larger ones are read from the catalog as needed."""

FEW: Final = 8_192
"""Up to so many rows are multiplied on one core, and so many at a time are copied together for that."""

_DEAD: Final = -1


class Scored(NamedTuple):
    """Chunks with their scores, index by index, in no particular order.

    Attributes:
        seqs: Row numbers of the documents; shape (n,), int64.
        ordinals: Chunk numbers; shape (n,), int32.
        scores: Cosines with the query; shape (n,), float32, good to 1e-6.
        rows: Where the vectors stand in ``matrix``; shape (n,).
        matrix: Unit vectors, float32.
    """

    seqs: np.ndarray
    ordinals: np.ndarray
    scores: np.ndarray
    rows: np.ndarray
    matrix: np.ndarray


def dots(matrix: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Return the scalar product of every row with the query, shape (n,), float32."""
    if len(matrix) > FEW:
        return np.asarray(matrix @ query)
    # The threads of a BLAS wait for each other longer than so little work takes, most of all on a busy machine.
    return np.asarray(np.einsum("ij,j->i", matrix, query))


def scored(vectors: cat.ChunkVectors, query: np.ndarray) -> Scored:
    """Return the score of every one of the vectors."""
    rows = np.arange(len(vectors.seqs))
    return Scored(vectors.seqs, vectors.ordinals, dots(vectors.matrix, query), rows, vectors.matrix)


class VectorCache:
    """All vectors of a collection as one matrix.

    A write leaves the rows of its documents dead and appends their new ones; what is searched is always the state of
    the transaction that ``refresh`` was called in. Callers hold ``guard`` from ``refresh`` to the last use.
    """

    def __init__(self, collection_id: int, dimension: int) -> None:
        """Start empty."""
        self.guard = threading.RLock()
        self._collection_id = collection_id
        self._dimension = dimension
        self._change = -1
        self._counted = (-1, 0)
        self._used = 0
        self._seqs = np.empty(0, dtype=np.int64)
        self._ordinals = np.empty(0, dtype=np.int32)
        self._matrix = np.empty((0, dimension), dtype=np.float32)
        self._order = np.empty(0, dtype=np.int64)  # the living rows by document
        self._ordered = np.empty(0, dtype=np.int64)  # the documents of these rows
        self._scratch = np.empty((0, dimension), dtype=np.float32)

    @property
    def is_loaded(self) -> bool:
        """Whether a matrix is in memory."""
        return self._change >= 0

    def fits(self, chunks: int) -> bool:
        """Return whether so many vectors may be kept in memory."""
        return chunks * self._dimension * 4 <= MAX_BYTES

    def refresh(self, connection: Connection) -> None:
        """Take over what has been written since the last call."""
        change = cat.current_change(connection, self._collection_id)
        if change == self._change:
            return
        if not self.is_loaded or cat.last_purge(connection, self._collection_id) > self._change:
            self._load(cat.chunk_vectors(connection, self._collection_id, self._dimension))
        else:
            stale = cat.touched_since(connection, self._collection_id, self._change)
            fresh = cat.chunk_vectors(connection, self._collection_id, self._dimension, seqs=stale)
            self._seqs[: self._used][np.isin(self._seqs[: self._used], stale)] = _DEAD
            if np.count_nonzero(self._seqs[: self._used] == _DEAD) > max(1_000, self._used // 3):
                self._load(cat.chunk_vectors(connection, self._collection_id, self._dimension))
            else:
                self._append(fresh)
        self._change = change

    def count_chunks(self, connection: Connection) -> int:
        """Return how many chunks the collection has; counted once for each state of it."""
        change = cat.current_change(connection, self._collection_id)
        if self._counted[0] != change:
            self._counted = (change, cat.count_chunks(connection, self._collection_id))
        return self._counted[1]

    def scan(self, query: np.ndarray) -> Scored:
        """Return the score of every chunk with the query."""
        live = slice(0, self._used) if len(self._order) == self._used else self._order
        rows = np.arange(self._used)[live]
        # Scoring the dead rows too is cheaper than copying the living ones together first.
        scores = (self._matrix[: self._used] @ query)[live]
        return Scored(self._seqs[rows], self._ordinals[rows], scores, rows, self._matrix)

    def score(self, query: np.ndarray, seqs: Sequence[int]) -> Scored:
        """Return the score of every chunk of some documents, none of them given twice."""
        wanted = np.fromiter(seqs, dtype=np.int64, count=len(seqs))
        left = np.searchsorted(self._ordered, wanted, "left")
        counts = np.searchsorted(self._ordered, wanted, "right") - left
        # The rows of document i are order[left[i] : left[i] + counts[i]]; this lines all of them up at once.
        offsets = np.repeat(left - (np.cumsum(counts) - counts), counts)
        rows = self._order[np.arange(int(counts.sum())) + offsets]
        if len(self._scratch) < min(len(rows), FEW):
            self._scratch = np.empty((min(len(rows) + len(rows) // 2, FEW), self._dimension), dtype=np.float32)
        scores = np.empty(len(rows), dtype=np.float32)
        # Into memory that is there already, block by block: fresh pages of the system take longer than the copy, and
        # a copy of all that some query has ever asked for would stay.
        for start in range(0, len(rows), FEW):
            block = rows[start : start + FEW]
            some = self._scratch[: len(block)]
            np.take(self._matrix, block, axis=0, out=some, mode="clip")
            scores[start : start + FEW] = dots(some, query)
        return Scored(self._seqs[rows], self._ordinals[rows], scores, rows, self._matrix)

    def _load(self, vectors: cat.ChunkVectors) -> None:
        self._seqs, self._ordinals, self._matrix = vectors.seqs, vectors.ordinals, vectors.matrix
        self._used = len(vectors.seqs)
        self._sort()

    def _append(self, fresh: cat.ChunkVectors) -> None:
        used, total = self._used, self._used + len(fresh.seqs)
        if total == used:
            self._sort()
            return
        if total > len(self._seqs):
            room = total + total // 4
            self._seqs = _grown(self._seqs, used, room)
            self._ordinals = _grown(self._ordinals, used, room)
            self._matrix = _grown(self._matrix, used, room)
        self._seqs[used:total] = fresh.seqs
        self._ordinals[used:total] = fresh.ordinals
        self._matrix[used:total] = fresh.matrix
        self._used = total
        self._sort()

    def _sort(self) -> None:
        seqs = self._seqs[: self._used]
        order = np.argsort(seqs, kind="stable")
        self._order = order[np.searchsorted(seqs[order], 0) :]
        self._ordered = seqs[self._order]


def _grown(array: np.ndarray, used: int, room: int) -> np.ndarray:
    larger = np.empty((room, *array.shape[1:]), dtype=array.dtype)
    larger[:used] = array[:used]
    return larger
