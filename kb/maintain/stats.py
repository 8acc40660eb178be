"""Figures of a knowledge base."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kb import catalog as cat

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class CollectionStats:
    """Figures of one collection.

    Attributes:
        name: The collection.
        model: Its model.
        dimension: The length of its vectors; 0 before the first document.
        documents, chunks: How many it has.
        behind: How many changed documents the index that is further behind has not taken over.
        updated: The time of its last change, or None.
    """

    name: str
    model: str
    dimension: int
    documents: int
    chunks: int
    behind: int
    updated: str | None


@dataclass(frozen=True, slots=True)
class Stats:
    """Figures of the whole knowledge base: its collections, and bytes on disk."""

    collections: tuple[CollectionStats, ...]
    catalog_bytes: int
    index_bytes: int


def collection_stats(catalog: cat.Catalog, collection: cat.StoredCollection) -> CollectionStats:
    """Return the figures of a stored collection."""
    with catalog.read() as connection:
        return CollectionStats(
            collection.name,
            collection.recipe.model,
            collection.dimension,
            cat.count_documents(connection, collection.id),
            cat.count_chunks(connection, collection.id),
            max(cat.pending(connection, collection.id, target) for target in cat.TARGETS),
            cat.last_update(connection, collection.id),
        )


def disk_bytes(folder: Path) -> int:
    """Return how many bytes the files below a folder, or one file and its side files, take."""
    if folder.is_dir():
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in folder.parent.glob(folder.name + "*"))
