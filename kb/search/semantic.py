"""The semantic leg: documents by the cosine of their best chunk.

The planner decides who proposes candidates; the catalog's vectors decide about them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kb import catalog as cat
from kb.index import JITTER, to_where
from kb.search.cache import Scored, scored
from kb.search.query import Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kb.index import Generation
    from kb.search.rank import Ranking
    from kb.search.searchable import Asked

SMALL: Final = 20_000
"""Up to so many chunks a scan of all of them costs less than Chroma does, and misses nothing."""

SCANNABLE: Final = 200_000
"""Up to so many chunks a broad filter is answered by a scan of the vectors in memory."""


MANY: Final = 2_000
"""Where so many of Chroma's proposals are not enough, something else is quicker."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a strategy has found.

    Attributes:
        ranking: The best documents by cosine.
        candidates: Out of how many that satisfy the filter.
        strategy: How.
        scored: All chunks that were compared.
        verified: Whether all their documents satisfy the filter.
        frontier: The lowest score among Chroma's proposals: what it did not propose is hardly better.
    """

    ranking: Ranking
    candidates: int
    strategy: Strategy
    scored: Scored
    verified: bool
    frontier: float = -1.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many documents the semantic leg is to find, and which are to be compared whatever Chroma proposes."""

    limit: int
    also: Sequence[int] = ()


def find_nearest(one: Asked, wanted: Wanted, *, may_use_index: bool) -> Found:
    """Return the documents nearest to the query.

    - few documents satisfy the filter: exactly those are compared;
    - a small collection, or a broad filter over one that fits in memory: every vector is compared, and the filter is
      checked from the best document down;
    - otherwise Chroma proposes more and more, until enough of what it proposes satisfies the filter.

    Raises:
        DamagedError, LockedError: The index cannot be asked; without ``may_use_index`` it is not.
    """
    narrow = one.narrow()
    if narrow is not None:
        return _compare(one, wanted, narrow)
    if asks_chroma(one, may_use_index=may_use_index):
        return _ask_chroma(one, wanted)
    return _scan(one, wanted)


def asks_chroma(one: Asked, *, may_use_index: bool) -> bool:
    """Return whether Chroma is asked for candidates: then what is found is approximate."""
    # What is to be counted must have been compared.
    if not may_use_index or one.query.facets or one.narrow() is not None:
        return False
    scan = one.chunks <= (SMALL if one.query.filter is None else SCANNABLE)
    return not (scan and one.on.cache.fits(one.chunks))


def score_documents(one: Asked, seqs: Sequence[int]) -> Scored:
    """Return the scores of all chunks of some documents, each given once."""
    on = one.on
    # A process that searches once reads only what it needs; one that goes on searching keeps all vectors at hand.
    if on.searches > 0 and not on.cache.is_loaded and on.cache.fits(one.chunks):
        on.cache.refresh(one.connection)
    if on.cache.is_loaded:
        on.cache.refresh(one.connection)
        return on.cache.score(one.vector, seqs)
    return scored(cat.chunk_vectors(one.connection, on.collection.id, on.collection.dimension, seqs=seqs), one.vector)


def _compare(one: Asked, wanted: Wanted, seqs: Sequence[int]) -> Found:
    """Compare some documents one by one."""
    return _found(one, wanted, score_documents(one, seqs), len(seqs), Strategy.EXACT)


def _scan(one: Asked, wanted: Wanted) -> Found:
    """Compare every vector of the collection."""
    on = one.on
    if on.cache.fits(one.chunks):
        on.cache.refresh(one.connection)
        found = on.cache.scan(one.vector)
    else:
        found = scored(cat.chunk_vectors(one.connection, on.collection.id, on.collection.dimension), one.vector)
    return _found(one, wanted, found, one.count(), Strategy.EXACT, verified=False)


def _found(
    one: Asked,
    wanted: Wanted,
    found: Scored,
    candidates: int,
    strategy: Strategy,
    *,
    verified: bool = True,
    frontier: float = -1.0,
) -> Found:
    ranking = one.rank(found, limit=wanted.limit, verified=verified)
    return Found(ranking, candidates, strategy, found, verified, frontier)


def _ask_chroma(one: Asked, wanted: Wanted) -> Found:
    """Let Chroma propose, and compare the documents that it names exactly."""
    # Opening it may find it damaged and begin a new one: whether it lacks anything is asked after that.
    generation = one.on.follow()
    # More than it gives at once it cannot propose: what looks like its last record then would not be.
    most = min(MANY, generation.limits.results)
    first = min(max(2 * wanted.limit, 20), most)
    proposals = first
    while True:
        found = _propose(one, wanted, generation, proposals, None)
        if _is_enough(wanted, found) or proposals >= min(one.chunks, most):
            break
        proposals = min(8 * proposals, most)
    if _is_enough(wanted, found) or proposals >= one.chunks:
        return found
    where = None if one.query.filter is None else to_where(one.query.filter, one.on.collection.schema)
    if where is not None and not one.on.cache.fits(one.chunks):
        found = _propose(one, wanted, generation, first, where)
        if _is_enough(wanted, found):
            return found
    return _scan(one, wanted)


def _is_enough(wanted: Wanted, found: Found) -> bool:
    """Return whether more proposals could not add a hit: they would be worse than all that were compared."""
    if found.ranking.bound is not None and found.frontier < found.ranking.bound - JITTER:
        return True
    scores = sorted((best.score for best in found.ranking.best), reverse=True)
    # Equal vectors differ in Chroma by their jitter: which of them it proposes first says nothing.
    return len(scores) >= wanted.limit and found.frontier < scores[wanted.limit - 1] - JITTER


def _propose(one: Asked, wanted: Wanted, generation: Generation, n: int, where: dict[str, object] | None) -> Found:
    on = one.on
    candidates = generation.query(one.vector, n, where)
    refused = cat.refusals(one.connection, on.collection.id, cat.VECTORS)
    keys = list(dict.fromkeys([*(c.document for c in candidates), *(refusal.key for refusal in refused)]))
    proposed = set(cat.seqs_of(one.connection, one.condition, keys)) - one.without
    seqs = sorted(proposed.union(wanted.also))
    if on.cache.is_loaded:
        on.cache.refresh(one.connection)
        found = on.cache.score(one.vector, seqs)
    else:
        vectors = cat.chunk_vectors(one.connection, on.collection.id, on.collection.dimension, seqs=seqs)
        found = scored(vectors, one.vector)
    strategy = Strategy.CHROMA if where is None else Strategy.CHROMA_WHERE
    frontier = candidates[-1].score if len(candidates) >= n else -1.0
    return _found(one, wanted, found, len(seqs), strategy, frontier=frontier)
