"""Compares what is stored with what should be: the catalog with itself, then the index with the catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from kb import catalog as cat
from kb.errors import CatalogDamagedError, DamagedError, KBError, MismatchError
from kb.index import record_id
from kb.maintain.problem import Problem, in_catalog, in_index
from kb.maintain.verify_words import word_problems
from kb.schema import content_hash
from kb.write import record_differences, records_of, vectors_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kb.index import Generation, Record
    from kb.write import Indexes

PAGE: Final = 1_000
SAMPLE: Final = 50
MIN_RECALL: Final = 0.95

PROPOSED: Final = 20
"""How many records the index is asked for where ten are wanted: as many as a search asks it for."""


def verify(
    catalog: cat.Catalog,
    collections: Sequence[cat.StoredCollection],
    indexes: Indexes,
    *,
    store_text: bool,
    full: bool,
) -> Iterator[Problem]:
    """Yield every difference.

    Quick: the catalog's own integrity, the queue, the ids of all records, and the recall of the index against exact
    search on a small sample. Full: a larger sample, and every hash, chunk, record's vector, text and metadata.

    Args:
        catalog: The truth.
        collections: Which collections to look at.
        indexes: Of all of them.
        store_text: Whether records keep text.
        full: Look at every value.

    Raises:
        LockedError: Another process owns the index.
    """
    with catalog.read() as connection:
        for (message,) in connection.exec_driver_sql("PRAGMA quick_check").all():
            if message != "ok":
                yield in_catalog("integrity", "", "", str(message))
        for row in connection.exec_driver_sql("PRAGMA foreign_key_check").all():
            yield in_catalog("integrity", "", "", f"table {row[0]}, row {row[1]}: refers to a missing row of {row[2]}")
    for collection in collections:
        if full:
            yield from look_through(catalog, collection)
        try:
            index = indexes.catch_up(collection)
            yield from _index_problems(catalog, collection, index, store_text=store_text, full=full)
        except (DamagedError, MismatchError) as error:
            yield _failed(collection.name, error)
        try:
            yield from word_problems(catalog, collection, indexes.follow_words(collection), full=full)
        except DamagedError as error:
            yield _failed(collection.name, error)


def _failed(name: str, error: KBError) -> Problem:
    if isinstance(error, CatalogDamagedError):
        return in_catalog("integrity", name, "", str(error))
    return in_index("index", name, "", str(error))


def look_through(catalog: cat.Catalog, collection: cat.StoredCollection) -> Iterator[Problem]:
    """Yield every difference between a collection's documents, chunks and vectors and their fingerprints."""
    for page in _pages(catalog, collection):
        with catalog.read() as connection:
            chunks = cat.get_chunks(connection, [d.seq for d in page])
            hashes = cat.stored_states(connection, collection.id, [d.key for d in page])
            used = sorted({c.vector_id for some in chunks.values() for c in some})
            vectors = cat.get_vectors(connection, used)
        for document in page:
            state = hashes[document.key]
            rendered = collection.schema.render(collection.schema.load(document.key, document.fields))
            if (content_hash(document.fields), content_hash(document.text)) != (state.fields_hash, state.text_hash):
                yield in_catalog(
                    "hash", collection.name, document.key, "its fields or text differ from their fingerprint"
                )
            elif rendered.text != document.text:
                yield in_catalog("hash", collection.name, document.key, "its text differs from what its fields render")
            if not _is_partition(chunks[document.seq], len(document.text)):
                yield in_catalog("chunks", collection.name, document.key, "its chunks do not partition its text")
        for number, vector in vectors.items():
            if vector.shape != (collection.dimension,) or abs(float(np.linalg.norm(vector)) - 1) > 1e-3:
                yield in_catalog("vector", collection.name, str(number), "a vector has the wrong length")


def _is_partition(chunks: Sequence[cat.StoredChunk], length: int) -> bool:
    borders = [0, *(chunk.end for chunk in chunks)]
    return bool(chunks) and [c.start for c in chunks] == borders[:-1] and borders[-1] == length


def _index_problems(
    catalog: cat.Catalog, collection: cat.StoredCollection, index: Generation, *, store_text: bool, full: bool
) -> Iterator[Problem]:
    name = collection.name
    with catalog.read() as connection:
        waiting = cat.pending(connection, collection.id, cat.VECTORS)
        refused = cat.refusals(connection, collection.id, cat.VECTORS)
    if waiting:
        yield in_index("queue", name, "", f"the vector index is {waiting} documents behind")
    for refusal in refused:
        yield in_index("refused", name, refusal.key, f"the vector index does not take it: {refusal.reason}")
    without = {refusal.key for refusal in refused}
    try:
        present = index.ids()
        expected: set[str] = set()
        for page in _pages(catalog, collection):
            with catalog.read() as connection:
                chunks = cat.get_chunks(connection, [d.seq for d in page])
                keys = [d.key for d in page] if full else []
                records = records_of(connection, collection, keys, store_text=store_text)
                vectors = vectors_of(connection, collection, keys)
            expected |= {record_id(d.key, c.ordinal) for d in page if d.key not in without for c in chunks[d.seq]}
            yield from _record_problems(name, index.fitted(records), vectors, index)
        if (counted := index.count()) != len(present):
            yield in_index("count", name, "", f"the vector index counts {counted:,} records and holds {len(present):,}")
        for missing in sorted(expected - present):
            yield in_index("missing", name, missing, "is not in the vector index")
        for surplus in sorted(present - expected):
            yield in_index("surplus", name, surplus, "is in the vector index, but not in the catalog")
        # Also when quick: counts and ids come from Chroma's own database, and say nothing of what can be found.
        yield from _recall_problems(catalog, collection, index, SAMPLE if full else SAMPLE // 5)
    except DamagedError as error:
        yield _failed(name, error)


def _record_problems(
    name: str, records: Sequence[Record], vectors: Mapping[str, np.ndarray], index: Generation
) -> Iterator[Problem]:
    stored = index.get([record.id for record in records])
    for record in records:
        found = stored.get(record.id)
        if found is None:
            continue  # told as missing
        for difference in record_differences(record, vectors[record.id], found):
            yield in_index("record", name, record.id, difference)


def _recall_problems(
    catalog: cat.Catalog, collection: cat.StoredCollection, index: Generation, sample: int
) -> Iterator[Problem]:
    with catalog.read() as connection:
        vectors = cat.chunk_vectors(connection, collection.id, collection.dimension)
    total = len(vectors.seqs)
    if total <= 10:
        return
    rng = np.random.default_rng(0)
    found = wanted = 0
    for row in rng.choice(total, size=min(sample, total), replace=False):
        scores = vectors.matrix @ vectors.matrix[row]
        tenth = np.partition(scores, -10)[-10]
        answers = index.nearest(vectors.matrix[row], PROPOSED)
        wanted += 10
        # Counted by score: among equal vectors any of them is a right answer; 0.002 covers the jitter of copies.
        found += min(10, sum(float(vector @ vectors.matrix[row]) >= tenth - 2e-3 for vector in answers))
    if found < MIN_RECALL * wanted:
        yield in_index("recall", collection.name, "", f"recall@10 against exact search is {found / wanted:.3f}")


def _pages(catalog: cat.Catalog, collection: cat.StoredCollection) -> Iterator[list[cat.StoredDocument]]:
    last = 0
    while True:
        with catalog.read() as connection:
            page = cat.page_documents(connection, collection.id, after=last, limit=PAGE)
        if not page:
            return
        yield page
        last = page[-1].seq
