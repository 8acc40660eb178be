"""What a search works on: a collection that is open for searching, and one query against one snapshot of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from kb import catalog as cat
from kb.search.rank import between, rank
from kb.write import sample_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from sqlalchemy import Connection

    from kb.embed import Encoder, Reranker
    from kb.filters import Filter
    from kb.index import Generation, OpenWords, Owner
    from kb.search.cache import Scored, VectorCache
    from kb.search.query import Query
    from kb.search.rank import Ranking

NARROW: Final = 4_000
"""Up to so many documents that satisfy a filter are compared one by one."""

MAX_CONDITIONS: Final = 256

MAX_MATCHES: Final = 32
"""Of so many filters the documents that satisfy them are remembered."""


@dataclass
class Searchable:
    """A collection that is open for searching.

    Attributes:
        catalog: Where its documents and vectors are.
        collection: Its stored declaration.
        cache: Its vectors in memory.
        encoder: Returns its model, compared with the stored fingerprint at the first call.
        words: Returns the index of words for a snapshot of the catalog, or a copy of it made from the catalog.
        reranker: Returns an open cross-encoder by its id.
        follow: Brings the index of vectors up to date with the catalog and returns it.
        other_owner: Returns the other process that owns the index, or None.
        searches: How many searches this object has served.
        conditions: Filters that have been compiled, the last few.
        matches: Documents that satisfy a condition, and the number of the write that they were looked up after.
        counts: How many documents satisfy a condition, likewise.
        sampled: The sample in use, and the number of the write that it was looked up after.
        changed: The numbers of the last write and of an earlier one, and how many documents have changed between them.
    """

    catalog: cat.Catalog
    collection: cat.StoredCollection
    cache: VectorCache
    encoder: Callable[[], Encoder]
    words: Callable[[Connection, bool], OpenWords]
    reranker: Callable[[str], Reranker]
    follow: Callable[[], Generation]
    other_owner: Callable[[], Owner | None]
    searches: int = field(default=0)
    conditions: dict[Filter | None, cat.Condition] = field(default_factory=dict)
    matches: dict[cat.Condition, tuple[int, list[int]]] = field(default_factory=dict)
    counts: dict[cat.Condition, tuple[int, int]] = field(default_factory=dict)
    sampled: tuple[int, cat.Sample] | None = None
    changed: tuple[int, int, int] | None = None

    def condition(self, filter: Filter | None) -> cat.Condition:
        """Return a checked filter compiled for this collection."""
        if filter not in self.conditions:
            if len(self.conditions) >= MAX_CONDITIONS:
                self.conditions.clear()
            self.conditions[filter] = cat.compile_condition(self.collection.id, filter, self.collection.schema)
        return self.conditions[filter]

    def matching_seqs(self, connection: Connection, condition: cat.Condition) -> list[int]:
        """Return the documents that satisfy a condition, at most one more than ``NARROW``.

        The same filter is often asked for again before the next write, and takes SQLite longer than the comparing.
        """
        change = cat.current_change(connection, self.collection.id)
        looked_up, seqs = self.matches.get(condition, (-1, []))
        if looked_up != change:
            seqs = cat.matching_seqs(connection, condition, limit=NARROW + 1)
            if len(self.matches) >= MAX_MATCHES:
                self.matches.clear()
            self.matches[condition] = (change, seqs)
        return seqs

    def count_matching(self, connection: Connection, condition: cat.Condition) -> int:
        """Return how many documents satisfy a condition; counted once between two writes, as it takes milliseconds."""
        change = cat.current_change(connection, self.collection.id)
        counted, number = self.counts.get(condition, (-1, 0))
        if counted != change:
            number = cat.count_matching(connection, condition)
            if len(self.counts) >= MAX_CONDITIONS:
                self.counts.clear()
            self.counts[condition] = (change, number)
        return number

    def sample(self, connection: Connection) -> np.ndarray:
        """Return vectors that stand for the collection; shape (n, dimension), n up to 1,000."""
        change = cat.current_change(connection, self.collection.id)
        if self.sampled is None or self.sampled[0] != change:
            chunks = self.cache.count_chunks(connection)
            self.sampled = change, sample_of(connection, self.collection, chunks)
        return self.sampled[1].matrix


@dataclass(frozen=True, slots=True)
class Asked:
    """One query against one snapshot of the catalog.

    Attributes:
        on: The collection.
        query: With a checked filter.
        vector: The query's, unit length, shape (dimension,).
        connection: The snapshot.
        condition: The filter, compiled.
        depth: How many of the best documents are to be found.
        without: Documents that are left out: the examples.
        words_from_catalog: Whether the index of words has failed, and a copy made from the catalog takes its place.
    """

    on: Searchable
    query: Query
    vector: np.ndarray
    connection: Connection
    condition: cat.Condition
    depth: int
    without: frozenset[int] = frozenset()
    words_from_catalog: bool = False

    def words(self) -> OpenWords:
        """Return the index of words for the snapshot."""
        return self.on.words(self.connection, self.words_from_catalog)

    def rank(self, found: Scored, *, limit: int, verified: bool) -> Ranking:
        """Rank scored chunks, within the bounds of the query.

        Args:
            found: The chunks.
            limit: How many documents are wanted.
            verified: Whether all documents are known to satisfy the filter; the others are looked up on the way.
        """
        every = self.query.filter is None and not self.without
        verify = None if verified or every else self.matching
        cut = self.query.cut
        bound = cut.min_score
        if cut.within is not None:
            first = rank(self.vector, found, limit=1, max_score=cut.max_score, verify=verify).best
            bound = cut.bound(max((one.score for one in first), default=None))
        return rank(self.vector, found, limit=limit, min_score=bound, max_score=cut.max_score, verify=verify)

    def passing(self, found: Scored, bound: float | None) -> list[int] | None:
        """Return the documents that no bound keeps out; None for all that satisfy the filter.

        Args:
            found: The chunks of all documents that satisfy the filter.
            bound: The lower bound that applied, or None.
        """
        top = self.query.cut.max_score
        if bound is None and top is None:
            return None
        seqs = between(self.vector, found, -1.0 if bound is None else bound, 1.0 if top is None else top)
        return sorted(self.matching(seqs)) if seqs else []

    def matching(self, seqs: Sequence[int]) -> set[int]:
        """Return those of the documents that satisfy the filter and are no examples."""
        return cat.matching_among(self.connection, self.condition, seqs) - self.without

    def count(self) -> int:
        """Return how many documents satisfy the filter and are no examples."""
        left_out = cat.matching_among(self.connection, self.condition, sorted(self.without)) if self.without else ()
        return self.on.count_matching(self.connection, self.condition) - len(left_out)

    def narrow(self) -> list[int] | None:
        """Return the documents that satisfy the filter where those are few, else None."""
        if self.query.filter is None:
            return None
        seqs = self.on.matching_seqs(self.connection, self.condition)
        if len(seqs) > NARROW:
            return None
        return [seq for seq in seqs if seq not in self.without] if self.without else seqs

    @property
    def chunks(self) -> int:
        """How many chunks the collection has."""
        return self.on.cache.count_chunks(self.connection)
