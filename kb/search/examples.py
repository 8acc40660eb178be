"""Documents as a query: what hits are to resemble, and what not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from kb import catalog as cat
from kb.errors import NotFoundError, QueryError
from kb.schema import lookup_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from kb.search.query import Example
    from kb.search.searchable import Searchable

AWAY: Final = 0.5
"""How much of what is not wanted is taken off: more would lead to what resembles nothing in the collection."""


@dataclass(frozen=True, slots=True)
class Examples:
    """The documents that were named.

    Attributes:
        seqs: Their row numbers: they are no hits themselves.
        toward: Unit vectors of those wanted; shape (n, dimension).
        away: Unit vectors of those not wanted.
    """

    seqs: frozenset[int]
    toward: np.ndarray
    away: np.ndarray

    def turn(self, vector: np.ndarray | None) -> np.ndarray:
        """Return the query's vector turned to the examples, unit length (Rocchio's feedback, 1971).

        Args:
            vector: Of the query's text; None without one.

        Raises:
            QueryError: What is wanted and what is not cancel each other out.
        """
        wanted = [*self.toward] if vector is None else [vector, *self.toward]
        if len(wanted) == 1 and not len(self.away):
            return np.asarray(wanted[0])
        sum_ = np.mean(wanted, axis=0) - (AWAY * np.mean(self.away, axis=0) if len(self.away) else 0.0)
        length = float(np.linalg.norm(sum_))
        if length < 1e-6:
            raise QueryError("what is wanted and what is not wanted cancel each other out")
        return np.asarray(sum_ / length, dtype=np.float32)


def find_examples(on: Searchable, connection: Connection, example: Example) -> Examples:
    """Return the documents that a query names.

    Raises:
        NotFoundError: One of them does not exist.
        QueryError: One is both wanted and not wanted.
    """
    if not example:
        empty = np.empty((0, on.collection.dimension), dtype=np.float32)
        return Examples(frozenset(), empty, empty)
    keys = [lookup_id(key) for key in (*example.like, *example.unlike)]
    both = {lookup_id(key) for key in example.like} & {lookup_id(key) for key in example.unlike}
    if both:
        raise QueryError(f"'{min(both)}' cannot be wanted and not wanted at once")
    seqs = {document.key: document.seq for document in cat.get_documents(connection, on.collection.id, keys).values()}
    for key in keys:
        if key not in seqs:
            raise NotFoundError(f"there is no document '{key}' in '{on.collection.name}'", hint="kb list shows the ids")
    like = _vectors(on, connection, [seqs[lookup_id(key)] for key in example.like])
    unlike = _vectors(on, connection, [seqs[lookup_id(key)] for key in example.unlike])
    return Examples(frozenset(seqs.values()), like, unlike)


def _vectors(on: Searchable, connection: Connection, seqs: Sequence[int]) -> np.ndarray:
    """Return a unit vector for each document: the mean of its chunks'; shape (n, dimension)."""
    dimension = on.collection.dimension
    if not seqs:
        return np.empty((0, dimension), dtype=np.float32)
    chunks = cat.chunk_vectors(connection, on.collection.id, dimension, seqs=sorted(set(seqs)))
    means = {seq: chunks.matrix[chunks.seqs == seq].mean(axis=0) for seq in set(seqs)}
    matrix = np.stack([means[seq] for seq in seqs])
    return np.asarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True), dtype=np.float32)
