"""Collecting what nobody needs any more, and giving the disk back what churn has taken."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from kb import catalog as cat
from kb.errors import LimitError, UsageError
from kb.failpoints import failpoint
from kb.index import FOLDER, QUARANTINE, operations, orphan_segments, orphan_words, stray_generations, words_folder
from kb.maintain.step import Cleaned, Step
from kb.maintain.storage import (
    delete,
    left_behind,
    live_bytes,
    older_than,
    pre_upgrade_copies,
    quarantined,
    size_of,
)
from kb.write import begin_anew

if TYPE_CHECKING:
    from collections.abc import Generator
    from datetime import timedelta
    from pathlib import Path

    from kb.write import Indexes


class Rubbish(NamedTuple):
    """A file or folder that goes: relative to the storage, its bytes, and what it is."""

    path: str
    bytes: int
    what: str


@dataclass(frozen=True, slots=True)
class GcPlan:
    """What a collection of garbage would do.

    Attributes:
        generations: The names of those that have served, and that ``kb reembed --rollback`` could still bring back.
        strays: Chroma collections of kb's that the catalog does not know any more.
        vectors: How many vectors no present document has, and none has in a generation that is kept.
        vector_bytes: What they take in the catalog.
        rubbish: The files and folders that go.
        kept: Quarantined indexes and copies from before an upgrade that are too young to go, in bytes.
        bytes: What the storage takes, backups excepted.
    """

    generations: tuple[str, ...]
    strays: tuple[str, ...]
    vectors: int
    vector_bytes: int
    rubbish: tuple[Rubbish, ...]
    kept: int
    bytes: int

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.generations or self.strays or self.vectors or self.rubbish)

    @property
    def needs_all_files(self) -> bool:
        """Whether files of Chroma's go, which no server may have open meanwhile."""
        return any(one.path.startswith(f"{FOLDER}/") for one in self.rubbish)


@dataclass(frozen=True, slots=True)
class CompactPlan:
    """What a compaction would do.

    Attributes:
        gc: What is collected first.
        catalog_free: How many bytes of the catalog hold nothing by now; those of the vectors that go come on top.
        operations: How many records have been written to the vector index and deleted from it since it was built.
        chunks: How many it should hold.
        rebuilds: Whether it is built again.
        needed: How many bytes must be free meanwhile.
    """

    gc: GcPlan
    catalog_free: int
    operations: int
    chunks: int
    rebuilds: bool
    needed: int

    @property
    def bytes(self) -> int:
        """What the storage takes, backups excepted."""
        return self.gc.bytes


def plan_gc(catalog: cat.Catalog, storage: Path, *, age: timedelta) -> GcPlan:
    """Return what a collection of garbage would do; nothing is written.

    Args:
        catalog: The catalog.
        storage: The folder.
        age: How old quarantined indexes and copies from before an upgrade must be to go.
    """
    with catalog.read() as connection:
        collections = cat.list_collections(connection)
        retired = [each for one in collections for each in cat.retired(connection, one.id)]
        unused = cat.unused_vectors(connection, besides=[each.id for each in retired])
        strays = stray_generations(storage, cat.generation_names(connection))
    words = [words_folder(storage, one.id, one.language) for one in collections]
    kept_for_a_while = [*quarantined(storage), *pre_upgrade_copies(storage)]
    old = older_than(kept_for_a_while, age)
    groups = (
        (orphan_segments(storage), "files of a Chroma collection that is no more"),
        (orphan_words(storage, words), "an index of words of no collection"),
        ([path for path in old if path.parent.name == QUARANTINE], "a quarantined index"),
        ([path for path in old if path.parent.name != QUARANTINE], "a catalog from before an upgrade"),
        (left_behind(storage), "left half made or half deleted"),
    )
    rubbish = [
        Rubbish(path.relative_to(storage).as_posix(), size_of(path), what) for paths, what in groups for path in paths
    ]
    kept = sum(size_of(path) for path in kept_for_a_while if path not in old)
    return GcPlan(
        tuple(each.name for each in retired),
        tuple(strays),
        unused.vectors,
        unused.bytes,
        tuple(rubbish),
        kept,
        live_bytes(storage),
    )


def gc(catalog: cat.Catalog, storage: Path, indexes: Indexes, plan: GcPlan) -> Generator[Step, None, Cleaned]:
    """Do what a plan says, telling of each step; the caller owns the knowledge base.

    Where the plan ``needs_all_files``, nobody else shares its index.
    """
    began, before = time.monotonic(), live_bytes(storage)
    yield from _collect(catalog, storage, indexes, plan, of=3)
    return Cleaned(before, live_bytes(storage), time.monotonic() - began)


def plan_compact(catalog: cat.Catalog, storage: Path, *, age: timedelta) -> CompactPlan:
    """Return what a compaction would do; as ``plan_gc``."""
    found = plan_gc(catalog, storage, age=age)
    with catalog.read() as connection:
        free = cat.free_bytes(connection)
        chunks = sum(cat.count_chunks(connection, one.id) for one in cat.list_collections(connection))
    done = operations(storage)
    # Each record once is what a new index costs; the thousand keeps small ones from being built for nothing.
    rebuilds = (storage / FOLDER).exists() and done > 2 * chunks + 1_000
    return CompactPlan(found, free, done, chunks, rebuilds, 2 * size_of(catalog.path))


def compact(catalog: cat.Catalog, storage: Path, indexes: Indexes, plan: CompactPlan) -> Generator[Step, None, Cleaned]:
    """Do what a plan says, telling of each step. Whatever ends it in between, the next one goes on.

    Raises:
        LimitError: There is not enough room to write the catalog anew.
        LockedError: As ``gc``; or another process keeps reading: all is done but emptying the log of the catalog.
        UsageError: This thread is in the middle of an atomic import.
    """
    if catalog.is_writing:
        raise UsageError("an import with --atomic is going on in this thread", unchanged="nothing was compacted")
    free = shutil.disk_usage(storage).free
    if free < plan.needed:
        raise LimitError(
            f"the catalog is written anew: {plan.needed / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} MB are free",
            unchanged="nothing was compacted",
            hint="free space, try again",
        )
    if plan.rebuilds or _segments(storage, plan.gc):
        indexes.ownership.take_alone()
    began, before = time.monotonic(), live_bytes(storage)
    with catalog.read() as connection:
        collections = cat.list_collections(connection)
    total = 4 + (len(collections) if plan.rebuilds else 0)
    failpoint("compact_before")
    yield from _collect(catalog, storage, indexes, plan.gc, of=total)
    if plan.rebuilds:
        for path in begin_anew(catalog, indexes, collections):
            delete(path)
        failpoint("compact_files")
    yield Step("writing the catalog anew", 4, total)
    cat.rewrite(catalog)
    failpoint("compact_rewritten")
    for number, stored in enumerate(collections if plan.rebuilds else (), start=5):
        yield Step(f"building the index of '{stored.name}' again", number, total)
        indexes.follow(stored)
        failpoint("compact_index")
    return Cleaned(before, live_bytes(storage), time.monotonic() - began)


def _collect(catalog: cat.Catalog, storage: Path, indexes: Indexes, plan: GcPlan, *, of: int) -> Generator[Step]:
    yield Step("deleting generations that serve no more", 1, of)
    _drop_generations(catalog, indexes, plan)
    failpoint("compact_generations")
    yield Step("deleting vectors that nothing uses", 2, of)
    with catalog.writing, catalog.write() as connection:
        if cat.delete_unused_vectors(connection):
            cat.count_change_everywhere(connection)
    failpoint("compact_vectors")
    yield Step("deleting files that nothing uses", 3, of)
    segments = _segments(storage, plan)
    if segments:
        indexes.sweep()
    for one in plan.rubbish:
        if storage / one.path not in segments:
            delete(storage / one.path)


def _segments(storage: Path, plan: GcPlan) -> list[Path]:
    """Return the folders that Chroma has left behind, and deletes nothing of while it is served."""
    return [storage / one.path for one in plan.rubbish if one.path.startswith(f"{FOLDER}/")]


def _drop_generations(catalog: cat.Catalog, indexes: Indexes, plan: GcPlan) -> None:
    with catalog.writing, catalog.write() as connection:
        for stored in cat.list_collections(connection):
            for one in cat.retired(connection, stored.id):
                if one.name in plan.generations:
                    cat.drop_generation(connection, one.id)
        known = set(cat.generation_names(connection))
    # One that was promoted back since the plan was made serves, and stays.
    for name in (*plan.generations, *plan.strays):
        if name not in known:
            indexes.drop_generation(name)
