"""Removing a whole collection from the catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select, text

from kb.catalog.collections import field_indexes
from kb.catalog.tables import catalog_info, collections, documents, generations, jobs

if TYPE_CHECKING:
    from sqlalchemy import Connection


def generation_names(connection: Connection, collection_id: int | None = None) -> list[str]:
    """Return the names of the Chroma collections that belong to a collection, or to any (None)."""
    query = select(generations.c.name).order_by(generations.c.id)
    if collection_id is not None:
        query = query.where(generations.c.collection_id == collection_id)
    return list(connection.execute(query).scalars())


def reject_files(connection: Connection, collection_id: int) -> list[str]:
    """Return the paths of the reject files of a collection's jobs."""
    query = select(jobs.c.rejects_path).where(jobs.c.collection_id == collection_id, jobs.c.rejects_path.is_not(None))
    return [str(path) for path in connection.execute(query).scalars()]


def delete_collection(connection: Connection, collection_id: int) -> None:
    """Delete a collection with everything that belongs to it: documents, revisions, jobs, judgements, its queue.

    Vectors stay as long as nobody has asked for those that are not used: another collection may have the same texts.
    """
    for name in sorted(field_indexes(connection, collection_id)):
        connection.execute(text(f'DROP INDEX "{name}"'))
    # First by itself: the chunks go with their documents, and nothing is looked up twice.
    connection.execute(delete(documents).where(documents.c.collection_id == collection_id))
    connection.execute(delete(collections).where(collections.c.id == collection_id))
    connection.execute(delete(catalog_info).where(catalog_info.c.name == f"purged {collection_id}"))
