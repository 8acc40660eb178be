"""Has indexes filled again from the catalog, the old files put aside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kb import catalog as cat
from kb.errors import DamagedError, MismatchError
from kb.failpoints import failpoint
from kb.write.drain import drain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from kb.write.indexes import Indexes


def begin_anew(
    catalog: cat.Catalog, indexes: Indexes, chosen: Sequence[cat.StoredCollection], *, keep_empty: bool = False
) -> list[Path]:
    """Put the indexes of some collections aside and have them filled again; return what lies in ``quarantine/``.

    The index of vectors is one folder: where other collections share it, it is copied, and only what is chosen is
    deleted. One that a server has open is deleted there: nothing of it is put aside.

    Args:
        catalog: What they are filled from.
        indexes: Of all collections.
        chosen: Whose indexes.
        keep_empty: Whether an index of vectors that has no record may stay; its files can hold deleted ones.

    Raises:
        LockedError: Another process owns the knowledge base.
        DamagedError: The files cannot be put aside.
    """
    with indexes.exclusive():
        is_kept = keep_empty and _are_empty(catalog, indexes, chosen)
        kept = [] if is_kept else _put_vectors_aside(catalog, indexes, chosen)
        words = [indexes.put_words_aside(stored) for stored in chosen]
        failpoint("rebuild_put_aside")
        # Not before: all of it in the queue, an old index would pass for one that only has to be written over.
        with catalog.write() as connection:
            for stored in chosen:
                for target in cat.TARGETS:
                    cat.enqueue_all(connection, stored.id, target)
        failpoint("rebuild_queued")
    return [*kept, *(path for path in words if path is not None)]


def fill_steps(catalog: cat.Catalog, indexes: Indexes, stored: cat.StoredCollection) -> Iterator[int]:
    """Bring both indexes of a collection up to date, yielding how many documents each batch took over.

    Raises:
        LockedError: Another process owns the knowledge base.
        DamagedError: An index takes nothing.
    """
    while True:
        with indexes.exclusive():
            generation = indexes.vectors(stored)
            taken = next(drain(catalog, stored, generation, store_text=indexes.store_text), None)
        if taken is None:
            break
        yield taken
    with catalog.read() as connection:
        waiting = cat.pending(connection, stored.id, cat.WORDS)
    indexes.follow_words(stored)
    yield waiting


def _put_vectors_aside(catalog: cat.Catalog, indexes: Indexes, chosen: Sequence[cat.StoredCollection]) -> list[Path]:
    ownership = indexes.ownership
    if ownership.is_shared:
        # The files are the server's. Whatever else it has of them goes as well: it is made anew when it is needed.
        with catalog.read() as connection:
            names = [name for stored in chosen for name in cat.generation_names(connection, stored.id)]
        for name in names:
            indexes.drop_generation(name)
        return []
    with catalog.read() as connection:
        is_shared = len(cat.list_collections(connection)) > len(chosen)
    if not is_shared:
        whole = ownership.discard()
        return [] if whole is None else [whole]
    # Opened first: one that was not closed in order is looked at, and put aside as a whole if it is damaged.
    ownership.generation_names()
    copy = ownership.keep_copy()
    for stored in chosen:
        ownership.drop_generation(stored.generation)
    return [copy]


def _are_empty(catalog: cat.Catalog, indexes: Indexes, chosen: Sequence[cat.StoredCollection]) -> bool:
    """Return whether the index of vectors holds nothing of some collections: then nothing need be put aside."""
    with catalog.read() as connection:
        for stored in chosen:
            if cat.pending(connection, stored.id, cat.VECTORS) < cat.count_documents(connection, stored.id):
                return False
    try:
        return all(indexes.vectors(stored).count() == 0 for stored in chosen)
    except (DamagedError, MismatchError):
        return False
