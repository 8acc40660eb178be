"""The bound that a relevance stands for: what a calibration of the collection has found."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from kb import catalog as cat
from kb.errors import QueryError, SchemaMismatchError

if TYPE_CHECKING:
    from kb.catalog import Calibration, Connection
    from kb.search.query import Query
    from kb.search.searchable import Searchable

DRIFT: Final = 0.2
"""A calibration is doubted when this share of the documents has changed since."""


def with_bound(on: Searchable, connection: Connection, query: Query) -> tuple[Query, tuple[str, ...]]:
    """Return the query with its relevance's bound as ``min_score``, and a note if the collection is another by now.

    Raises:
        QueryError: The collection has not been calibrated.
        SchemaMismatchError: It was calibrated for another recipe.
    """
    relevance = query.cut.relevance
    if relevance is None:
        return query, ()
    calibration = _calibration(on, connection, relevance)
    return replace(query, cut=query.cut.bounded_by(calibration.bound(relevance))), _doubts(on, connection, calibration)


def not_calibrated(collection: str, relevance: cat.Relevance) -> QueryError:
    """Return the error of a search with a relevance in a collection that has not been calibrated."""
    return QueryError(
        f"'{collection}' has not been calibrated, so that it has no bound for '{relevance}'",
        hint=f"run kb calibrate -c {collection}, or give a bound of your own: --min-score",
    )


def _calibration(on: Searchable, connection: Connection, relevance: cat.Relevance) -> Calibration:
    collection = on.collection
    found = cat.find_calibrations(connection, collection.id)
    for one in found:
        if one.recipe_hash == collection.recipe.hash:
            return one
    if not found:
        raise not_calibrated(collection.name, relevance)
    raise SchemaMismatchError(
        f"'{collection.name}' was calibrated for another recipe: its scores do not compare with those of this one",
        hint=f"run kb calibrate -c {collection.name}",
    )


def _doubts(on: Searchable, connection: Connection, calibration: Calibration) -> tuple[str, ...]:
    change = cat.current_change(connection, on.collection.id)
    if on.changed is None or on.changed[:2] != (change, calibration.change):
        touched = len(set(cat.touched_since(connection, on.collection.id, calibration.change)))
        on.changed = change, calibration.change, touched
    changed = on.changed[2]
    if changed <= DRIFT * calibration.documents:
        return ()
    name = on.collection.name
    since = f"{changed:,} documents have changed since '{name}' was calibrated, when it had {calibration.documents:,}"
    return (f"{since}: run kb calibrate -c {name} again",)
