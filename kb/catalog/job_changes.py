"""What a job changed in the documents, and where documents came from: what undoing a job reads and sets right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import and_, bindparam, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from kb.catalog.tables import documents, origins, revisions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Connection, FromClause

MAX_KEYS: Final = 200
"""How many documents, each of 1 MB at the most and in three versions, one call takes."""


@dataclass(frozen=True, slots=True)
class JobChange:
    """One document that a job touched. Stored fields are JSON; None where the document did not exist.

    Attributes:
        key: The document's id.
        first: The first revision that the job made of it.
        last: The last one.
        before: Its stored fields before that.
        after: Its stored fields after the job's last revision of it.
        now: Its stored fields at present.
        interleaved: Whether something else changed it between two revisions of the job.
        was_edited: Whether the revision before ``first`` was made by hand, not by a job.
    """

    key: str
    first: int
    last: int
    before: str | None
    after: str | None
    now: str | None
    interleaved: bool
    was_edited: bool


def keys_of_job(connection: Connection, collection_id: int, job_id: str) -> list[str]:
    """Return the ids of the documents that the job touched, in the order in which it did."""
    query = (
        select(revisions.c.key)
        .where(revisions.c.collection_id == collection_id, revisions.c.job_id == job_id)
        .group_by(revisions.c.key)
        .order_by(func.min(revisions.c.id))
    )
    return list(connection.execute(query).scalars())


def changes_of_job(connection: Connection, collection_id: int, job_id: str, keys: Sequence[str]) -> list[JobChange]:
    """Return what the job changed in up to ``MAX_KEYS`` of its documents, in the order of ``keys``."""
    own = (
        select(
            revisions.c.key,
            func.min(revisions.c.revision).label("first"),
            func.max(revisions.c.revision).label("last"),
            func.count().label("number"),
        )
        .where(revisions.c.collection_id == collection_id, revisions.c.key.in_(keys), revisions.c.job_id == job_id)
        .group_by(revisions.c.key)
        .subquery()
    )
    first, later, earlier = revisions.alias(), revisions.alias(), revisions.alias()
    query = (
        select(
            own.c.key,
            own.c.first,
            own.c.last,
            (own.c.last - own.c.first + 1 > own.c.number).label("interleaved"),
            first.c.before,
            later.c.id.label("later"),
            later.c.before.label("after"),
            documents.c.fields.label("now"),
            and_(earlier.c.id.is_not(None), earlier.c.job_id.is_(None)).label("was_edited"),
        )
        .join(first, _is(first, collection_id, own.c.key, own.c.first))
        .outerjoin(later, _is(later, collection_id, own.c.key, own.c.last + 1))
        .outerjoin(earlier, _is(earlier, collection_id, own.c.key, own.c.first - 1))
        .outerjoin(documents, and_(documents.c.collection_id == collection_id, documents.c.key == own.c.key))
    )
    found = {}
    for row in connection.execute(query):
        after = row.now if row.later is None else row.after
        found[row.key] = JobChange(
            row.key, row.first, row.last, row.before, after, row.now, bool(row.interleaved), bool(row.was_edited)
        )
    return [found[key] for key in keys]


def sources_of(connection: Connection, collection_id: int) -> list[str]:
    """Return the names of the sources that documents of the collection came from, sorted."""
    query = select(origins.c.source).where(origins.c.collection_id == collection_id).distinct()
    return list(connection.execute(query.order_by(origins.c.source)).scalars())


def follow_origins(
    connection: Connection,
    collection_id: int,
    undone: Sequence[JobChange],
    *,
    sources: Sequence[str],
    job_id: str,
    source: str | None,
    by: str,
) -> None:
    """Set the origins of documents right after a job's changes of them were undone.

    A document that is gone has come from nowhere. One that stands as a source had given it is in step with that
    source again, unless it had been edited by hand in between: then it is as much of a conflict as before the job.

    Args:
        connection: In the transaction that undoes.
        collection_id: The collection.
        undone: Up to ``MAX_KEYS`` documents that were set back.
        sources: From ``sources_of``.
        job_id: The job that is undone.
        source: The source that it imported, or None.
        by: The job that undoes it.
    """
    by_key = {change.key: change for change in undone}
    now = _states(connection, collection_id, list(by_key))
    # By source and key, as the primary key is; by key alone, every call would read all origins.
    query = select(origins).where(
        origins.c.collection_id == collection_id, origins.c.source.in_(sources), origins.c.key.in_(list(by_key))
    )
    stale, moved = [], []
    for row in connection.execute(query):
        change = by_key[row.key]
        place = {"at_source": row.source, "at_key": row.key}
        if change.before is None:
            stale.append(place)
        elif row.revision == change.first - 1:
            moved.append(place | {"to": now[row.key][0], "hash": now[row.key][1]})
        elif row.source == source and (row.job_id == job_id or change.first <= row.revision <= change.last):
            # Of an edited one the source has said nothing that the document still is.
            to, said = (change.first - 1, b"") if change.was_edited else now[row.key]
            moved.append(place | {"to": to, "hash": said})
    here = and_(
        origins.c.collection_id == collection_id,
        origins.c.source == bindparam("at_source"),
        origins.c.key == bindparam("at_key"),
    )
    if stale:
        connection.execute(delete(origins).where(here), stale)
    if moved:
        values = {"revision": bindparam("to"), "fields_hash": bindparam("hash"), "job_id": by}
        connection.execute(update(origins).where(here).values(values), moved)
    back = [change.key for change in undone if change.before is not None and change.after is None]
    if source is not None and back:
        connection.execute(
            insert(origins)
            .values(collection_id=collection_id, source=source, job_id=by, first_job_id=by)
            .on_conflict_do_nothing(),
            [{"key": key, "revision": now[key][0], "fields_hash": now[key][1]} for key in back],
        )


def _states(connection: Connection, collection_id: int, keys: Sequence[str]) -> dict[str, tuple[int, bytes]]:
    """Return the revision and the hash of the fields of those of the documents that exist."""
    query = select(documents.c.key, documents.c.revision, documents.c.fields_hash).where(
        documents.c.collection_id == collection_id, documents.c.key.in_(keys)
    )
    return {row.key: (row.revision, row.fields_hash) for row in connection.execute(query)}


def _is(
    alias: FromClause, collection_id: int, key: ColumnElement[str], revision: ColumnElement[int]
) -> ColumnElement[bool]:
    return and_(alias.c.collection_id == collection_id, alias.c.key == key, alias.c.revision == revision)
