"""Makes the index of words take over what the catalog has committed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kb import catalog as cat
from kb.errors import DamagedError
from kb.index import WordIndex, WordRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BATCH: Final = 10_000
"""How many documents are one commit: it waits for the disk, about as long for many as for one."""

SLICE: Final = 200
"""How many documents, each of 1 MB at the most, are in memory at once."""


def drain_words(catalog: cat.Catalog, collection: cat.StoredCollection, index: WordIndex) -> Iterator[int]:
    """Bring the index up to date, yielding after each batch how many documents it took over.

    The same rules as for vectors: written before it is taken off the queue, and what the index refuses is found by
    halving and stays in the queue with the reason.

    Raises:
        DamagedError: The index takes nothing at all; the queue is as it was.
    """
    while True:
        with catalog.read() as connection:
            part = cat.oldest(connection, collection.id, cat.WORDS, BATCH)
        if part is None:
            break
        refused = _take_over(catalog, collection, index, part.documents)
        with catalog.write() as connection:
            cat.forget(connection, collection.id, cat.WORDS, part)
            cat.refuse(connection, collection.id, cat.WORDS, refused)
        yield len(part.documents)
    if index.is_worn:
        with catalog.read() as connection:
            fill(connection, collection, index)


def mark_of(text_hash: bytes) -> int:
    """Return what tells the versions of a text apart in the index of words."""
    return int.from_bytes(text_hash[:8], "little")


def fill(connection: cat.Connection, collection: cat.StoredCollection, index: WordIndex) -> None:
    """Write every document of a snapshot to an index, in place of what it holds."""
    refused = {refusal.key for refusal in cat.refusals(connection, collection.id, cat.WORDS)}
    index.rewrite(record for record in _all_records(connection, collection.id) if record.key not in refused)


def holds_all(connection: cat.Connection, stored: cat.StoredCollection, index: WordIndex) -> bool:
    """Return whether an index from which nothing waits holds as many documents as the catalog."""
    if cat.oldest(connection, stored.id, cat.WORDS, 1) is not None:
        return True
    refused = cat.refusals(connection, stored.id, cat.WORDS)
    return index.documents + len(refused) == cat.count_documents(connection, stored.id)


def holds_same(connection: cat.Connection, stored: cat.StoredCollection, index: WordIndex) -> bool:
    """Return whether an index holds the documents of the catalog in their present versions; what waits aside."""
    unknown = cat.queued_keys(connection, stored.id, cat.WORDS)
    present = index.marks()
    seqs = cat.page_seqs(connection, stored.id, after=0, limit=BATCH)
    while seqs:
        hashes = cat.text_hashes(connection, stored.id, list(cat.keys_of(connection, seqs).values()))
        for key, (seq, text_hash) in hashes.items():
            if present.pop(seq, None) != mark_of(text_hash) and key not in unknown:
                return False
        seqs = cat.page_seqs(connection, stored.id, after=seqs[-1], limit=BATCH)
    return not present or bool(unknown)


def _take_over(
    catalog: cat.Catalog,
    collection: cat.StoredCollection,
    index: WordIndex,
    documents: Sequence[cat.QueuedDocument],
) -> list[cat.Refusal]:
    """Write some documents to the index and return those that it refused."""
    with catalog.read() as connection:
        stored = cat.text_hashes(connection, collection.id, [d.key for d in documents])
        known = [d.key for d in documents if d.chunks_before]
        present = index.marks(among=[stored[key][0] for key in known if key in stored]) if known else {}
        # Where only other fields have changed, the text is there as it is.
        seqs = {key: seq for key, (seq, text) in stored.items() if present.get(seq) != mark_of(text)}
        gone = [key for key in known if key not in stored or key in seqs]
        if not seqs and not gone:
            return []
        try:
            index.replace(_records(connection, list(seqs.values())), gone)
        except DamagedError as error:
            index.replace((), [*gone, *seqs])  # nothing of an older version may stay behind; raises if nothing works
            refused = _refused(connection, index, seqs, error)
            if refused and len(refused) == len(seqs) and index.documents == 0:
                raise  # an empty index that takes nothing may as well be broken
            return refused
    return []


def _refused(
    connection: cat.Connection, index: WordIndex, seqs: dict[str, int], error: DamagedError
) -> list[cat.Refusal]:
    """Write what can be written of documents that were refused together, and return the others."""
    keys = list(seqs)
    if len(keys) <= 1:
        return [cat.Refusal(key, str(error)) for key in keys]
    found: list[cat.Refusal] = []
    middle = len(keys) // 2
    for half in (keys[:middle], keys[middle:]):
        try:
            index.replace(_records(connection, [seqs[key] for key in half]), ())
        except DamagedError as again:
            found += _refused(connection, index, {key: seqs[key] for key in half}, again)
    return found


def _records(connection: cat.Connection, seqs: Sequence[int]) -> Iterator[WordRecord]:
    for start in range(0, len(seqs), SLICE):
        for one in cat.texts_of(connection, seqs[start : start + SLICE]):
            yield WordRecord(one.key, one.seq, mark_of(one.text_hash), one.text)


def _all_records(connection: cat.Connection, collection_id: int) -> Iterator[WordRecord]:
    seqs = cat.page_seqs(connection, collection_id, after=0, limit=BATCH)
    while seqs:
        yield from _records(connection, seqs)
        seqs = cat.page_seqs(connection, collection_id, after=seqs[-1], limit=BATCH)
