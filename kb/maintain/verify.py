"""Compares what is stored with what should be: the catalog with itself, then the index with the catalog."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from kb import catalog as cat
from kb.errors import DamagedError, MismatchError
from kb.index import record_id
from kb.maintain.problem import Problem
from kb.maintain.verify_words import word_problems
from kb.schema import content_hash
from kb.write import records_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kb.index import Generation, Record
    from kb.write import Indexes

PAGE: Final = 1_000
SAMPLE: Final = 50
MIN_RECALL: Final = 0.95


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
                yield Problem("integrity", "", "", str(message))
        for row in connection.exec_driver_sql("PRAGMA foreign_key_check").all():
            yield Problem("integrity", "", "", f"table {row[0]}, row {row[1]}: refers to a missing row of {row[2]}")
    for collection in collections:
        if full:
            yield from look_through(catalog, collection)
        try:
            index = indexes.follow_vectors(collection)
            yield from _index_problems(catalog, collection, index, store_text=store_text, full=full)
        except (DamagedError, MismatchError) as error:
            yield Problem("index", collection.name, "", str(error))
        try:
            yield from word_problems(catalog, collection, indexes.follow_words(collection), full=full)
        except DamagedError as error:
            yield Problem("index", collection.name, "", str(error))


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
                yield Problem("hash", collection.name, document.key, "its fields or text differ from their fingerprint")
            elif rendered.text != document.text:
                yield Problem("hash", collection.name, document.key, "its text differs from what its fields render")
            if not _is_partition(chunks[document.seq], len(document.text)):
                yield Problem("chunks", collection.name, document.key, "its chunks do not partition its text")
        for number, vector in vectors.items():
            if vector.shape != (collection.dimension,) or abs(float(np.linalg.norm(vector)) - 1) > 1e-3:
                yield Problem("vector", collection.name, str(number), "a vector has the wrong length")


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
        yield Problem("queue", name, "", f"the vector index is {waiting} documents behind")
    for refusal in refused:
        yield Problem("refused", name, refusal.key, f"the vector index does not take it: {refusal.reason}")
    without = {refusal.key for refusal in refused}
    try:
        present = index.ids()
        expected: set[str] = set()
        for page in _pages(catalog, collection):
            with catalog.read() as connection:
                chunks = cat.get_chunks(connection, [d.seq for d in page])
                records = (
                    records_of(connection, collection, [d.key for d in page], store_text=store_text) if full else []
                )
            expected |= {record_id(d.key, c.ordinal) for d in page if d.key not in without for c in chunks[d.seq]}
            yield from _record_problems(name, records, index)
        for missing in sorted(expected - present):
            yield Problem("missing", name, missing, "is not in the vector index")
        for surplus in sorted(present - expected):
            yield Problem("surplus", name, surplus, "is in the vector index, but not in the catalog")
        # Also when quick: counts and ids come from Chroma's own database, and say nothing of what can be found.
        yield from _recall_problems(catalog, collection, index, SAMPLE if full else SAMPLE // 5)
    except DamagedError as error:
        yield Problem("index", name, "", str(error))


def _record_problems(name: str, records: Sequence[Record], index: Generation) -> Iterator[Problem]:
    stored = index.get([record.id for record in records])
    for record in records:
        found = stored.get(record.id)
        if found is None:
            continue  # told as missing
        if float(found.vector @ record.vector) < 0.9999:
            yield Problem("record", name, record.id, "its vector differs from the catalog's")
        if found.text != record.text:
            yield Problem("record", name, record.id, "its text differs from the catalog's")
        names = sorted({*record.metadata, *found.metadata})
        changed = [n for n in names if not _same_value(record.metadata.get(n), found.metadata.get(n))]
        if changed:
            yield Problem("record", name, record.id, f"its metadata differs: {', '.join(changed)}")


def _same_value(expected: object, found: object) -> bool:
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(_same_value, expected, found))
    if isinstance(expected, float) and isinstance(found, float):
        # chromadb 1.5 gives floats back up to one unit in the last place off.
        return math.isclose(expected, found, rel_tol=1e-12)
    return type(expected) is type(found) and expected == found


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
        answers = index.nearest(vectors.matrix[row], 10)
        wanted += 10
        # Counted by score: among equal vectors any of them is a right answer; 0.002 covers the jitter of copies.
        found += sum(float(vector @ vectors.matrix[row]) >= tenth - 2e-3 for vector in answers)
    if found < MIN_RECALL * wanted:
        yield Problem("recall", collection.name, "", f"recall@10 against exact search is {found / wanted:.3f}")


def _pages(catalog: cat.Catalog, collection: cat.StoredCollection) -> Iterator[list[cat.StoredDocument]]:
    last = 0
    while True:
        with catalog.read() as connection:
            page = cat.page_documents(connection, collection.id, after=last, limit=PAGE)
        if not page:
            return
        yield page
        last = page[-1].seq
