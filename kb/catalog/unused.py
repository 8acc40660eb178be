"""Vectors that no chunk has any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection


class Unused(NamedTuple):
    """How many vectors nothing refers to, and their bytes."""

    vectors: int
    bytes: int


def unused_vectors(connection: Connection, *, besides: Sequence[int] = ()) -> Unused:
    """Return how many vectors are of no present chunk.

    Deleted documents and former versions had them; bringing one back without them calls the model.

    Args:
        connection: In a transaction.
        besides: Generations whose chunks do not count, because they are about to be dropped.
    """
    query = f"SELECT count(*), coalesce(sum(length(vector)), 0) FROM vectors WHERE {_unused(besides)}"
    return Unused(*connection.exec_driver_sql(query).one())


def delete_unused_vectors(connection: Connection) -> int:
    """Delete them and return how many there were."""
    return connection.exec_driver_sql(f"DELETE FROM vectors WHERE {_unused()}").rowcount


def _unused(besides: Sequence[int] = ()) -> str:
    dropped = ", ".join(str(int(number)) for number in besides)
    return (
        "NOT EXISTS (SELECT 1 FROM chunks WHERE vector_id = vectors.id)"
        " AND NOT EXISTS (SELECT 1 FROM other_chunks WHERE vector_id = vectors.id"
        f" AND generation_id NOT IN ({dropped}))"
    )
