"""The index queue: which documents each index still has to take over from the catalog."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, func, select

from kb.catalog.bulk import insert_many
from kb.catalog.tables import index_queue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

VECTORS: Final = "vectors"
"""The target that feeds Chroma; a further index is a further target with rows of its own."""

TARGETS: Final = (VECTORS,)


@dataclass(frozen=True, slots=True)
class QueuedDocument:
    """A document whose index records are out of date.

    Attributes:
        key: The document's id; it may have been deleted.
        chunks_before: The most records that the index may hold of it.
    """

    key: str
    chunks_before: int


@dataclass(frozen=True, slots=True)
class QueuePart:
    """The oldest part of a queue; ``last_id`` is what ``forget`` takes once the index has it."""

    documents: tuple[QueuedDocument, ...]
    last_id: int


def enqueue(connection: Connection, collection_id: int, items: Sequence[QueuedDocument]) -> None:
    """Note for every index that the documents have changed; part of the transaction that changes them."""
    rows = [(target, collection_id, item.key, item.chunks_before) for target in TARGETS for item in items]
    insert_many(connection, index_queue, ("target", "collection_id", "key", "chunks_before"), rows)


def enqueue_all(connection: Connection, collection_id: int) -> None:
    """Note that every document of the collection is missing from its indexes, in place of what was noted before."""
    connection.execute(delete(index_queue).where(index_queue.c.collection_id == collection_id))
    for target in TARGETS:
        connection.exec_driver_sql(
            "INSERT INTO index_queue (target, collection_id, key, chunks_before)"
            " SELECT ?, collection_id, key, 0 FROM documents WHERE collection_id = ? ORDER BY seq",
            (target, collection_id),
        )


def oldest(connection: Connection, collection_id: int, target: str, limit: int) -> QueuePart | None:
    """Return up to ``limit`` oldest entries, each document once, or None when the index is up to date."""
    # Plain SQL through the driver: every search asks this first, and the answer is nearly always nothing.
    rows = connection.exec_driver_sql(
        "SELECT id, key, chunks_before FROM index_queue WHERE collection_id = ? AND target = ? ORDER BY id LIMIT ?",
        (collection_id, target, limit),
    ).all()
    if not rows:
        return None
    before: dict[str, int] = {}
    for _, key, chunks_before in rows:
        before[key] = max(before.get(key, 0), chunks_before)
    return QueuePart(tuple(QueuedDocument(key, n) for key, n in before.items()), rows[-1][0])


def forget(connection: Connection, collection_id: int, target: str, last_id: int) -> None:
    """Remove the entries that the index has taken over."""
    connection.execute(
        delete(index_queue).where(
            index_queue.c.collection_id == collection_id, index_queue.c.target == target, index_queue.c.id <= last_id
        )
    )


def pending(connection: Connection, collection_id: int, target: str) -> int:
    """Return how many entries the index has not taken over."""
    query = (
        select(func.count())
        .select_from(index_queue)
        .where(index_queue.c.collection_id == collection_id, index_queue.c.target == target)
    )
    return int(connection.execute(query).scalar_one())
