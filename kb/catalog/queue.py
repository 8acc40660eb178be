"""The index queue: which documents each index still has to take over from the catalog, and which it has refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, exists, func, select

from kb.catalog.bulk import insert_many
from kb.catalog.tables import index_queue, revisions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Connection

VECTORS: Final = "vectors"
"""The target that feeds Chroma; a further index is a further target with rows of its own."""

WORDS: Final = "words"
"""The target that feeds Tantivy."""

TARGETS: Final = (VECTORS, WORDS)


def target_of(generation_id: int) -> str:
    """Return the target that feeds a generation which does not serve."""
    return f"generation:{generation_id}"


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


@dataclass(frozen=True, slots=True)
class Refusal:
    """A document that an index could not take, and why; it stays refused until it is written again."""

    key: str
    reason: str


def enqueue(connection: Connection, collection_id: int, items: Sequence[QueuedDocument]) -> None:
    """Note for every index, and every generation, that the documents change; part of the transaction that does it.

    Documents that are deleted are noted before they are: what an index holds of them is counted here.
    """
    rows = [(target, collection_id, item.key, item.chunks_before) for target in TARGETS for item in items]
    insert_many(connection, index_queue, ("target", "collection_id", "key", "chunks_before"), rows)
    others = connection.exec_driver_sql(
        "SELECT id FROM generations WHERE collection_id = ? AND state <> 'active'", (collection_id,)
    ).all()
    for (number,) in others:
        _enqueue_other(connection, collection_id, number, items)


def _enqueue_other(
    connection: Connection, collection_id: int, generation: int, items: Sequence[QueuedDocument]
) -> None:
    """Note a change for a generation that does not serve: its documents may be cut otherwise."""
    rows = [(target_of(generation), collection_id, generation, collection_id, item.key, item.key) for item in items]
    connection.exec_driver_sql(
        "INSERT INTO index_queue (target, collection_id, chunks_before, key) SELECT ?, ?,"
        " (SELECT count(*) FROM other_chunks WHERE generation_id = ? AND document_seq ="
        " (SELECT seq FROM documents WHERE collection_id = ? AND key = ?)), ?",
        rows,
    )


def enqueue_all(connection: Connection, collection_id: int, target: str, *, chunks_before: int = 0) -> None:
    """Note that an index lacks every document of the collection, in place of what was noted before.

    Args:
        connection: In a write transaction.
        collection_id: The collection.
        target: The index.
        chunks_before: How many records of each it may hold; 0 for an empty one.
    """
    table = index_queue.c
    connection.execute(delete(index_queue).where(table.collection_id == collection_id, table.target == target))
    connection.exec_driver_sql(
        "INSERT INTO index_queue (target, collection_id, key, chunks_before)"
        " SELECT ?, collection_id, key, ? FROM documents WHERE collection_id = ? ORDER BY seq",
        (target, chunks_before, collection_id),
    )


def oldest(connection: Connection, collection_id: int, target: str, limit: int) -> QueuePart | None:
    """Return up to ``limit`` oldest entries, each document once, or None when the index is up to date."""
    # Plain SQL through the driver: every search asks this first, and the answer is nearly always nothing.
    rows = connection.exec_driver_sql(
        "SELECT id, key, chunks_before FROM index_queue"
        " WHERE collection_id = ? AND target = ? AND refusal IS NULL ORDER BY id LIMIT ?",
        (collection_id, target, limit),
    ).all()
    if not rows:
        return None
    before: dict[str, int] = {}
    for _, key, chunks_before in rows:
        before[key] = max(before.get(key, 0), chunks_before)
    return QueuePart(tuple(QueuedDocument(key, n) for key, n in before.items()), rows[-1][0])


def forget(connection: Connection, collection_id: int, target: str, part: QueuePart) -> None:
    """Remove the entries that the index has taken over, and earlier refusals of those documents."""
    connection.execute(delete(index_queue).where(*_waiting(collection_id, target), index_queue.c.id <= part.last_id))
    refused = {refusal.key for refusal in refusals(connection, collection_id, target)}
    for document in part.documents:
        if document.key in refused:
            condition = (*_refused(collection_id, target), index_queue.c.key == document.key)
            connection.execute(delete(index_queue).where(*condition))


def refuse(connection: Connection, collection_id: int, target: str, refused: Sequence[Refusal]) -> None:
    """Note documents that the index could not take; ``oldest`` does not return them again."""
    rows = [(target, collection_id, one.key, 0, one.reason) for one in refused]
    insert_many(connection, index_queue, ("target", "collection_id", "key", "chunks_before", "refusal"), rows)


def refusals(connection: Connection, collection_id: int, target: str) -> list[Refusal]:
    """Return the documents that the index could not take, by id."""
    query = select(index_queue.c.key, index_queue.c.refusal).where(*_refused(collection_id, target))
    return [Refusal(key, reason) for key, reason in connection.execute(query.order_by(index_queue.c.key))]


def refused_by_job(connection: Connection, collection_id: int, target: str, job_id: str) -> list[Refusal]:
    """Return those of the refused documents that a job has written, by id."""
    written = exists().where(
        revisions.c.collection_id == collection_id, revisions.c.key == index_queue.c.key, revisions.c.job_id == job_id
    )
    query = select(index_queue.c.key, index_queue.c.refusal).where(*_refused(collection_id, target), written)
    return [Refusal(key, reason) for key, reason in connection.execute(query.order_by(index_queue.c.key))]


def queued_keys(connection: Connection, collection_id: int, target: str) -> set[str]:
    """Return the documents of which nobody can say what an index holds: those that wait, and those it refused."""
    query = select(index_queue.c.key).where(
        index_queue.c.collection_id == collection_id, index_queue.c.target == target
    )
    return set(connection.execute(query.distinct()).scalars())


def pending(connection: Connection, collection_id: int, target: str) -> int:
    """Return how many entries the index has not taken over; what it refused is not among them."""
    query = select(func.count()).select_from(index_queue).where(*_waiting(collection_id, target))
    return int(connection.execute(query).scalar_one())


def _waiting(collection_id: int, target: str) -> tuple[ColumnElement[bool], ...]:
    table = index_queue.c
    return table.collection_id == collection_id, table.target == target, table.refusal.is_(None)


def _refused(collection_id: int, target: str) -> tuple[ColumnElement[bool], ...]:
    table = index_queue.c
    return table.collection_id == collection_id, table.target == target, table.refusal.is_not(None)
