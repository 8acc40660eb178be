"""A look at a catalog that need not be openable: nothing is written, migrated or locked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kb.catalog.files import looking
from kb.catalog.tables import HEAD
from kb.schema import Recipe

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class GlancedCollection:
    """What a look tells of one collection.

    Attributes:
        id: The row's number.
        name: Its name.
        model, query_model: The ids of its models; the second empty where the first embeds queries too.
        dimension: The length of its vectors.
        has_fingerprint: Whether the catalog remembers the answers of its models.
        documents, chunks: How many it has.
        waiting: How many changed documents each index has still to take over, by index.
        refused: How many documents some index does not take.
    """

    id: int
    name: str
    model: str
    query_model: str
    dimension: int
    has_fingerprint: bool
    documents: int
    chunks: int
    waiting: Mapping[str, int]
    refused: int


@dataclass(frozen=True, slots=True)
class Glance:
    """What a look at a catalog tells.

    Attributes:
        revision: Its Alembic revision.
        is_older, is_newer: Than what this release reads and writes.
        info: The table ``catalog_info``: who wrote the schema last, and what operations have noted.
        collections: By name; empty for a newer catalog, whose tables this release does not know.
    """

    revision: str
    is_older: bool
    is_newer: bool
    info: Mapping[str, str]
    collections: tuple[GlancedCollection, ...]


def glance(path: Path) -> Glance:
    """Return what a look at a catalog tells.

    Raises:
        sqlite3.DatabaseError: It cannot be read, or is something else.
    """
    with looking(path) as connection:
        (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        info = {str(name): str(value) for name, value in connection.execute("SELECT name, value FROM catalog_info")}
        found = tuple(_collections(connection)) if revision <= HEAD else ()
    return Glance(str(revision), revision < HEAD, revision > HEAD, info, found)


def _collections(connection: sqlite3.Connection) -> list[GlancedCollection]:
    query = "SELECT id, name, recipe, dimension, length(fingerprint) FROM collections ORDER BY name"
    return [_collection(connection, row) for row in connection.execute(query).fetchall()]


def _collection(connection: sqlite3.Connection, row: tuple[int, str, str, int, int]) -> GlancedCollection:
    number, name, recipe, dimension, length = row

    def count(query: str) -> int:
        return int(connection.execute(query, (number,)).fetchone()[0])

    columns = {row[1] for row in connection.execute("PRAGMA table_info(index_queue)")}
    refusal = "refusal" if "refusal" in columns else "NULL"
    waiting = connection.execute(
        f"SELECT target, count(DISTINCT key) FROM index_queue WHERE collection_id = ? AND {refusal} IS NULL"
        " GROUP BY target ORDER BY target",
        (number,),
    ).fetchall()
    chunks = "SELECT count(*) FROM chunks WHERE document_seq IN (SELECT seq FROM documents WHERE collection_id = ?)"
    refused = f"SELECT count(DISTINCT key) FROM index_queue WHERE collection_id = ? AND {refusal} IS NOT NULL"
    known = Recipe.from_json(recipe)
    return GlancedCollection(
        id=number,
        name=name,
        model=known.model,
        query_model=known.query_model,
        dimension=dimension,
        has_fingerprint=length >= 4 * dimension > 0,
        documents=count("SELECT count(*) FROM documents WHERE collection_id = ?"),
        chunks=count(chunks),
        waiting=dict(waiting),
        refused=count(refused),
    )
