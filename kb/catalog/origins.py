"""Where documents came from: by source, the documents that its imports have seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.sqlite import insert

from kb.catalog.bulk import wanted
from kb.catalog.documents import batched
from kb.catalog.tables import origins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Connection, Select


@dataclass(frozen=True, slots=True)
class Origin:
    """What a source knows of one document.

    Attributes:
        key: The document's id.
        revision: The document's revision after its last import from the source.
        fields_hash: What the source said at that import.
    """

    key: str
    revision: int
    fields_hash: bytes


def find_origins(connection: Connection, collection_id: int, source: str, keys: Sequence[str]) -> dict[str, Origin]:
    """Return what the source knows of those of the documents that it has brought, by id."""
    found: dict[str, Origin] = {}
    for some in batched(keys):
        sql = (
            f"{wanted(some)} SELECT key, revision, fields_hash"
            " FROM wanted CROSS JOIN origins ON collection_id = ? AND source = ? AND key = value"
        )
        rows = connection.exec_driver_sql(sql, (*some, collection_id, source))
        found.update({row.key: Origin(*row) for row in rows})
    return found


def save_origins(connection: Connection, collection_id: int, source: str, new: Sequence[Origin], *, job: str) -> None:
    """Record what the source has brought with a job."""
    if not new:
        return
    statement = insert(origins)
    excluded = statement.excluded
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["collection_id", "source", "key"],
            set_={"revision": excluded.revision, "fields_hash": excluded.fields_hash, "job_id": excluded.job_id},
        ),
        [
            {
                "collection_id": collection_id,
                "source": source,
                "key": one.key,
                "revision": one.revision,
                "fields_hash": one.fields_hash,
                "job_id": job,
                "first_job_id": job,
            }
            for one in new
        ],
    )


def count_origins(connection: Connection, collection_id: int, source: str, *, without: str) -> int:
    """Return how many documents the source had brought before a job."""
    query = select(func.count()).select_from(origins).where(*_own(collection_id, source))
    return int(connection.execute(query.where(origins.c.first_job_id != without)).scalar_one())


def shared_origins(connection: Connection, collection_id: int, source: str, keys: Sequence[str]) -> set[str]:
    """Return those of the documents that another source has brought as well."""
    shared: set[str] = set()
    for some in batched(keys):
        query = select(origins.c.key).where(
            origins.c.collection_id == collection_id, origins.c.source != source, origins.c.key.in_(some)
        )
        shared.update(connection.execute(query).scalars())
    return shared


def unseen_origins(connection: Connection, collection_id: int, source: str, *, job: str) -> list[Origin]:
    """Return what the source has brought before and not with the job, by id."""
    query = _query(collection_id, source).where(origins.c.job_id != job).order_by(origins.c.key)
    return [Origin(row.key, row.revision, row.fields_hash) for row in connection.execute(query)]


def forget_origins(connection: Connection, collection_id: int, source: str, keys: Sequence[str]) -> None:
    """Take documents off what a source has brought."""
    for some in batched(keys):
        connection.execute(delete(origins).where(*_own(collection_id, source), origins.c.key.in_(some)))


def _own(collection_id: int, source: str) -> tuple[ColumnElement[bool], ...]:
    return origins.c.collection_id == collection_id, origins.c.source == source


def _query(collection_id: int, source: str) -> Select[Any]:
    return select(origins.c.key, origins.c.revision, origins.c.fields_hash).where(*_own(collection_id, source))
