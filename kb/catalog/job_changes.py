"""What a job changed in the documents: what undoing it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import and_, func, select

from kb.catalog.tables import documents, revisions

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
    """

    key: str
    first: int
    last: int
    before: str | None
    after: str | None
    now: str | None
    interleaved: bool


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
    first, later = revisions.alias(), revisions.alias()
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
        )
        .join(first, _is(first, collection_id, own.c.key, own.c.first))
        .outerjoin(later, _is(later, collection_id, own.c.key, own.c.last + 1))
        .outerjoin(documents, and_(documents.c.collection_id == collection_id, documents.c.key == own.c.key))
    )
    found = {}
    for row in connection.execute(query):
        after = row.now if row.later is None else row.after
        found[row.key] = JobChange(row.key, row.first, row.last, row.before, after, row.now, bool(row.interleaved))
    return [found[key] for key in keys]


def _is(
    alias: FromClause, collection_id: int, key: ColumnElement[str], revision: ColumnElement[int]
) -> ColumnElement[bool]:
    return and_(alias.c.collection_id == collection_id, alias.c.key == key, alias.c.revision == revision)
