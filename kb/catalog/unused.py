"""Vectors that no chunk has any more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from kb.schema import Recipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection


class Unused(NamedTuple):
    """How many vectors nothing refers to, and their bytes."""

    vectors: int
    bytes: int


def unused_vectors(connection: Connection, *, besides: Sequence[int] = (), all_of_them: bool = False) -> Unused:
    """Return how many vectors are of no present chunk.

    Deleted documents and former versions had them; bringing one back without them calls the model.

    Args:
        connection: In a transaction.
        besides: Generations whose chunks do not count, because they are about to be dropped.
        all_of_them: As for ``delete_unused_vectors``.
    """
    kept = [] if all_of_them else _awaited_spaces(connection)
    query = f"SELECT count(*), coalesce(sum(length(vector)), 0) FROM vectors WHERE {_unused(besides)}"
    return Unused(*connection.exec_driver_sql(query, (json.dumps(kept),)).one())


def delete_unused_vectors(connection: Connection, *, all_of_them: bool = False) -> int:
    """Delete them and return how many there were.

    Args:
        connection: In a write transaction.
        all_of_them: Also those that a generation which is not complete was made, and has not come to use yet.
    """
    kept = [] if all_of_them else _awaited_spaces(connection)
    return connection.exec_driver_sql(f"DELETE FROM vectors WHERE {_unused()}", (json.dumps(kept),)).rowcount


def _awaited_spaces(connection: Connection) -> list[str]:
    """Return the spaces of generations that are being built: their vectors are kept before their chunks are."""
    rows = connection.exec_driver_sql("SELECT recipe FROM generations WHERE state = 'building' AND gate IS NULL")
    return sorted({Recipe.from_json(recipe).space for (recipe,) in rows})


def _unused(besides: Sequence[int] = ()) -> str:
    dropped = ", ".join(str(int(number)) for number in besides)
    return (
        "space NOT IN (SELECT value FROM json_each(?))"
        " AND NOT EXISTS (SELECT 1 FROM chunks WHERE vector_id = vectors.id)"
        " AND NOT EXISTS (SELECT 1 FROM other_chunks WHERE vector_id = vectors.id"
        f" AND generation_id NOT IN ({dropped}))"
    )
