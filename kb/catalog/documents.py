"""Documents, their chunks and their revisions in the catalog. Only ``kb.write`` calls what changes them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import bindparam, delete, func, literal_column, select, update

from kb.catalog.bulk import insert_many, wanted
from kb.catalog.tables import chunks, documents, revisions
from kb.catalog.trusted import check_content

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import ColumnElement, Connection, Row, Select

_COLUMNS: Final = tuple(column.name for column in documents.c)
_MAX_PARAMETERS: Final = 900  # below SQLite's oldest limit of 999 bound values in a statement


@dataclass(frozen=True, slots=True)
class StoredState:
    """What the write path needs to know of a stored document to decide what a new version changes."""

    seq: int
    revision: int
    fields_hash: bytes
    text_hash: bytes
    chunks: int


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """One document as the catalog holds it; ``fields`` is JSON, to be loaded by the schema."""

    seq: int
    key: str
    fields: str
    text: str
    revision: int
    updated: str


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """One chunk: a slice ``[start, end)`` of its document's text, in characters, and the number of its vector."""

    document_seq: int
    ordinal: int
    start: int
    end: int
    vector_id: int


class Sort(NamedTuple):
    """An order of documents: by a declared field, ``id`` (None) or ``updated``; ties by id, missing values last."""

    name: str | None
    is_field: bool
    descending: bool


@dataclass(frozen=True, slots=True)
class Revision:
    """One recorded change of one document.

    Attributes:
        key: The document's id.
        document_seq: Its row number at the time.
        number: Counts the document's changes from 1; goes on after a deletion and a restoration.
        action: ``add``, ``update``, ``fields_only``, ``delete`` or ``restore``.
        at: When, in UTC.
        who: The user that made it.
        job: The job that made it, or None.
        before: The stored fields that it replaced, as JSON; None for ``add`` and ``restore``.
    """

    key: str
    document_seq: int
    number: int
    action: str
    at: str
    who: str
    job: str | None
    before: str | None


def batched(items: Sequence[str], size: int = _MAX_PARAMETERS) -> Iterator[Sequence[str]]:
    """Yield slices that fit into one statement as bound values."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def stored_states(connection: Connection, collection_id: int, keys: Sequence[str]) -> dict[str, StoredState]:
    """Return the state of those of the documents that exist, by id."""
    states: dict[str, StoredState] = {}
    for some in batched(keys):
        sql = (
            f"{wanted(some)} SELECT key, seq, revision, fields_hash, text_hash,"
            " (SELECT count(*) FROM chunks WHERE document_seq = seq)"
            " FROM wanted CROSS JOIN documents ON collection_id = ? AND key = value"
        )
        for key, *state in connection.exec_driver_sql(sql, (*some, collection_id)):
            states[key] = StoredState(*state)
    return states


def last_revisions(connection: Connection, collection_id: int, keys: Sequence[str]) -> dict[str, int]:
    """Return the number of the newest revision of each id that ever existed."""
    numbers: dict[str, int] = {}
    for some in batched(keys):
        last = "SELECT max(revision) FROM revisions WHERE collection_id = ? AND key = value"
        found = connection.exec_driver_sql(f"{wanted(some)} SELECT value, ({last}) FROM wanted", (*some, collection_id))
        numbers.update({key: number for key, number in found if number is not None})
    return numbers


def get_documents(connection: Connection, collection_id: int, keys: Sequence[str]) -> dict[str, StoredDocument]:
    """Return those of the documents that exist, by id."""
    found: dict[str, StoredDocument] = {}
    for some in batched(keys):
        sql = (
            f"{wanted(some)} SELECT seq, key, fields, text, revision, updated, fields_hash, text_hash"
            " FROM wanted CROSS JOIN documents ON collection_id = ? AND key = value"
        )
        for row in connection.exec_driver_sql(sql, (*some, collection_id)):
            found[row.key] = _checked(row)
    return found


def get_documents_by_seq(connection: Connection, seqs: Sequence[int]) -> dict[int, StoredDocument]:
    """Return documents by their row number."""
    found: dict[int, StoredDocument] = {}
    for start in range(0, len(seqs), _MAX_PARAMETERS):
        query = _query(None).where(documents.c.seq.in_(seqs[start : start + _MAX_PARAMETERS]))
        for row in connection.execute(query):
            found[row.seq] = _checked(row)
    return found


def select_documents(
    connection: Connection,
    collection_id: int,
    condition: ColumnElement[bool] | None,
    *,
    sort: Sort,
    limit: int | None = None,
    offset: int = 0,
) -> list[StoredDocument]:
    """Return the documents that satisfy the condition.

    Args:
        connection: In a read or write transaction.
        collection_id: The collection.
        condition: From ``filter_sql.to_sql``; None for all.
        sort: In what order.
        limit: The most documents; None for all.
        offset: How many of the sorted documents to skip.
    """
    query = _query(collection_id)
    if condition is not None:
        query = query.where(condition)
    column: ColumnElement[Any] = documents.c.key
    if sort.is_field:
        column = literal_column(f"json_extract(documents.fields, '$.{sort.name}')")
    elif sort.name == "updated":
        column = documents.c.updated
    query = query.order_by(column.is_(None), column.desc() if sort.descending else column, documents.c.key)
    return [_checked(row) for row in connection.execute(query.limit(limit).offset(offset or None))]


def page_documents(connection: Connection, collection_id: int, *, after: int, limit: int) -> list[StoredDocument]:
    """Return the next documents by row number, for walking through a whole collection; not compared with anything."""
    query = _query(collection_id).where(documents.c.seq > after).order_by(documents.c.seq).limit(limit)
    return [_document(row) for row in connection.execute(query)]


def count_documents(connection: Connection, collection_id: int, condition: ColumnElement[bool] | None = None) -> int:
    """Return how many documents satisfy the condition."""
    query = select(func.count()).select_from(documents).where(_of(collection_id))
    if condition is not None:
        query = query.where(condition)
    return int(connection.execute(query).scalar_one())


def select_keys(
    connection: Connection, collection_id: int, condition: ColumnElement[bool] | None, *, limit: int | None = None
) -> list[str]:
    """Return the ids of the documents that satisfy the condition, sorted; at most ``limit``."""
    query = select(documents.c.key).where(_of(collection_id)).order_by(documents.c.key).limit(limit)
    return list(connection.execute(query if condition is None else query.where(condition)).scalars())


def get_chunks(connection: Connection, seqs: Sequence[int]) -> dict[int, list[StoredChunk]]:
    """Return the chunks of documents by row number, in the order of the text."""
    found: dict[int, list[StoredChunk]] = {seq: [] for seq in seqs}
    for start in range(0, len(seqs), _MAX_PARAMETERS):
        query = (
            select(chunks)
            .where(chunks.c.document_seq.in_(seqs[start : start + _MAX_PARAMETERS]))
            .order_by(chunks.c.document_seq, chunks.c.ordinal)
        )
        for row in connection.execute(query):
            found[row.document_seq].append(StoredChunk(*row))
    return found


def first_chunks(connection: Connection, vector_ids: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Return, by vector, the document row and chunk number of the first chunk that has it."""
    found: dict[int, tuple[int, int]] = {}
    # One index entry is read per vector: grouping would read every copy of a text that stands in many documents.
    statement = (
        "SELECT value, (SELECT document_seq || ' ' || ordinal FROM chunks WHERE vector_id = value"
        " ORDER BY vector_id, document_seq, ordinal LIMIT 1) FROM json_each(?)"
    )
    for number, place in connection.exec_driver_sql(statement, (json.dumps([int(v) for v in vector_ids]),)):
        seq, ordinal = place.split()
        found[number] = (int(seq), int(ordinal))
    return found


def text_bytes(connection: Connection, collection_id: int) -> int:
    """Return how long the texts of all documents are together, about, in bytes."""
    query = select(func.sum(func.length(documents.c.text))).where(documents.c.collection_id == collection_id)
    return int(connection.execute(query).scalar_one() or 0)


def count_chunks(connection: Connection, collection_id: int) -> int:
    """Return how many chunks the collection's documents have."""
    query = select(func.count()).select_from(chunks.join(documents)).where(_of(collection_id))
    return int(connection.execute(query).scalar_one())


def last_update(connection: Connection, collection_id: int) -> str | None:
    """Return when a document of the collection was last changed or deleted, or None."""
    query = select(revisions.c.at).where(revisions.c.collection_id == collection_id)
    row = connection.execute(query.order_by(revisions.c.id.desc()).limit(1)).first()
    return None if row is None else str(row[0])


def get_revisions(connection: Connection, collection_id: int, key: str) -> list[Revision]:
    """Return a document's revisions, oldest first; also those of a deleted one."""
    query = (
        select(revisions)
        .where(revisions.c.collection_id == collection_id, revisions.c.key == key)
        .order_by(revisions.c.revision)
    )
    return [_revision(row) for row in connection.execute(query)]


def get_deleted(connection: Connection, collection_id: int) -> list[Revision]:
    """Return the deletions of the documents that are deleted now, newest first."""
    live = select(documents.c.seq).where(documents.c.collection_id == collection_id, documents.c.key == revisions.c.key)
    later = revisions.alias()
    newer = select(later.c.id).where(
        later.c.collection_id == collection_id, later.c.key == revisions.c.key, later.c.revision > revisions.c.revision
    )
    query = (
        select(revisions)
        .where(revisions.c.collection_id == collection_id, revisions.c.action == "delete")
        .where(~live.exists(), ~newer.exists())
        .order_by(revisions.c.id.desc())
    )
    return [_revision(row) for row in connection.execute(query)]


def insert_documents(connection: Connection, rows: Sequence[dict[str, object]]) -> None:
    """Insert documents; the rows carry every column."""
    insert_many(connection, documents, _COLUMNS, [tuple(row[name] for name in _COLUMNS) for row in rows])


def update_documents(connection: Connection, rows: Sequence[dict[str, object]]) -> None:
    """Update documents by ``seq``; the rows carry every column but the collection and the key."""
    if not rows:
        return
    names = ("fields", "text", "fields_hash", "text_hash", "revision", "change", "updated")
    statement = (
        update(documents)
        .where(documents.c.seq == bindparam("at_seq"))
        .values({name: bindparam(f"new_{name}") for name in names})
    )
    connection.execute(
        statement, [{"at_seq": row["seq"], **{f"new_{name}": row[name] for name in names}} for row in rows]
    )


def delete_documents(connection: Connection, seqs: Iterable[int]) -> None:
    """Delete documents with their chunks."""
    connection.execute(
        delete(documents).where(documents.c.seq == bindparam("at_seq")), [{"at_seq": seq} for seq in seqs]
    )


def replace_chunks(connection: Connection, stale: Sequence[int], fresh: Sequence[StoredChunk]) -> None:
    """Delete all chunks of the documents ``stale`` and insert ``fresh``."""
    if stale:
        connection.execute(
            delete(chunks).where(chunks.c.document_seq == bindparam("at_seq")), [{"at_seq": seq} for seq in stale]
        )
    rows = [(c.document_seq, c.ordinal, c.start, c.end, c.vector_id) for c in fresh]
    insert_many(connection, chunks, ("document_seq", "ordinal", "start", "end", "vector_id"), rows)


def insert_revisions(connection: Connection, collection_id: int, change: int, new: Sequence[Revision]) -> None:
    """Record revisions that one write made."""
    columns = ("collection_id", "key", "document_seq", "revision", "action", "change", "at", "who", "job_id", "before")
    rows = [
        (collection_id, r.key, r.document_seq, r.number, r.action, change, r.at, r.who, r.job, r.before) for r in new
    ]
    insert_many(connection, revisions, columns, rows)


def next_seq(connection: Connection) -> int:
    """Return the first free row number; numbers of deleted documents are never used again."""
    row = connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'documents'").first()
    return 1 if row is None else int(row[0]) + 1


def touched_since(connection: Connection, collection_id: int, change: int) -> list[int]:
    """Return the row numbers of documents that were added, replaced or deleted after the given change."""
    written = select(documents.c.seq).where(documents.c.collection_id == collection_id, documents.c.change > change)
    removed = select(revisions.c.document_seq).where(
        revisions.c.collection_id == collection_id, revisions.c.action == "delete", revisions.c.change > change
    )
    return [*connection.execute(written).scalars(), *connection.execute(removed).scalars()]


def _of(collection_id: int) -> ColumnElement[bool]:
    # Written out, not bound: SQLite proves only from a literal that an index of this collection applies.
    return literal_column(f"documents.collection_id = {int(collection_id)}")


def _query(collection_id: int | None) -> Select[Any]:
    query = select(
        documents.c.seq,
        documents.c.key,
        documents.c.fields,
        documents.c.text,
        documents.c.revision,
        documents.c.updated,
        documents.c.fields_hash,
        documents.c.text_hash,
    )
    return query if collection_id is None else query.where(_of(collection_id))


def _revision(row: Row[Any]) -> Revision:
    return Revision(row.key, row.document_seq, row.revision, row.action, row.at, row.who, row.job_id, row.before)


def _checked(row: Row[Any]) -> StoredDocument:
    check_content(row.key, row.fields, row.text, row.fields_hash, row.text_hash)
    return _document(row)


def _document(row: Row[Any]) -> StoredDocument:
    return StoredDocument(row.seq, row.key, row.fields, row.text, row.revision, row.updated)
