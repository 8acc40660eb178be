"""Makes the vector index take over what the catalog has committed."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Final

from kb import catalog as cat
from kb.errors import DamagedError
from kb.failpoints import failpoint
from kb.index import Record, index_value, is_passing, jittered, record_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from sqlalchemy import Connection

    from kb.index import Generation, MetadataValue
    from kb.schema import Schema

BATCH: Final = 1_000
SLICE: Final = 200
"""How many documents, each of 1 MB at the most, are in memory at once."""


def drain(
    catalog: cat.Catalog, collection: cat.StoredCollection, generation: Generation, *, store_text: bool
) -> Iterator[int]:
    """Bring the index up to date, yielding after each batch how many documents it took over.

    Each batch is written to the index before it is taken off the queue: a kill in between repeats it, and a repeated
    batch changes nothing. A batch that the index does not take is halved until the documents are found that it
    refuses; those stay in the queue with the reason, and every search compares them exactly.

    Args:
        catalog: The truth.
        collection: Whose queue.
        generation: The index that follows.
        store_text: Whether records keep the text of their chunk.

    Raises:
        DamagedError: The index takes nothing at all; the queue is as it was.
    """
    write_late(catalog, collection, generation, cat.VECTORS)
    while True:
        with catalog.read() as connection:
            part = cat.oldest(connection, collection.id, cat.VECTORS, BATCH)
            if part is None:
                return
            collection = cat.with_present_fields(connection, collection)
        failpoint("before_index")
        refused: list[cat.Refusal] = []
        for start in range(0, len(part.documents), SLICE):
            some = part.documents[start : start + SLICE]
            refused += take_over(catalog, collection, generation, some, store_text=store_text)
        failpoint("after_index")
        with catalog.write() as connection:
            cat.forget(connection, collection.id, cat.VECTORS, part)
            cat.refuse(connection, collection.id, cat.VECTORS, refused)
        yield len(part.documents)


def write_late(catalog: cat.Catalog, collection: cat.StoredCollection, generation: Generation, target: str) -> None:
    """Queue once more what a server may have applied after what was written later; nothing where it is not shared."""
    if not generation.is_shared:
        return
    with catalog.read() as connection:
        is_late = cat.has_late(connection, collection.generation)
    if is_late:
        with catalog.write() as connection:
            cat.requeue_late(connection, collection.id, target, collection.generation)


def take_over(
    catalog: cat.Catalog,
    collection: cat.StoredCollection,
    generation: Generation,
    documents: Sequence[cat.QueuedDocument],
    *,
    store_text: bool,
    other: int | None = None,
) -> list[cat.Refusal]:
    """Write some documents to the index and return those that it refused; arguments as for ``records_of``.

    What is sent to a server is noted until it has answered: it may apply it when somebody else has written again.
    """
    keys = [d.key for d in documents]
    with catalog.read() as connection:
        made = records_of(connection, collection, keys, store_text=store_text, other=other)
    if not generation.is_shared:
        return _written(generation, documents, made)
    counts = Counter(str(record.metadata["document"]) for record in made)
    most = [cat.QueuedDocument(d.key, max(d.chunks_before, counts[d.key])) for d in documents]
    with catalog.write() as connection:
        before = cat.note_sent(connection, collection.generation, most)
    refused = _written(generation, documents, made)
    with catalog.write() as connection:
        cat.put_sent(connection, collection.generation, before)
    return refused


def _written(
    generation: Generation, documents: Sequence[cat.QueuedDocument], made: Sequence[Record]
) -> list[cat.Refusal]:
    records, objections = _acceptable(generation, generation.fitted(made))
    # Without text, an older record goes first: Chroma would keep its text beside the new vector.
    kept = {record.id for record in records if record.text is not None}
    before = (record_id(d.key, chunk) for d in documents for chunk in range(d.chunks_before))
    generation.delete([name for name in before if name not in kept])
    by_document: dict[str, list[Record]] = {}
    for record in records:
        by_document.setdefault(str(record.metadata["document"]), []).append(record)
    try:
        _upsert(generation, records)
    except DamagedError as error:
        # A full disk is not the fault of a document: halving would refuse them one by one, and go on for hours.
        if is_passing(error) or not generation.takes_records():
            raise
        refused = _refused(generation, by_document, list(by_document), error)
        if len(refused) == len(by_document) and generation.count() == 0:
            raise  # an empty index that takes nothing may as well be broken
        return [*objections, *refused]
    return objections


def _acceptable(generation: Generation, records: Sequence[Record]) -> tuple[list[Record], list[cat.Refusal]]:
    """Return the records of the documents that the index can hold, and the refusals of the others."""
    reasons: dict[str, str] = {}
    for record in records:
        reason = generation.objection(record)
        if reason is not None:
            reasons.setdefault(str(record.metadata["document"]), reason)
    refused = [cat.Refusal(key, reason) for key, reason in reasons.items()]
    return [record for record in records if record.metadata["document"] not in reasons], refused


def _upsert(generation: Generation, records: Sequence[Record]) -> None:
    generation.upsert([record for record in records if record.text is not None])
    generation.upsert([record for record in records if record.text is None])


def _refused(
    generation: Generation, records: Mapping[str, Sequence[Record]], keys: Sequence[str], error: DamagedError
) -> list[cat.Refusal]:
    """Write what can be written of documents that were refused together, and return the others."""
    if len(keys) == 1:
        # Nothing of an older version may stay behind.
        generation.delete([record.id for record in records[keys[0]]])
        return [cat.Refusal(keys[0], str(error))]
    found: list[cat.Refusal] = []
    middle = len(keys) // 2
    for half in (keys[:middle], keys[middle:]):
        try:
            _upsert(generation, [record for key in half for record in records[key]])
        except DamagedError as again:
            found += _refused(generation, records, half, again)
    return found


def records_of(
    connection: Connection,
    collection: cat.StoredCollection,
    keys: Sequence[str],
    *,
    store_text: bool,
    other: int | None = None,
) -> list[Record]:
    """Return what the index should hold of those of the documents that exist.

    Args:
        connection: In a snapshot.
        collection: The collection.
        keys: Ids of documents.
        store_text: Whether records keep the text of their chunk.
        other: The number of a generation that does not serve, for its records.
    """
    documents = cat.get_documents(connection, collection.id, keys)
    seqs = [d.seq for d in documents.values()]
    chunks = cat.get_chunks(connection, seqs) if other is None else cat.other_chunks_of(connection, other, seqs)
    used = sorted({chunk.vector_id for some in chunks.values() for chunk in some})
    vectors = cat.get_vectors(connection, used)
    first = cat.first_chunks(connection, used) if other is None else cat.first_other_chunks(connection, other, used)
    texts = {} if other is None else cat.other_texts_of(connection, other, seqs)
    records: list[Record] = []
    for document in documents.values():
        metadata = _metadata(collection.schema, document)
        whole = texts.get(document.seq, document.text)
        for chunk in chunks[document.seq]:
            name = record_id(document.key, chunk.ordinal)
            vector: np.ndarray = vectors[chunk.vector_id]
            if first[chunk.vector_id] != (document.seq, chunk.ordinal):
                vector = jittered(vector, name)
            text = whole[chunk.start : chunk.end] if store_text else None
            records.append(Record(name, vector, text, {**metadata, "document": document.key, "chunk": chunk.ordinal}))
    return records


def vectors_of(
    connection: Connection, collection: cat.StoredCollection, keys: Sequence[str], *, other: int | None = None
) -> dict[str, np.ndarray]:
    """Return the catalog's vectors of all chunks of some documents by the id of their record; as ``records_of``."""
    keys_by_seq = {seq: key for key, (seq, _) in cat.text_hashes(connection, collection.id, list(keys)).items()}
    seqs = list(keys_by_seq)
    chunks = cat.get_chunks(connection, seqs) if other is None else cat.other_chunks_of(connection, other, seqs)
    vectors = cat.get_vectors(connection, sorted({chunk.vector_id for some in chunks.values() for chunk in some}))
    return {
        record_id(key, chunk.ordinal): vectors[chunk.vector_id]
        for seq, key in keys_by_seq.items()
        for chunk in chunks[seq]
    }


def _metadata(schema: Schema, document: cat.StoredDocument) -> dict[str, MetadataValue | None]:
    stored = json.loads(document.fields)
    return {
        name: index_value(declared, declared.load_value(stored.get(name)))
        for name, declared in schema.fields.items()
        if declared.is_metadata
    }
