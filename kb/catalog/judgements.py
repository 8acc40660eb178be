"""Judgements: which documents somebody has said answer a query, and which do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert

from kb.catalog.documents import batched
from kb.catalog.engine import now
from kb.catalog.tables import judgements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class Judgement:
    """What somebody has said of one document and one query.

    Attributes:
        query: The search text.
        key: The document's id; the document may be deleted by now.
        relevant: Whether it answers the query.
        at: When, in UTC, ISO 8601.
        who: Who said so.
    """

    query: str
    key: str
    relevant: bool
    at: str
    who: str


def save_judgements(
    connection: Connection, collection_id: int, query: str, keys: Sequence[str], *, relevant: bool, who: str
) -> None:
    """Store one judgement of several documents, in place of those before."""
    at = now()
    statement = insert(judgements)
    excluded = statement.excluded
    for some in batched(keys):
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["collection_id", "query", "key"],
                set_={"relevant": excluded.relevant, "at": excluded.at, "who": excluded.who},
            ),
            [
                {
                    "collection_id": collection_id,
                    "query": query,
                    "key": key,
                    "relevant": int(relevant),
                    "at": at,
                    "who": who,
                }
                for key in some
            ],
        )


def forget_judgements(connection: Connection, collection_id: int, query: str, keys: Sequence[str] | None) -> int:
    """Remove the judgements of some documents, or of all (None), for a query; return how many there were."""
    own = (judgements.c.collection_id == collection_id, judgements.c.query == query)
    if keys is None:
        return connection.execute(delete(judgements).where(*own)).rowcount
    return sum(
        connection.execute(delete(judgements).where(*own, judgements.c.key.in_(some))).rowcount
        for some in batched(keys)
    )


def list_judgements(connection: Connection, collection_id: int, query: str | None = None) -> list[Judgement]:
    """Return the judgements of a collection, or of one query, by query and id."""
    wanted = select(judgements).where(judgements.c.collection_id == collection_id)
    if query is not None:
        wanted = wanted.where(judgements.c.query == query)
    rows = connection.execute(wanted.order_by(judgements.c.query, judgements.c.key))
    return [Judgement(row.query, row.key, bool(row.relevant), row.at, row.who) for row in rows]
