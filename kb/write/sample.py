"""Keeps the sample of a collection's vectors close to the collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kb import catalog as cat

if TYPE_CHECKING:
    from kb.catalog import Catalog, Connection, Sample, StoredCollection

DRIFT: Final = 0.2
"""A sample serves until the number of chunks has changed by this share."""


def sample_of(connection: Connection, collection: StoredCollection, chunks: int) -> Sample:
    """Return the stored sample, or a new one where there is none that fits; nothing is stored.

    Args:
        connection: In a snapshot.
        collection: Whose vectors.
        chunks: How many chunks it has in this snapshot.
    """
    stored = cat.find_sample(connection, collection.id, collection.recipe.space, collection.dimension)
    if stored is not None and abs(chunks - stored.chunks) <= DRIFT * stored.chunks:
        return stored
    return cat.draw_sample(connection, collection.id, collection.dimension, chunks)


def refresh_sample(catalog: Catalog, collection: StoredCollection) -> None:
    """Store a new sample if the stored one no longer fits."""
    with catalog.write() as connection:
        chunks = cat.count_chunks(connection, collection.id)
        sample = sample_of(connection, collection, chunks)
        if sample.chunks == chunks:
            cat.save_sample(connection, collection.id, collection.recipe.space, sample)
