"""The chunks, texts and vectors of generations that do not serve."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from kb.catalog.bulk import insert_many
from kb.catalog.documents import StoredChunk
from kb.catalog.tables import other_chunks, other_texts
from kb.catalog.trusted import to_matrix
from kb.catalog.vectors import ChunkVectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection


def replace_other(
    connection: Connection,
    generation_id: int,
    seqs: Sequence[int],
    chunks: Sequence[StoredChunk],
    texts: Sequence[tuple[int, str, bytes]],
) -> None:
    """Replace what a generation that does not serve has of some documents.

    Args:
        connection: In a write transaction.
        generation_id: The generation.
        seqs: The row numbers of all of the documents.
        chunks: Their chunks.
        texts: Row number, text and its hash, where the template is not the one that serves.
    """
    for table in ("other_chunks", "other_texts"):
        connection.exec_driver_sql(
            f"DELETE FROM {table} WHERE generation_id = ? AND document_seq IN (SELECT value FROM json_each(?))",
            (generation_id, _json(seqs)),
        )
    columns = ("generation_id", "document_seq", "ordinal", "start", "end", "vector_id")
    rows = [(generation_id, c.document_seq, c.ordinal, c.start, c.end, c.vector_id) for c in chunks]
    insert_many(connection, other_chunks, columns, rows)
    text_columns = ("generation_id", "document_seq", "text", "text_hash")
    insert_many(connection, other_texts, text_columns, [(generation_id, *text) for text in texts])


def other_chunks_of(connection: Connection, generation_id: int, seqs: Sequence[int]) -> dict[int, list[StoredChunk]]:
    """Return the chunks that a generation which does not serve has of documents; as ``get_chunks``."""
    found: dict[int, list[StoredChunk]] = {seq: [] for seq in seqs}
    rows = connection.exec_driver_sql(
        'SELECT document_seq, ordinal, start, "end", vector_id FROM json_each(?) CROSS JOIN other_chunks'
        " ON generation_id = ? AND document_seq = value ORDER BY document_seq, ordinal",
        (_json(seqs), generation_id),
    )
    for row in rows:
        found[row[0]].append(StoredChunk(*row))
    return found


def other_texts_of(connection: Connection, generation_id: int, seqs: Sequence[int]) -> dict[int, str]:
    """Return the texts that a generation which does not serve has of documents, where they are not those that serve."""
    rows = connection.exec_driver_sql(
        "SELECT document_seq, text FROM json_each(?) CROSS JOIN other_texts"
        " ON generation_id = ? AND document_seq = value",
        (_json(seqs), generation_id),
    )
    return {seq: text for seq, text in rows}


def first_other_chunks(
    connection: Connection, generation_id: int, vector_ids: Sequence[int]
) -> dict[int, tuple[int, int]]:
    """Return, by vector, the first chunk of a generation that has it; as ``first_chunks``."""
    statement = (
        "SELECT value, (SELECT document_seq || ' ' || ordinal FROM other_chunks WHERE vector_id = value"
        " AND generation_id = ? ORDER BY vector_id, generation_id, document_seq, ordinal LIMIT 1) FROM json_each(?)"
    )
    found = {}
    for number, place in connection.exec_driver_sql(statement, (generation_id, _json(vector_ids))):
        seq, ordinal = place.split()
        found[number] = (int(seq), int(ordinal))
    return found


def other_vectors(connection: Connection, generation_id: int, dimension: int, seqs: Sequence[int]) -> ChunkVectors:
    """Return the vectors of all chunks that a generation has of documents; as ``chunk_vectors``."""
    result = connection.exec_driver_sql(
        "SELECT c.document_seq, c.ordinal, v.vector FROM json_each(?) AS wanted CROSS JOIN other_chunks AS c"
        " ON c.generation_id = ? AND c.document_seq = wanted.value JOIN vectors AS v ON v.id = c.vector_id"
        " ORDER BY c.document_seq, c.ordinal",
        (_json(seqs), generation_id),
    )
    rows = list(result.cursor.fetchall())
    matrix = to_matrix([row[2] for row in rows], dimension)
    return ChunkVectors(
        np.array([row[0] for row in rows], dtype=np.int64), np.array([row[1] for row in rows], dtype=np.int32), matrix
    )


def _json(numbers: Sequence[int]) -> str:
    return json.dumps([int(number) for number in numbers])
