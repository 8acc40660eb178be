"""What can still be read of a damaged catalog: every row that stands on a sound page and has its fingerprint."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kb.catalog.files import looking
from kb.catalog.trusted import is_sound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_AT_ONCE: Final = 256
_KEYS: Final = "sqlite_autoindex_documents_1"
"""The index that SQLite made of collection and id: it names a document although its own page is lost."""


class SavedDocument(NamedTuple):
    """A document that can be read, and has the fingerprints that it was stored with; ``fields`` is JSON."""

    seq: int
    key: str
    fields: str
    text: str


def table_problems(path: Path) -> dict[str, str]:
    """Return, by table, the first thing that is wrong with it or its indexes; "" stands for the file as a whole."""
    found: dict[str, str] = {}
    try:
        with looking(path) as connection:
            names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for name in sorted(names):
                if problem := _check(connection, name):
                    found[name] = problem
            if not found and (problem := _check(connection, None)):
                found[""] = problem
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        found[""] = str(error)
    return found


def _check(connection: sqlite3.Connection, table: str | None) -> str:
    of = "" if table is None else f"('{table}')"
    try:
        messages = [str(row[0]) for row in connection.execute(f"PRAGMA integrity_check{of}")]
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        return str(error)
    lines = [line for message in messages for line in message.splitlines() if line != "ok" and "***" not in line]
    return "" if not lines else lines[0] + (f" (and {len(lines) - 1:,} more)" if len(lines) > 1 else "")


def saved_documents(path: Path, collection_id: int) -> Iterator[SavedDocument]:
    """Yield the documents of a collection that can be read, by row number; what cannot be read is passed over."""
    sql = (
        "SELECT seq, key, fields, text, fields_hash, text_hash FROM documents NOT INDEXED"
        f" WHERE seq BETWEEN ? AND ? AND collection_id = {int(collection_id)} ORDER BY seq"
    )
    with looking(path) as connection:
        names = _indexed_keys(connection, collection_id)
        for seq, key, fields, text, *hashes in _rows(connection, sql, _last(connection, "documents", "seq")):
            try:
                sound = is_sound(fields, text, *hashes) and isinstance(key, str) and names.get(seq, key) == key
            except (AttributeError, TypeError):  # a value of another type than it was stored with
                continue
            if sound:
                yield SavedDocument(seq, key, fields, text)


def expected_documents(path: Path, collection_id: int) -> dict[int, str]:
    """Return the ids, by row number, of the documents that a collection should have, as far as anything names them.

    The index of ids does, and so does the history.
    """
    sql = (
        "SELECT document_seq, key, action FROM revisions NOT INDEXED"
        f" WHERE id BETWEEN ? AND ? AND collection_id = {int(collection_id)} ORDER BY id"
    )
    with looking(path) as connection:
        named = _indexed_keys(connection, collection_id)
        latest: dict[str, tuple[int, str]] = {}
        for seq, key, action in _rows(connection, sql, _last(connection, "revisions", "id")):
            latest[key] = seq, action
    for key, (seq, action) in latest.items():
        if action != "delete" and seq not in named:
            named[seq] = key
    return named


def _indexed_keys(connection: sqlite3.Connection, collection_id: int) -> dict[int, str]:
    """Return ids by row number from the index alone, read from both ends up to what is damaged."""
    found: dict[int, str] = {}
    for order in ("", "DESC"):
        sql = f"SELECT seq, key FROM documents INDEXED BY {_KEYS} WHERE collection_id = ? ORDER BY key {order}"
        try:
            for seq, key in connection.execute(sql, (collection_id,)):
                found[seq] = key  # noqa: PERF403 - what was read before the damage stays
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            continue
        break
    return found


def _last(connection: sqlite3.Connection, table: str, column: str) -> int:
    """Return the highest row number that a table has, or has had."""
    found = 0
    for sql in (f"SELECT seq FROM sqlite_sequence WHERE name = '{table}'", f"SELECT max({column}) FROM {table}"):
        with suppress(sqlite3.DatabaseError, UnicodeDecodeError):
            row = connection.execute(sql).fetchone()
            found = max(found, row[0] if row and isinstance(row[0], int) else 0)
    return min(found, 2**40)


def _rows(connection: sqlite3.Connection, sql: str, last: int) -> Iterator[tuple[Any, ...]]:
    """Yield the rows that can be read, by halving each range of row numbers that cannot."""
    for start in range(1, last + 1, _AT_ONCE):
        ranges = [(start, min(last, start + _AT_ONCE - 1))]
        while ranges:
            low, high = ranges.pop()
            try:
                rows = connection.execute(sql, (low, high)).fetchall()
            except (sqlite3.DatabaseError, UnicodeDecodeError):
                if low < high:
                    middle = (low + high) // 2
                    ranges += [(middle + 1, high), (low, middle)]
                continue
            yield from rows
