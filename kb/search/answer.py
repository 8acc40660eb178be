"""What every mode ends in: documents in their places, and why there are so many."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kb import catalog as cat
from kb.search.arrange import best_sentence, diversify, rerank
from kb.search.cut import end_of
from kb.search.query import Hit, Rejected
from kb.search.rank import DECIMALS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kb.search.query import Explanation, Strategy
    from kb.search.rank import Best, Placed
    from kb.search.searchable import Asked


@dataclass(frozen=True, slots=True)
class Answer:
    """What a mode has found, before it is ordered and cut.

    Attributes:
        placed: Documents that no bound keeps out: all that can be among the best that were asked for.
        candidates, passed, above: As in the report.
        bound: The lower bound that applied, or None.
        rejected: The best document below the bound, or None.
        strategy: How the candidates were found.
        explain: Returns how a document's place came about, given its text.
        degraded: Why the answer did not come from the indexes, or None.
        counted: With facets, the documents that ``passed`` counts; None for all that satisfy the filter.
        settled: Documents that come first, in this order, whatever the scores of the others.
        notes: Other things to know about it.
    """

    placed: Sequence[Placed]
    candidates: int
    passed: int
    above: int
    bound: float | None
    rejected: Best | None
    strategy: Strategy
    explain: Callable[[Placed, str], Explanation]
    degraded: str | None = None
    counted: Sequence[int] | None = None
    settled: Sequence[Placed] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """The hits of one page of an answer.

    Attributes:
        hits: Best first, equal scores by id.
        after_jump: How many more the page would have without ``autocut``.
    """

    hits: tuple[Hit, ...]
    after_jump: int


def turn_page(one: Asked, answer: Answer) -> Page:
    """Order an answer, cut it, and read the documents that it shows."""
    query = one.query
    ordered = in_order(one, answer, query.depth)
    if query.rerank is not None:
        pools = _pools(ordered, query.pool)
        ordered = [placed for pool in pools for placed in rerank(one, query.rerank, pool)]
    kept = ordered
    if query.cut.autocut:
        kept = ordered[: end_of([placed.rank_score for placed in ordered])]
    without = len(ordered[query.offset : query.reach]) - len(kept[query.offset : query.reach])
    if query.diverse is not None:
        pools = _pools(kept, query.pool)
        kept = [placed for pool in pools for placed in diversify(one, query.diverse, pool, query.reach)]
    return Page(tuple(_hits(one, answer, kept[query.offset : query.reach])), without)


def _pools(ordered: Sequence[Placed], size: int) -> list[Sequence[Placed]]:
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def in_order(one: Asked, answer: Answer, depth: int) -> list[Placed]:
    """Return the best so many documents: those that are settled, then the others by score, equal ones by id."""
    settled = {p.best.seq for p in answer.settled}
    by_score = sorted((p for p in answer.placed if p.best.seq not in settled), key=lambda p: -p.rank_score)
    open_ = max(0, depth - len(settled))
    if 0 < open_ < len(by_score):
        last = by_score[open_ - 1].rank_score
        by_score = [p for p in by_score if p.rank_score >= last]
    keys = cat.keys_of(one.connection, [p.best.seq for p in by_score])
    return [*answer.settled, *sorted(by_score, key=lambda p: (-p.rank_score, keys[p.best.seq]))][:depth]


def _hits(one: Asked, answer: Answer, shown: Sequence[Placed]) -> list[Hit]:
    schema = one.on.collection.schema
    found = cat.found_chunks(one.connection, [(p.best.seq, p.best.chunk) for p in shown])
    hits = []
    for placed in shown:
        chunk = found[placed.best.seq]
        explanation = answer.explain(placed, chunk.text) if one.query.explain else None
        if explanation is not None and one.query.rerank is not None:
            explanation = replace(explanation, reranked=placed.rank_score)
        hits.append(
            Hit(
                chunk.key,
                placed.best.score,
                chunk.text[chunk.start : chunk.end].strip(),
                placed.best.chunk,
                schema.load(chunk.key, chunk.fields),
                round(placed.rank_score, DECIMALS),
                explanation,
                best_sentence(one, chunk.text[chunk.start : chunk.end]) if one.query.highlight else None,
            )
        )
    return hits


def count_facets(one: Asked, answer: Answer) -> tuple[cat.Facet, ...]:
    """Return how the values of the fields asked for are distributed over all documents that no bound keeps out."""
    fields = cat.facet_fields(one.on.collection.schema, one.query.facets)
    condition = one.condition
    if answer.counted is not None:
        condition = cat.only_these(condition, answer.counted)
    elif one.without:
        condition = cat.but_these(condition, sorted(one.without))
    return tuple(cat.count_values(one.connection, condition, field, cat.FACET_VALUES) for field in fields)


def best_rejected(one: Asked, answer: Answer) -> Rejected | None:
    """Return the best document below the bound by its id, or None."""
    if answer.rejected is None:
        return None
    return Rejected(cat.keys_of(one.connection, [answer.rejected.seq])[answer.rejected.seq], answer.rejected.score)
