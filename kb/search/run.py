"""Searching: one query in, hits and a report out."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from kb import catalog as cat
from kb.catalog import facet_fields
from kb.embed import check_vectors
from kb.errors import DamagedError, LimitError, LockedError
from kb.filters import check
from kb.search.answer import Answer, best_rejected, count_facets, turn_page
from kb.search.examples import find_examples
from kb.search.mixed import find_hybrid, find_keyword
from kb.search.query import MAX_QUERY_CHARACTERS, Explanation, Hits, Leg, Mode, Query, Report
from kb.search.rank import Placed
from kb.search.relevance import with_bound
from kb.search.searchable import Asked
from kb.search.semantic import Wanted, asks_chroma, find_nearest
from kb.search.steps import find_in_steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from kb.search.searchable import Searchable


def search(on: Searchable, queries: Sequence[Query]) -> list[Hits]:
    """Answer queries; their texts are embedded together.

    Documents that satisfy the filter are placed by their best chunk (``semantic``), by their words (``keyword``) or by
    both (``hybrid``); those that a bound keeps out are left out; the best ``limit`` of the rest are returned, equal
    ones by id.

    Raises:
        FilterError: The filter does not fit the schema.
        SchemaError: A facet is no field, or is prose.
        QueryError, SchemaMismatchError: A relevance is asked for, and there is no calibration for it.
        NotFoundError: An example does not exist.
        EncoderError: The model failed.
        ModelMismatchError: The model is not the one that made the vectors.
        SupersededError: Another generation serves by now.
    """
    began = time.perf_counter()
    queries = [_checked(on, query) for query in queries]
    texts = [_embeddable(on, query) for query in queries]
    vectors = _embedded(on, [text for text, _ in texts])
    embedding = (time.perf_counter() - began) / max(1, len(queries))
    return [
        _answer(on, query, vector, notes, time.perf_counter() - embedding)
        for query, vector, (_, notes) in zip(queries, vectors, texts, strict=True)
    ]


def _embedded(on: Searchable, texts: Sequence[str]) -> list[np.ndarray | None]:
    """Return the vector of each text, None for an empty one."""
    # Each once: an evaluation asks the same queries in every mode.
    given = list(dict.fromkeys(text for text in texts if text))
    if not given:
        return [None] * len(texts)
    encoder = on.encoder()
    found = encoder.encode_query(given[0]).reshape(1, -1) if len(given) == 1 else encoder.encode_queries(given)
    by_text = dict(zip(given, check_vectors(found, len(given), on.collection.dimension), strict=True))
    return [by_text.get(text) for text in texts]


def _checked(on: Searchable, query: Query) -> Query:
    facet_fields(on.collection.schema, query.facets)
    if query.filter is None:
        return query
    return replace(query, filter=check(query.filter, on.collection.schema))


def _answer(on: Searchable, query: Query, vector: np.ndarray | None, notes: tuple[str, ...], began: float) -> Hits:
    owner = on.other_owner()
    degraded = None if owner is None else f"the index is owned by {owner}; answered exactly from the catalog"
    if on.catalog.damage is not None:
        degraded = f"the catalog is damaged: {on.catalog.damage}; answered exactly from what can be read of it"
    with on.cache.guard, on.catalog.read() as connection:
        cat.check_serving(connection, on.collection)  # else the vectors were not made by the query's model
        relevance = query.cut.relevance
        query, doubts = with_bound(on, connection, query)
        examples = find_examples(on, connection, query.example)
        direction = examples.turn(vector)
        one = Asked(on, query, direction, connection, on.condition(query.filter), query.depth, examples.seqs)
        try:
            found = _find(one, may_use_index=degraded is None)
        except (DamagedError, LockedError, LimitError) as error:  # the last: no room for the index to follow
            degraded = f"{error}; answered exactly from the catalog"
            try:
                found = _find(one, may_use_index=False)
            except DamagedError as again:  # then it is the index of words that has failed
                degraded = f"{again}; answered exactly from the catalog"
                found = _find(replace(one, words_from_catalog=True), may_use_index=False)
        page = turn_page(one, found)
        rejected = best_rejected(one, found)
        facets = count_facets(one, found)
    if query.mode is not Mode.SEMANTIC:
        with on.catalog.read() as now:  # the index of words may be ahead of the snapshot, up to another template
            cat.check_serving(now, on.collection)
    on.searches += 1
    report = Report(
        returned=len(page.hits),
        limit=query.limit,
        candidates=found.candidates,
        passed=found.passed,
        below_min_score=found.candidates - found.passed - found.above,
        min_score=found.bound,
        best_rejected=rejected,
        strategy=found.strategy,
        milliseconds=round((time.perf_counter() - began) * 1000, 1),
        mode=query.mode,
        above_max_score=found.above,
        after_jump=page.after_jump,
        degraded=degraded or found.degraded,
        notes=(*notes, *doubts, *found.notes),
        relevance=relevance,
    )
    return Hits(query.text, on.collection.name, on.collection.recipe.model, page.hits, report, facets)


def _find(one: Asked, *, may_use_index: bool) -> Answer:
    if one.query.mode is Mode.KEYWORD:
        return find_keyword(one)
    # Examples alone have no words.
    find = find_hybrid if one.query.mode is Mode.HYBRID and one.query.text.strip() else _find_semantic
    if asks_chroma(one, may_use_index=may_use_index):
        return find_in_steps(one, lambda deeper: find(deeper, may_use_index=may_use_index))
    return find(one, may_use_index=may_use_index)


def _find_semantic(one: Asked, *, may_use_index: bool) -> Answer:
    found = find_nearest(one, Wanted(one.depth), may_use_index=may_use_index)
    ranking = found.ranking
    places = {best.seq: place for place, best in enumerate(sorted(ranking.best, key=lambda b: (-b.score, b.seq)), 1)}

    def explain(placed: Placed, _text: str) -> Explanation:
        score = placed.best.score
        return Explanation(Leg(score, places[placed.best.seq], 0.0, 1.0, score, 1.0), None, ())

    return Answer(
        [Placed(best, best.score) for best in ranking.best],
        found.candidates,
        found.candidates - ranking.above if ranking.bound is None else ranking.passed,
        ranking.above,
        ranking.bound,
        ranking.rejected,
        found.strategy,
        explain,
        counted=one.passing(found.scored, ranking.bound) if one.query.facets else None,
    )


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
