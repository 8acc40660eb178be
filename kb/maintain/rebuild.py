"""Builds the indexes again from the catalog, which holds all that it takes: no model is needed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kb import catalog as cat
from kb.errors import LimitError
from kb.failpoints import failpoint
from kb.write import begin_anew, fill_steps

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from kb.write import Indexes

_CHUNKS_A_SECOND: Final = 1_500
_BYTES_A_CHUNK: Final = 1_500
"""Its row, its fields and its links in Chroma, beside its vector and its text."""
_TEXTS: Final = 5
"""How often the text is on the disk: in Chroma, in the trigrams of its own index, and in the index of words."""
_BASE_BYTES: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class RebuildPlan:
    """What a rebuild would do.

    Attributes:
        collections: Whose indexes are built again.
        documents, chunks: How many they have.
        seconds: About how long it takes.
        bytes_needed: About how much disk the new indexes take; those that are there stay in ``quarantine/``.
        bytes_free: How much there is.
    """

    collections: tuple[str, ...]
    documents: int
    chunks: int
    seconds: float
    bytes_needed: int
    bytes_free: int


@dataclass(frozen=True, slots=True)
class RebuildStep:
    """How far a rebuild has come.

    Attributes:
        collection: Which one is filled, or "" before the first.
        done: How many documents both indexes have taken over; each counts twice in ``total``.
        total: How many there are to take over.
        kept: Where the old files lie.
    """

    collection: str
    done: int
    total: int
    kept: tuple[Path, ...]


def plan_rebuild(catalog: cat.Catalog, chosen: Sequence[cat.StoredCollection], *, store_text: bool) -> RebuildPlan:
    """Return what rebuilding the indexes of some collections takes."""
    documents = chunks = needed = 0
    with catalog.read() as connection:
        for stored in chosen:
            documents += cat.count_documents(connection, stored.id)
            some = cat.count_chunks(connection, stored.id)
            chunks += some
            needed += some * (4 * stored.dimension + _BYTES_A_CHUNK)
            needed += cat.text_bytes(connection, stored.id) * (_TEXTS if store_text else 1)
    free = shutil.disk_usage(catalog.path.parent).free
    names = tuple(stored.name for stored in chosen)
    return RebuildPlan(names, documents, chunks, chunks / _CHUNKS_A_SECOND, needed + _BASE_BYTES, free)


def rebuild(
    catalog: cat.Catalog, chosen: Sequence[cat.StoredCollection], indexes: Indexes, *, store_text: bool
) -> Iterator[RebuildStep]:
    """Put the indexes of some collections aside and fill new ones, yielding after each batch.

    Whenever it ends, searches are right: what is not filled yet waits in the queue, and the next write goes on with it.

    Raises:
        LimitError: There is too little room on the disk; nothing was done.
        LockedError: Another process owns the knowledge base.
        DamagedError: The old files cannot be put aside, or a new index takes nothing.
    """
    plan = plan_rebuild(catalog, chosen, store_text=store_text)
    if plan.bytes_free < plan.bytes_needed:
        raise LimitError(
            f"the new indexes take about {plan.bytes_needed / 1e6:,.0f} MB; {plan.bytes_free / 1e6:,.0f} MB are free",
            unchanged="nothing was moved or built",
            hint="free space first; searches are answered from the catalog where an index fails",
        )
    kept = tuple(begin_anew(catalog, indexes, chosen, keep_empty=True))
    done, total = 0, 2 * plan.documents
    yield RebuildStep("", done, total, kept)
    for stored in chosen:
        for taken in fill_steps(catalog, indexes, stored):
            done += taken
            failpoint("rebuild_batch")
            yield RebuildStep(stored.name, done, total, kept)
    failpoint("rebuild_done")
