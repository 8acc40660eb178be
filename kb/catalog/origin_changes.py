"""What jobs changed in the origins of documents, and setting it back; as the revisions are for the documents.

An import notes what it replaces or forgets, not what it merely sees again: that would be a row for every row of every
sync. An undo notes all that it changes, so that undoing it brings back what was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from sqlalchemy import and_, bindparam, delete, select, union
from sqlalchemy.dialects.sqlite import insert

from kb.catalog.bulk import wanted
from kb.catalog.documents import batched
from kb.catalog.tables import documents, origin_changes, origins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from kb.catalog.job_changes import JobChange
    from kb.catalog.jobs import Job

_COLUMNS: Final = "job_id, source, key, revision, fields_hash, origin_job_id, first_job_id, left_job_id"
_UNCHANGED_DOCUMENT: Final = (
    "NOT EXISTS (SELECT 1 FROM revisions AS r WHERE r.collection_id = :collection AND r.key = c.key AND r.job_id = :by)"
)


@dataclass(frozen=True, slots=True)
class _Origin:
    """A row of the table without its key."""

    revision: int
    fields_hash: bytes
    job_id: str
    first_job_id: str


@dataclass(frozen=True, slots=True)
class _Noted:
    """What an origin was before a job, and the job that it named after it; None where there was none."""

    before: _Origin | None
    left: str | None


def note_origins(
    connection: Connection, collection_id: int, source: str, keys: Sequence[str], *, job: str, left: str | None
) -> None:
    """Note what the origins of documents are, before a job changes them.

    Args:
        connection: In the transaction that changes them.
        collection_id: The collection.
        source: The source.
        keys: The documents; those without an origin are passed over.
        job: The job.
        left: The job that the origins will name after it; None when they will be gone.
    """
    for some in batched(keys):
        connection.exec_driver_sql(
            f"{wanted(some)} INSERT OR IGNORE INTO origin_changes ({_COLUMNS})"
            " SELECT ?, source, key, revision, fields_hash, job_id, first_job_id, ?"
            " FROM wanted CROSS JOIN origins ON collection_id = ? AND source = ? AND key = value",
            (*some, job, left, collection_id, source),
        )


def origins_sources(connection: Connection, collection_id: int, job: str) -> list[str]:
    """Return the names of the sources that documents of the collection come from, or came from before a job, sorted."""
    present = select(origins.c.source).where(origins.c.collection_id == collection_id)
    past = select(origin_changes.c.source).where(origin_changes.c.job_id == job)
    return sorted(connection.execute(union(present, past)).scalars())


def set_back_origins(
    connection: Connection,
    collection_id: int,
    undone: Sequence[JobChange],
    *,
    sources: Sequence[str],
    job: Job,
    by: str,
) -> None:
    """Set the origins of documents back right after a job's changes of them were undone.

    They become what they were before the job, each in step with its document where it was so then. What an import has
    brought since stays.

    Args:
        connection: In the transaction that undoes.
        collection_id: The collection.
        undone: Up to ``MAX_KEYS`` documents that were set back.
        sources: From ``origins_sources``.
        job: The job that is undone.
        by: The job that undoes it.
    """
    by_key = {change.key: change for change in undone}
    present = _present(connection, collection_id, sources, list(by_key))
    noted = _noted(connection, job.id, sources, list(by_key))
    now = _revisions(connection, collection_id, list(by_key))
    changed = {}
    for place in sorted({*present, *noted}):
        source, key = place
        is_own = source == job.source
        origin = _set_back(present.get(place), noted.get(place), by_key[key], now.get(key), is_own=is_own)
        if origin != present.get(place):
            changed[place] = origin
    _write(connection, collection_id, changed, present, by=by)


def set_back_other_origins(connection: Connection, collection_id: int, *, job: str, by: str) -> None:
    """Set back what a job changed in the origins of documents that undoing it does not change; after all others.

    What it alone has brought is forgotten; what it has merely seen names an earlier job again.
    """
    values = {"collection": collection_id, "job": job, "by": by}
    for statement in (
        # What it has noted, unless another job has been there since.
        f"""INSERT INTO origin_changes ({_COLUMNS})
            SELECT :by, c.source, c.key, o.revision, o.fields_hash, o.job_id, o.first_job_id, c.origin_job_id
            FROM origin_changes AS c LEFT JOIN origins AS o
            ON o.collection_id = :collection AND o.source = c.source AND o.key = c.key
            WHERE c.job_id = :job AND o.job_id IS c.left_job_id AND {_UNCHANGED_DOCUMENT}""",
        f"""DELETE FROM origins WHERE collection_id = :collection AND (source, key) IN (
            SELECT c.source, c.key FROM origin_changes AS c WHERE c.job_id = :by AND {_UNCHANGED_DOCUMENT})""",
        f"""INSERT INTO origins (collection_id, source, key, revision, fields_hash, job_id, first_job_id)
            SELECT :collection, c.source, c.key, c.revision, c.fields_hash, c.origin_job_id, c.first_job_id
            FROM origin_changes AS c JOIN origin_changes AS d
            ON d.job_id = :by AND d.source = c.source AND d.key = c.key
            WHERE c.job_id = :job AND c.origin_job_id IS NOT NULL AND {_UNCHANGED_DOCUMENT}""",
        # What it has seen or brought first.
        f"""INSERT INTO origin_changes ({_COLUMNS})
            SELECT :by, source, key, revision, fields_hash, job_id, first_job_id,
            CASE WHEN job_id != :job THEN job_id WHEN first_job_id != :job THEN first_job_id END
            FROM origins WHERE collection_id = :collection AND (job_id = :job OR first_job_id = :job)
            ON CONFLICT DO UPDATE SET left_job_id = excluded.left_job_id""",
        "DELETE FROM origins WHERE collection_id = :collection AND job_id = :job AND first_job_id = :job",
        "UPDATE origins SET job_id = first_job_id WHERE collection_id = :collection AND job_id = :job",
        "UPDATE origins SET first_job_id = job_id WHERE collection_id = :collection AND first_job_id = :job",
    ):
        connection.exec_driver_sql(statement, values)


def _set_back(
    present: _Origin | None, noted: _Noted | None, change: JobChange, now: int | None, *, is_own: bool
) -> _Origin | None:
    """Return what the origin of a document becomes whose change is undone; ``now`` is its revision, if it exists."""
    before = None if noted is None else noted.before
    if before is not None and now is not None and before.revision == change.first - 1:
        before = replace(before, revision=now)
    if noted is not None and noted.left == (None if present is None else present.job_id):
        return before
    if present is None:
        return None
    is_of_job = change.first <= present.revision <= change.last
    if is_own and is_of_job and before is not None:
        # A later import has seen it as the job left it: that stays known.
        return replace(present, revision=before.revision, fields_hash=before.fields_hash)
    if now is None:
        return None if present.revision >= change.first else present
    if present.revision == change.first - 1 or (is_own and is_of_job):
        return replace(present, revision=now)
    return present


def _present(
    connection: Connection, collection_id: int, sources: Sequence[str], keys: Sequence[str]
) -> dict[tuple[str, str], _Origin]:
    # By source and key, as the primary key is; by key alone, every call would read all origins.
    query = select(origins).where(
        origins.c.collection_id == collection_id, origins.c.source.in_(sources), origins.c.key.in_(keys)
    )
    return {
        (row.source, row.key): _Origin(row.revision, row.fields_hash, row.job_id, row.first_job_id)
        for row in connection.execute(query)
    }


def _noted(
    connection: Connection, job: str, sources: Sequence[str], keys: Sequence[str]
) -> dict[tuple[str, str], _Noted]:
    table = origin_changes.c
    query = select(origin_changes).where(table.job_id == job, table.source.in_(sources), table.key.in_(keys))
    noted = {}
    for row in connection.execute(query):
        before = None
        if row.origin_job_id is not None:
            before = _Origin(row.revision, row.fields_hash, row.origin_job_id, row.first_job_id)
        noted[row.source, row.key] = _Noted(before, row.left_job_id)
    return noted


def _revisions(connection: Connection, collection_id: int, keys: Sequence[str]) -> dict[str, int]:
    query = select(documents.c.key, documents.c.revision).where(
        documents.c.collection_id == collection_id, documents.c.key.in_(keys)
    )
    return {row.key: row.revision for row in connection.execute(query)}


def _write(
    connection: Connection,
    collection_id: int,
    changed: dict[tuple[str, str], _Origin | None],
    present: dict[tuple[str, str], _Origin],
    *,
    by: str,
) -> None:
    """Write origins, or take those off that are None, and note what they were."""
    notes, gone, kept = [], [], []
    for (source, key), origin in changed.items():
        was = present.get((source, key))
        notes.append(
            {
                "job_id": by,
                "source": source,
                "key": key,
                "revision": was and was.revision,
                "fields_hash": was and was.fields_hash,
                "origin_job_id": was and was.job_id,
                "first_job_id": was and was.first_job_id,
                "left_job_id": origin and origin.job_id,
            }
        )
        if origin is None:
            gone.append({"at_source": source, "at_key": key})
        else:
            kept.append(
                {
                    "collection_id": collection_id,
                    "source": source,
                    "key": key,
                    "revision": origin.revision,
                    "fields_hash": origin.fields_hash,
                    "job_id": origin.job_id,
                    "first_job_id": origin.first_job_id,
                }
            )
    if notes:
        connection.execute(insert(origin_changes), notes)
    if gone:
        here = and_(
            origins.c.collection_id == collection_id,
            origins.c.source == bindparam("at_source"),
            origins.c.key == bindparam("at_key"),
        )
        connection.execute(delete(origins).where(here), gone)
    if kept:
        connection.execute(insert(origins).prefix_with("OR REPLACE"), kept)
