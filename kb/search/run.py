"""Searching: one query in, hits and a report out. The planner decides who proposes; the catalog's vectors decide."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from kb import catalog as cat
from kb.embed import check_vectors
from kb.errors import DamagedError, LockedError
from kb.filters import check
from kb.index import JITTER, to_where
from kb.search.cache import Scored, VectorCache, scored
from kb.search.query import MAX_QUERY_CHARACTERS, Hit, Hits, Query, Rejected, Report, Strategy
from kb.search.rank import Ranking, rank

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from sqlalchemy import Connection

    from kb.embed import Encoder
    from kb.filters import Filter
    from kb.index import Generation, Owner

SMALL: Final = 20_000
"""Up to so many chunks a scan of all of them costs less than Chroma does, and misses nothing."""

SCANNABLE: Final = 200_000
"""Up to so many chunks a broad filter is answered by a scan of the vectors in memory."""

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
        index: Returns the open index.
        follow: Brings the index up to date with the catalog and returns it.
        other_owner: Returns the other process that owns the index, or None.
        searches: How many searches this object has served.
        conditions: Filters that have been compiled, the last few.
        matches: Documents that satisfy a condition, and the number of the write that they were looked up after.
    """

    catalog: cat.Catalog
    collection: cat.StoredCollection
    cache: VectorCache
    encoder: Callable[[], Encoder]
    index: Callable[[], Generation]
    follow: Callable[[], Generation]
    other_owner: Callable[[], Owner | None]
    searches: int = field(default=0)
    conditions: dict[Filter | None, cat.Condition] = field(default_factory=dict)
    matches: dict[cat.Condition, tuple[int, list[int]]] = field(default_factory=dict)

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


@dataclass(frozen=True, slots=True)
class _Found:
    """What a strategy has found: a ranking out of so many documents that were compared.

    ``frontier`` is the lowest score among Chroma's proposals: what it did not propose is hardly better.
    """

    ranking: Ranking
    candidates: int
    strategy: Strategy
    frontier: float = -1.0


@dataclass(frozen=True, slots=True)
class _Search:
    """One search in one snapshot of the catalog."""

    on: Searchable
    query: Query
    vector: np.ndarray
    connection: Connection
    condition: cat.Condition

    def rank(self, found: Scored, *, verified: bool) -> Ranking:
        """Rank the scored chunks; documents not yet known to satisfy the filter are verified on the way."""
        verify = None if verified or self.query.filter is None else self.matching
        return rank(self.vector, found, limit=self.query.limit, min_score=self.query.min_score, verify=verify)

    def matching(self, seqs: Sequence[int]) -> set[int]:
        """Return those of the documents that satisfy the filter."""
        return cat.matching_among(self.connection, self.condition, seqs)


def search(on: Searchable, query: Query) -> Hits:
    """Answer a query.

    Documents that satisfy the filter are compared by their best chunk; those below ``min_score`` are left out; the
    best ``limit`` of the rest are returned, equal scores by id.

    Raises:
        FilterError: The filter does not fit the schema.
        EncoderError: The model failed.
        ModelMismatchError: The model is not the one that made the vectors.
    """
    began = time.perf_counter()
    if query.filter is not None:
        query = replace(query, filter=check(query.filter, on.collection.schema))
    text, notes = _embeddable(on, query)
    vector = check_vectors(on.encoder().encode_query(text).reshape(1, -1), 1, on.collection.dimension)[0]
    owner = on.other_owner()
    degraded = None if owner is None else f"the index is owned by {owner}; answered exactly from the catalog"
    with on.cache.guard, on.catalog.read() as connection:
        one = _Search(on, query, vector, connection, on.condition(query.filter))
        try:
            found = _plan(one, may_use_index=owner is None)
        except (DamagedError, LockedError) as error:
            degraded = f"{error}; answered exactly from the catalog"
            found = _plan(one, may_use_index=False)
        hits, rejected = _hits(one, found.ranking)
    on.searches += 1
    report = Report(
        returned=len(hits),
        limit=query.limit,
        candidates=found.candidates,
        below_min_score=found.candidates - found.ranking.passed if query.min_score is not None else 0,
        min_score=query.min_score,
        best_rejected=rejected,
        strategy=found.strategy,
        milliseconds=round((time.perf_counter() - began) * 1000, 1),
        degraded=degraded,
        notes=notes,
    )
    return Hits(query.text, on.collection.name, on.collection.recipe.model, hits, report)


def _embeddable(on: Searchable, query: Query) -> tuple[str, tuple[str, ...]]:
    """Return what of the query is embedded, and a note when that is not all."""
    text = query.text.strip()
    if len(text) > MAX_QUERY_CHARACTERS:
        note = f"the query is {len(text):,} characters long; the first {MAX_QUERY_CHARACTERS:,} were used"
        return text[:MAX_QUERY_CHARACTERS], (note,)
    encoder = on.encoder()
    # A token is at least one byte, so a short query need not be counted.
    if len(text.encode()) > encoder.window and (tokens := encoder.query_tokens(text)) > encoder.window:
        return text, (f"the query has {tokens} tokens; the model reads the first {encoder.window}",)
    return text, ()


def _plan(one: _Search, *, may_use_index: bool) -> _Found:
    """Choose who proposes candidates.

    - few documents satisfy the filter: exactly those are compared;
    - a small collection, or a broad filter over one that fits in memory: every vector is compared, and the filter is
      checked from the best document down;
    - otherwise Chroma proposes more and more, until enough of what it proposes satisfies the filter.
    """
    on = one.on
    if one.query.filter is not None:
        seqs = on.matching_seqs(one.connection, one.condition)
        if len(seqs) <= NARROW:
            return _compare(one, seqs)
    chunks = _chunks(one)
    scan = chunks <= (SMALL if one.query.filter is None else SCANNABLE)
    if not may_use_index or (scan and on.cache.fits(chunks)):
        return _scan(one, chunks)
    return _ask_chroma(one, chunks)


def _chunks(one: _Search) -> int:
    return one.on.cache.count_chunks(one.connection)


def _compare(one: _Search, seqs: Sequence[int]) -> _Found:
    """Compare some documents one by one."""
    on = one.on
    # A process that searches once reads only what it needs; one that goes on searching keeps all vectors at hand.
    if on.searches > 0 and not on.cache.is_loaded and on.cache.fits(_chunks(one)):
        on.cache.refresh(one.connection)
    if on.cache.is_loaded:
        on.cache.refresh(one.connection)
        found = on.cache.score(one.vector, seqs)
    else:
        vectors = cat.chunk_vectors(one.connection, on.collection.id, on.collection.dimension, seqs=seqs)
        found = scored(vectors, one.vector)
    return _Found(one.rank(found, verified=True), len(seqs), Strategy.EXACT)


def _scan(one: _Search, chunks: int) -> _Found:
    """Compare every vector of the collection."""
    on = one.on
    if on.cache.fits(chunks):
        on.cache.refresh(one.connection)
        found = on.cache.scan(one.vector)
    else:
        found = scored(cat.chunk_vectors(one.connection, on.collection.id, on.collection.dimension), one.vector)
    candidates = cat.count_matching(one.connection, one.condition)
    return _Found(one.rank(found, verified=False), candidates, Strategy.EXACT)


def _ask_chroma(one: _Search, chunks: int) -> _Found:
    """Let Chroma propose, and compare the documents that it names exactly."""
    behind = cat.oldest(one.connection, one.on.collection.id, cat.VECTORS, 1) is not None
    generation = one.on.follow() if behind else one.on.index()
    first = max(2 * one.query.limit, 20)
    proposals = first
    while True:
        found = _propose(one, generation, proposals, None)
        if _is_enough(one, found) or proposals >= min(chunks, 2_000):
            break
        proposals *= 8
    if _is_enough(one, found) or proposals >= chunks:
        return found
    where = None if one.query.filter is None else to_where(one.query.filter, one.on.collection.schema)
    if where is not None and not one.on.cache.fits(chunks):
        found = _propose(one, generation, first, where)
        if _is_enough(one, found):
            return found
    return _scan(one, chunks)


def _is_enough(one: _Search, found: _Found) -> bool:
    """Return whether more proposals could not add a hit: they would be worse than all that were compared."""
    if found.ranking.rejected is not None:
        return True
    scores = sorted((best.score for best in found.ranking.best), reverse=True)
    # Equal vectors differ in Chroma by their jitter: which of them it proposes first says nothing.
    return len(scores) >= one.query.limit and found.frontier < scores[one.query.limit - 1] - JITTER


def _propose(one: _Search, generation: Generation, n: int, where: dict[str, object] | None) -> _Found:
    on = one.on
    candidates = generation.query(one.vector, n, where)
    refused = cat.refusals(one.connection, on.collection.id, cat.VECTORS)
    keys = list(dict.fromkeys([*(c.document for c in candidates), *(refusal.key for refusal in refused)]))
    seqs = cat.seqs_of(one.connection, one.condition, keys)
    if on.cache.is_loaded:
        found = on.cache.score(one.vector, seqs)
    else:
        vectors = cat.chunk_vectors(one.connection, on.collection.id, on.collection.dimension, seqs=seqs)
        found = scored(vectors, one.vector)
    strategy = Strategy.CHROMA if where is None else Strategy.CHROMA_WHERE
    frontier = candidates[-1].score if len(candidates) >= n else -1.0
    return _Found(one.rank(found, verified=True), len(seqs), strategy, frontier)


def _hits(one: _Search, ranking: Ranking) -> tuple[tuple[Hit, ...], Rejected | None]:
    schema, connection = one.on.collection.schema, one.connection
    best = ranking.best
    if len(best) > 2 * one.query.limit:
        # Many documents of one score: their ids decide, before anything else of them is read.
        keys = cat.keys_of(connection, [b.seq for b in best])
        best = sorted(best, key=lambda b: (-b.score, keys[b.seq]))[: one.query.limit]
    found = cat.found_chunks(connection, [(b.seq, b.chunk) for b in best])
    ordered = sorted(best, key=lambda b: (-b.score, found[b.seq].key))[: one.query.limit]
    hits = []
    for b in ordered:
        chunk = found[b.seq]
        text = chunk.text[chunk.start : chunk.end].strip()
        hits.append(Hit(chunk.key, b.score, text, b.chunk, schema.load(chunk.key, chunk.fields)))
    rejected = ranking.rejected
    if rejected is None:
        return tuple(hits), None
    return tuple(hits), Rejected(cat.keys_of(connection, [rejected.seq])[rejected.seq], rejected.score)
