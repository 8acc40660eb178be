"""What a search asks of the catalog, as plain SQL through the driver.

Building statements and result objects in Python would cost several times what SQLite takes to answer.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy.dialects import sqlite

from kb.catalog.filter_sql import to_sql
from kb.catalog.trusted import check_content
from kb.errors import SupersededError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from kb.filters import Filter
    from kb.schema import Schema


class Condition(NamedTuple):
    """A filter compiled for one collection: SQL over ``documents`` with its bound values, ready to be reused."""

    collection_id: int
    sql: str
    values: tuple[object, ...]


class FoundChunk(NamedTuple):
    """A document with one of its chunks: what a hit shows."""

    seq: int
    key: str
    fields: str
    text: str
    start: int
    end: int


class StoredText(NamedTuple):
    """A document's text and its fingerprint."""

    seq: int
    key: str
    text_hash: bytes
    text: str


def compile_condition(collection_id: int, filter: Filter | None, schema: Schema) -> Condition:
    """Return the condition of a checked filter; of None: every document of the collection."""
    # Written out, not bound: SQLite proves only from a literal that an index of this collection applies.
    own = f"documents.collection_id = {int(collection_id)}"
    if filter is None:
        return Condition(collection_id, own, ())
    compiled = to_sql(filter, schema).compile(
        dialect=sqlite.dialect(),
        compile_kwargs={"render_postcompile": True},
    )
    values = compiled.params
    ordered = tuple(values[name] for name in compiled.positiontup or ())
    return Condition(collection_id, f"{own} AND ({compiled})", ordered)


def only_these(condition: Condition, seqs: Sequence[int]) -> Condition:
    """Return a condition that these documents of its collection satisfy, and no others."""
    return Condition(
        condition.collection_id, "documents.seq IN (SELECT value FROM json_each(?))", (json.dumps(list(seqs)),)
    )


def but_these(condition: Condition, seqs: Sequence[int]) -> Condition:
    """Return a condition that some documents do not satisfy, and is otherwise the same."""
    sql = f"{condition.sql} AND documents.seq NOT IN (SELECT value FROM json_each(?))"
    return Condition(condition.collection_id, sql, (*condition.values, json.dumps(list(seqs))))


def matching_seqs(connection: Connection, condition: Condition, *, limit: int) -> list[int]:
    """Return row numbers of documents that satisfy the condition, at most ``limit``, in no particular order."""
    sql = f"SELECT documents.seq FROM documents WHERE {condition.sql} LIMIT {int(limit)}"
    return [row[0] for row in select_rows(connection, sql, condition.values)]


def matching_among(connection: Connection, condition: Condition, seqs: Sequence[int]) -> set[int]:
    """Return those of the documents that satisfy the condition."""
    some = "documents.seq IN (SELECT value FROM json_each(?))"
    sql = f"SELECT documents.seq FROM documents WHERE {some} AND {condition.sql}"
    return {row[0] for row in select_rows(connection, sql, (json.dumps(list(seqs)), *condition.values))}


def count_matching(connection: Connection, condition: Condition) -> int:
    """Return how many documents satisfy the condition."""
    sql = f"SELECT count(*) FROM documents WHERE {condition.sql}"
    return int(select_rows(connection, sql, condition.values)[0][0])


def seqs_of(connection: Connection, condition: Condition, keys: Sequence[str]) -> list[int]:
    """Return the row numbers of those of the documents, given by id, that satisfy the condition."""
    sql = (
        f"SELECT documents.seq FROM documents WHERE documents.collection_id = {condition.collection_id}"
        f" AND documents.key IN (SELECT value FROM json_each(?)) AND {condition.sql}"
    )
    return [row[0] for row in select_rows(connection, sql, (json.dumps(list(keys)), *condition.values))]


def keys_of(connection: Connection, seqs: Sequence[int]) -> dict[int, str]:
    """Return the ids of documents by row number."""
    sql = "SELECT seq, key FROM documents WHERE seq IN (SELECT value FROM json_each(?))"
    return {seq: key for seq, key in select_rows(connection, sql, (json.dumps(list(seqs)),))}


def found_chunks(connection: Connection, places: Sequence[tuple[int, int]]) -> dict[int, FoundChunk]:
    """Return, by row number, documents each with one chunk.

    Args:
        connection: In a transaction.
        places: Row number and chunk number, one of each document.
    """
    sql = (
        'SELECT d.seq, d.key, d.fields, d.text, c.start, c."end", d.fields_hash, d.text_hash FROM json_each(?) AS place'
        " JOIN documents AS d ON d.seq = place.value ->> 0"
        " JOIN chunks AS c ON c.document_seq = d.seq AND c.ordinal = place.value ->> 1"
    )
    found = {}
    for *row, fields_hash, text_hash in select_rows(connection, sql, (json.dumps(list(places)),)):
        one = FoundChunk(*row)
        check_content(one.key, one.fields, one.text, fields_hash, text_hash)
        found[one.seq] = one
    return found


def text_hashes(connection: Connection, collection_id: int, keys: Sequence[str]) -> dict[str, tuple[int, bytes]]:
    """Return, by id, the row number of those of the documents that exist, and the fingerprint of their text."""
    sql = (
        "SELECT d.key, d.seq, d.text_hash FROM json_each(?) AS wanted"
        " CROSS JOIN documents AS d ON d.collection_id = ? AND d.key = wanted.value"
    )
    return {
        key: (seq, text) for key, seq, text in select_rows(connection, sql, (json.dumps(list(keys)), collection_id))
    }


def texts_of(connection: Connection, seqs: Sequence[int]) -> list[StoredText]:
    """Return the texts of documents."""
    sql = (
        "SELECT d.seq, d.key, d.text_hash, d.text FROM json_each(?) AS wanted"
        " CROSS JOIN documents AS d ON d.seq = wanted.value"
    )
    return [StoredText(*row) for row in select_rows(connection, sql, (json.dumps(list(seqs)),))]


def page_seqs(connection: Connection, collection_id: int, *, after: int, limit: int) -> list[int]:
    """Return the next row numbers of a collection's documents, in their order."""
    sql = "SELECT seq FROM documents WHERE collection_id = ? AND seq > ? ORDER BY seq LIMIT ?"
    return [row[0] for row in select_rows(connection, sql, (collection_id, after, limit))]


def current_change(connection: Connection, collection_id: int) -> int:
    """Return the number of the last write to the collection.

    Raises:
        SupersededError: It has been deleted.
    """
    rows = select_rows(connection, "SELECT change FROM collections WHERE id = ?", (collection_id,))
    if not rows:
        raise SupersededError("the collection has been deleted meanwhile", unchanged="nothing was done")
    return int(rows[0][0])


def select_rows(connection: Connection, sql: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
    """Return what a statement selects."""
    cursor = connection.exec_driver_sql(sql, values).cursor
    assert cursor is not None
    return list(cursor.fetchall())
