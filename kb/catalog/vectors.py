"""Vectors in the catalog: one per distinct embedded text and model, float32, unit length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from sqlalchemy import select

from kb.catalog.bulk import insert_many, wanted
from kb.catalog.tables import vectors
from kb.catalog.trusted import to_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

_MAX_PARAMETERS: Final = 900


class ChunkVectors(NamedTuple):
    """The vectors of many chunks, one row each.

    Attributes:
        seqs: Row numbers of the documents; shape (n,), int64.
        ordinals: Chunk numbers within the document; shape (n,), int32.
        matrix: Unit vectors; shape (n, dimension), float32.
    """

    seqs: np.ndarray
    ordinals: np.ndarray
    matrix: np.ndarray


def known_vectors(connection: Connection, space: str, hashes: Sequence[bytes]) -> dict[bytes, int]:
    """Return the number of each text's vector, for those texts that have one in this space."""
    known: dict[bytes, int] = {}
    hashes = sorted(hashes)  # neighbours share a page of the index
    for start in range(0, len(hashes), _MAX_PARAMETERS):
        some = hashes[start : start + _MAX_PARAMETERS]
        one = "SELECT id FROM vectors WHERE space = ? AND text_hash = value"
        found = connection.exec_driver_sql(f"{wanted(some)} SELECT value, ({one}) FROM wanted", (*some, space))
        known.update({text_hash: number for text_hash, number in found if number is not None})
    return known


def insert_vectors(connection: Connection, space: str, hashes: Sequence[bytes], matrix: np.ndarray) -> dict[bytes, int]:
    """Store vectors of texts that have none yet and return their numbers.

    Args:
        connection: In a write transaction.
        space: The recipe's space.
        hashes: Of the embedded texts, all different.
        matrix: Shape (len(hashes), dimension), float32.
    """
    if not hashes:
        return {}
    row = connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'vectors'").first()
    first = 1 if row is None else int(row[0]) + 1
    numbers = range(first, first + len(hashes))
    blobs = matrix.astype("<f4", copy=False)
    # In the order of the index: hashes lie anywhere in it, and neighbours share a page.
    order = sorted(range(len(hashes)), key=hashes.__getitem__)
    rows = [(number, space, hashes[at], blobs[at].tobytes()) for number, at in zip(numbers, order, strict=True)]
    insert_many(connection, vectors, ("id", "space", "text_hash", "vector"), rows)
    return {text_hash: number for number, _, text_hash, _ in rows}


def get_vectors(connection: Connection, ids: Sequence[int]) -> dict[int, np.ndarray]:
    """Return vectors by number, each of shape (dimension,), float32."""
    found: dict[int, np.ndarray] = {}
    for start in range(0, len(ids), _MAX_PARAMETERS):
        query = select(vectors.c.id, vectors.c.vector).where(vectors.c.id.in_(ids[start : start + _MAX_PARAMETERS]))
        found.update({number: np.frombuffer(blob, dtype="<f4") for number, blob in connection.execute(query)})
    return found


def chunk_vectors(
    connection: Connection, collection_id: int, dimension: int, *, seqs: Sequence[int] | None = None
) -> ChunkVectors:
    """Return the vectors of all chunks of a collection, or of some of its documents, ordered by document and chunk."""
    parts = (
        [_chunk_rows(connection, collection_id, None)]
        if seqs is None
        else [
            _chunk_rows(connection, collection_id, seqs[start : start + _MAX_PARAMETERS])
            for start in range(0, len(seqs), _MAX_PARAMETERS)
        ]
    )
    rows = [row for part in parts for row in part]
    matrix = to_matrix([row[2] for row in rows], dimension)
    return ChunkVectors(
        np.array([row[0] for row in rows], dtype=np.int64), np.array([row[1] for row in rows], dtype=np.int32), matrix
    )


def _chunk_rows(connection: Connection, collection_id: int, seqs: Sequence[int] | None) -> list[tuple[int, int, bytes]]:
    # Plain SQL through the driver: building result objects would cost more than reading the vectors.
    condition = "" if seqs is None else f" AND d.seq IN ({','.join(str(int(seq)) for seq in seqs)})"
    result = connection.exec_driver_sql(
        "SELECT c.document_seq, c.ordinal, v.vector FROM documents d"
        " JOIN chunks c ON c.document_seq = d.seq JOIN vectors v ON v.id = c.vector_id"
        f" WHERE d.collection_id = {int(collection_id)}{condition} ORDER BY c.document_seq, c.ordinal"
    )
    return list(result.cursor.fetchall())
