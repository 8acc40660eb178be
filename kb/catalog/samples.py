"""A sample of each collection's vectors: what a cosine is measured by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from sqlalchemy import delete, insert, select

from kb.catalog.tables import samples
from kb.catalog.vectors import chunk_vectors

if TYPE_CHECKING:
    from sqlalchemy import Connection

SIZE: Final = 1_000
"""How many documents' vectors a sample holds."""


class Sample(NamedTuple):
    """Vectors of some chunks, and of how many chunks they were drawn.

    Attributes:
        chunks: How many chunks the collection had.
        matrix: Unit vectors; shape (n, dimension), float32.
    """

    chunks: int
    matrix: np.ndarray


def draw_sample(connection: Connection, collection_id: int, dimension: int, chunks: int) -> Sample:
    """Return the vectors of up to 1,000 documents that are evenly spread over the collection by id.

    Args:
        connection: In a snapshot.
        collection_id: The collection.
        dimension: Of its vectors.
        chunks: How many chunks it has in this snapshot.
    """
    count = "SELECT count(*) FROM documents WHERE collection_id = ?"
    documents = int(connection.exec_driver_sql(count, (collection_id,)).scalar_one())
    # SQLite walks its index of ids: a list of all of them would take a hundred megabytes for a million documents.
    every = (
        "SELECT seq FROM (SELECT seq, row_number() OVER (ORDER BY key) - 1 AS place"
        " FROM documents WHERE collection_id = ?) WHERE place % ? = 0"
    )
    step = max(1, -(-documents // SIZE))
    some = [row[0] for row in connection.exec_driver_sql(every, (collection_id, step)).cursor.fetchall()]
    vectors = chunk_vectors(connection, collection_id, dimension, seqs=some)
    # One chunk of each: a long document must not make up the sample.
    _, first = np.unique(vectors.seqs, return_index=True)
    return Sample(chunks, vectors.matrix[first])


def find_sample(connection: Connection, collection_id: int, space: str, dimension: int) -> Sample | None:
    """Return the stored sample, if it is one of this space."""
    query = select(samples.c.chunks, samples.c.vectors).where(
        samples.c.collection_id == collection_id, samples.c.space == space
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    return Sample(row.chunks, np.frombuffer(row.vectors, dtype="<f4").reshape(-1, dimension))


def save_sample(connection: Connection, collection_id: int, space: str, sample: Sample) -> None:
    """Store a sample in place of the one before."""
    connection.execute(delete(samples).where(samples.c.collection_id == collection_id))
    vectors = sample.matrix.astype("<f4", copy=False).tobytes()
    row = {"collection_id": collection_id, "space": space, "chunks": sample.chunks, "vectors": vectors}
    connection.execute(insert(samples).values(row))
