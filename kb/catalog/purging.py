"""Taking deleted documents out of the catalog for good: their revisions, and whatever else tells of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, insert, select

from kb.catalog.bulk import wanted
from kb.catalog.collections import next_change
from kb.catalog.documents import batched
from kb.catalog.tables import (
    catalog_info,
    collections,
    jobs,
    judgements,
    origin_changes,
    origins,
    revisions,
    samples,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

_NOTE: Final = "unfinished purge"


@dataclass(frozen=True, slots=True)
class UnfinishedPurge:
    """A purge that has left the catalog's tables, but perhaps not yet every file.

    Attributes:
        since: When it began, in UTC, ISO 8601.
        files: Files that it is to delete, relative to the storage.
    """

    since: str
    files: tuple[str, ...]


def versions_of(connection: Connection, collection_id: int, keys: Sequence[str]) -> dict[str, list[str]]:
    """Return, by id, the stored fields of every former version that the revisions keep."""
    found: dict[str, list[str]] = {key: [] for key in keys}
    for some in batched(keys):
        sql = (
            f"{wanted(some)} SELECT key, before FROM wanted CROSS JOIN revisions ON collection_id = ? AND key = value"
            " WHERE before IS NOT NULL ORDER BY revision"
        )
        for key, before in connection.exec_driver_sql(sql, (*some, collection_id)):
            found[key].append(before)
    return found


def texts_in_use(connection: Connection, hashes: Sequence[bytes]) -> set[bytes]:
    """Return those of the hashes that are of a present document's text, in whichever collection."""
    query = "SELECT text_hash FROM documents"  # no index: a purge is rare, and this is one pass
    sought = set(hashes)
    return {row[0] for row in connection.exec_driver_sql(query) if row[0] in sought} if sought else set()


def purge_documents(connection: Connection, collection_id: int, keys: Sequence[str]) -> None:
    """Delete what the tables know of deleted documents. Their vectors are ``delete_unused_vectors``' task.

    Caches that have not seen the deletions yet learn from ``last_purge`` that they cannot catch up. The queue keeps
    what it has of them, until the indexes have taken it over.
    """
    own_jobs = select(jobs.c.id).where(jobs.c.collection_id == collection_id)
    for some in batched(keys, 400):
        for table in (revisions, judgements, origins):
            of_them = (table.c.collection_id == collection_id, table.c.key.in_(some))
            connection.execute(delete(table).where(*of_them))
        noted = (origin_changes.c.key.in_(some), origin_changes.c.job_id.in_(own_jobs))
        connection.execute(delete(origin_changes).where(*noted))
    name = _purged(collection_id)
    connection.execute(delete(catalog_info).where(catalog_info.c.name == name))
    connection.execute(insert(catalog_info).values(name=name, value=str(next_change(connection, collection_id))))


def forget_samples(connection: Connection) -> None:
    """Delete the sample of every collection: it holds vectors of documents that may be gone."""
    connection.execute(delete(samples))


def last_purge(connection: Connection, collection_id: int) -> int:
    """Return the number of the write that purged documents of the collection last; 0 for none."""
    query = select(catalog_info.c.value).where(catalog_info.c.name == _purged(collection_id))
    return int(connection.execute(query).scalar() or 0)


def count_change_everywhere(connection: Connection) -> None:
    """Count one more write to every collection, so that whoever is deciding on what is there decides again."""
    connection.execute(collections.update().values(change=collections.c.change + 1))


def note_purge(connection: Connection, note: UnfinishedPurge) -> None:
    """Note that a purge has begun; together with an earlier one that has not ended."""
    earlier = unfinished_purge(connection)
    files = sorted({*note.files, *(earlier.files if earlier else ())})
    forget_purge(connection)
    value = json.dumps({"since": earlier.since if earlier else note.since, "files": files})
    connection.execute(insert(catalog_info).values(name=_NOTE, value=value))


def unfinished_purge(connection: Connection) -> UnfinishedPurge | None:
    """Return the purge that has begun and not ended, or None."""
    value = connection.execute(select(catalog_info.c.value).where(catalog_info.c.name == _NOTE)).scalar()
    if value is None:
        return None
    noted = json.loads(value)
    return UnfinishedPurge(noted["since"], tuple(noted["files"]))


def forget_purge(connection: Connection) -> None:
    """Note that the purge has ended."""
    connection.execute(delete(catalog_info).where(catalog_info.c.name == _NOTE))


def _purged(collection_id: int) -> str:
    return f"purged {collection_id}"
