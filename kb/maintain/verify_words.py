"""Compares the index of words with the catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kb import catalog as cat
from kb.maintain.problem import in_index
from kb.write import mark_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kb.index import WordIndex
    from kb.maintain.problem import Problem

PAGE: Final = 10_000


def word_problems(
    catalog: cat.Catalog, collection: cat.StoredCollection, index: WordIndex, *, full: bool
) -> Iterator[Problem]:
    """Yield every difference between the index of words and the catalog.

    Args:
        catalog: The truth.
        collection: Whose index.
        index: Up to date.
        full: Compare the version of every text too.

    Raises:
        DamagedError: The index cannot be read.
    """
    name = collection.name
    with catalog.read() as connection:
        waiting = cat.pending(connection, collection.id, cat.WORDS)
        refused = {one.key: one.reason for one in cat.refusals(connection, collection.id, cat.WORDS)}
    if waiting:
        yield in_index("queue", name, "", f"the index of words is {waiting} documents behind")
    for key, reason in refused.items():
        yield in_index("refused", name, key, f"the index of words does not take it: {reason}")
    present = index.marks()
    last = 0
    while True:
        with catalog.read() as connection:
            seqs = cat.page_seqs(connection, collection.id, after=last, limit=PAGE)
            keys = cat.keys_of(connection, seqs)
            hashes = cat.text_hashes(connection, collection.id, list(keys.values())) if full else {}
        if not seqs:
            break
        for seq in seqs:
            key, mark = keys.get(seq, ""), present.pop(seq, None)
            if mark is None and key not in refused:
                yield in_index("missing", name, key, "is not in the index of words")
            elif mark is not None and full and mark != mark_of(hashes[key][1]):
                yield in_index("record", name, key, "the index of words holds another version of its text")
        last = seqs[-1]
    for seq in sorted(present):
        yield in_index("surplus", name, str(seq), "a document of this number is in the index of words only")
