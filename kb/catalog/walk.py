"""Walking through a collection of any size, in a memory that does not grow with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import literal_column, select

from kb.catalog.tables import documents
from kb.catalog.trusted import check_fields

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ColumnElement, Connection

_AT_ONCE: Final = 100  # each of them 1 MB at the most


def walk(
    connection: Connection, collection_id: int, condition: ColumnElement[bool] | None = None
) -> Iterator[tuple[str, str]]:
    """Yield id and stored fields of the documents that satisfy the condition, by id.

    They come from SQLite's cursor a few at a time, all in the snapshot of the connection's transaction.

    Args:
        connection: In a transaction that stays open until the last row.
        collection_id: The collection.
        condition: From ``filter_sql.to_sql``; None for all.
    """
    # Written out, not bound: SQLite proves only from a literal that an index of this collection applies.
    query = select(documents.c.key, documents.c.fields, documents.c.fields_hash).where(
        literal_column(f"documents.collection_id = {int(collection_id)}")
    )
    if condition is not None:
        query = query.where(condition)
    result = connection.execution_options(yield_per=_AT_ONCE).execute(query.order_by(documents.c.key))
    for key, fields, fields_hash in result:
        check_fields(key, fields, fields_hash)
        yield key, fields
