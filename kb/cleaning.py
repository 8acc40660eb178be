"""What makes an open knowledge base smaller: purge, gc, compact, and the deletion of a collection."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from kb import catalog as cat
from kb.errors import DamagedError, NotFoundError, UsageError, nearest
from kb.ingest import cancelling
from kb.schema import lookup_id
from kb.write import begin_anew

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from datetime import timedelta

    from kb.knowledge_base import KnowledgeBase
    from kb.maintain import Cleaned, CompactPlan, GcPlan, PurgePlan, Step

T = TypeVar("T")

_TIME: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


def finished(steps: Generator[Step, None, T], progress: Callable[[Step], None] | None) -> T:
    """Run an operation to its end and return what it came to, telling of every step."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        if progress is not None:
            progress(step)


def purge_plan(
    base: KnowledgeBase, ids: Sequence[str], *, collection: str | None, older_than: timedelta | None
) -> PurgePlan:
    """Return what a purge would do; see ``KnowledgeBase.plan_purge``."""
    from kb.maintain import Doomed, deleted_before, deleted_ids, plan_purge

    catalog = _existing(base)
    chosen = [one for one in base.stored_collections() if collection in (None, one.name)]
    if collection is not None:
        base.collection(collection)  # an unknown name is an error
    if not ids:
        before = None if older_than is None else (datetime.now(UTC) - older_than).strftime(_TIME)
        return plan_purge(catalog, base.settings.storage, deleted_before(catalog, chosen, before))
    if len(chosen) != 1:
        names = ", ".join(one.name for one in chosen)
        raise UsageError("ids are of one collection", hint=f"name it: {names}" if names else "there is none yet")
    found, missing = deleted_ids(catalog, chosen[0], [lookup_id(key) for key in ids])
    return plan_purge(catalog, base.settings.storage, [Doomed(chosen[0].name, tuple(found))], missing=missing)


def purge_steps(base: KnowledgeBase, plan: PurgePlan) -> Generator[Step, None, Cleaned]:
    """Purge step by step; see ``KnowledgeBase.purge``."""
    from kb.maintain import purge

    return (yield from purge(_alone(base), base.settings.storage, base.indexes, plan))


def gc_plan(base: KnowledgeBase, age: timedelta) -> GcPlan:
    """Return what a collection of garbage would do; see ``KnowledgeBase.plan_gc``."""
    from kb.maintain import plan_gc

    return plan_gc(_existing(base), base.settings.storage, age=age)


def gc_steps(base: KnowledgeBase, plan: GcPlan) -> Generator[Step, None, Cleaned]:
    """Collect garbage step by step; see ``KnowledgeBase.gc``."""
    from kb.maintain import gc

    catalog = _alone(base) if plan.needs_all_files else base.own()
    return (yield from gc(catalog, base.settings.storage, base.indexes, plan))


def compact_plan(base: KnowledgeBase, age: timedelta) -> CompactPlan:
    """Return what a compaction would do; see ``KnowledgeBase.plan_compact``."""
    from kb.maintain import plan_compact

    return plan_compact(_existing(base), base.settings.storage, age=age)


def compact_steps(base: KnowledgeBase, plan: CompactPlan) -> Generator[Step, None, Cleaned]:
    """Compact step by step; see ``KnowledgeBase.compact``."""
    from kb.maintain import compact

    return (yield from compact(_alone(base), base.settings.storage, base.indexes, plan))


def delete_collection(base: KnowledgeBase, name: str) -> int:
    """Delete a collection; see ``KnowledgeBase.delete_collection``.

    The index goes first: a kill in between leaves the collection whole, and its index is built again.
    """
    from kb.maintain import check_idle

    stored = next((one for one in base.stored_collections() if one.name == name), None)
    if stored is None:
        names = [one.name for one in base.stored_collections()]
        raise NotFoundError(f"nothing is stored of a collection '{name}'", hint=nearest(name, names))
    catalog = base.own()
    check_idle(catalog, cancelling.alive(base.settings.storage))
    with catalog.writing:
        with catalog.read() as connection:
            generations = cat.generation_names(connection, stored.id)
            files = cat.reject_files(connection, stored.id)
            documents = cat.count_documents(connection, stored.id)
        try:
            base.indexes.drop_words(stored)
            for generation in generations:
                base.indexes.drop_generation(generation)
        except DamagedError:
            # What does not let itself be deleted from is put aside, and built again without it.
            begin_anew(catalog, base.indexes, base.stored_collections())
        with catalog.write() as connection:
            cat.delete_collection(connection, stored.id)
            cat.delete_unused_vectors(connection)
            cat.count_change_everywhere(connection)
        for file in files:
            path = Path(file)
            if path.parent == base.settings.storage / "rejects":  # not what somebody has put elsewhere
                with suppress(FileNotFoundError):
                    path.unlink()
    return documents


def _alone(base: KnowledgeBase) -> cat.Catalog:
    """Become the owner, alone, before anything is changed: a server would go on with the files that are to go."""
    catalog = base.own()
    if not base.indexes.ownership.sharing.is_foreign:  # a server elsewhere has its own files: nothing here is in use
        base.indexes.ownership.take_alone()
    return catalog


def _existing(base: KnowledgeBase) -> cat.Catalog:
    if base.catalog is None:
        raise NotFoundError("nothing is stored yet", hint="kb import FILE puts documents in")
    return base.catalog
