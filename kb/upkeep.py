"""Looking after an open knowledge base: what is compared, counted and mended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kb import catalog as cat
from kb.declaration import check_model, check_query_model
from kb.errors import KBError, MismatchError
from kb.index import FOLDER, WORDS_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kb.catalog import StoredCollection
    from kb.knowledge_base import KnowledgeBase
    from kb.maintain import Backup, Examination, Problem, RebuildPlan, RebuildStep, Stats


def verify(
    base: KnowledgeBase, collection: str | None, *, full: bool, on_note: Callable[[str], None] | None
) -> Iterator[Problem]:
    """Yield every difference; see ``KnowledgeBase.verify``."""
    from kb.maintain import damage_problems, look_through, readable_collections

    catalog = base.catalog
    if catalog is not None and base.damage is not None:
        chosen = [one for one in readable_collections(catalog) if collection in (None, one.name)]
        problems = list(damage_problems(catalog, base.damage, chosen))
        if not problems:  # something else has written to the file, and its structure is sound
            problems = [problem for one in readable_collections(catalog) for problem in look_through(catalog, one)]
        if problems:
            yield from problems
            return
        catalog.accept()
    chosen = _chosen(base, collection)
    if base.catalog is None:
        return
    is_sound = True
    for problem in _problems(base, chosen, full=full, on_note=on_note):
        is_sound = False
        yield problem
    # Only where writing would have been possible: a damaged catalog is not written to.
    if chosen and is_sound and collection is None and base.catalog.damage is None and not base.catalog.is_read_only:
        with base.catalog.write() as connection:
            cat.note_verified(connection)


def _problems(
    base: KnowledgeBase, chosen: list[StoredCollection], *, full: bool, on_note: Callable[[str], None] | None
) -> Iterator[Problem]:
    from kb.maintain import verify as compare

    catalog = base.catalog
    assert catalog is not None  # else there is nothing to look at
    for stored in chosen:
        yield from _model_problems(base, stored, on_note)
    yield from compare(catalog, chosen, base.indexes, store_text=base.settings.store_text, full=full)


def _model_problems(
    base: KnowledgeBase, stored: StoredCollection, on_note: Callable[[str], None] | None
) -> Iterator[Problem]:
    from kb.maintain import Problem

    try:
        check_model(stored, base.encoder(stored.recipe.model))
        if stored.recipe.query_model:
            check_query_model(stored, base.encoder(stored.recipe.query_model))
    except MismatchError as error:
        yield Problem("model", stored.name, "", str(error), f"kb reembed -c {stored.name}")
    except KBError as error:  # the data may be as it should be: that it was not compared is said, and no more
        if on_note is not None:
            on_note(f"the model of '{stored.name}' was not compared: {error}")


def plan_rebuild(base: KnowledgeBase, collection: str | None) -> RebuildPlan:
    """Return what a rebuild takes; see ``KnowledgeBase.plan_rebuild``."""
    from kb.maintain import plan_rebuild as plan

    return plan(base.own(), _chosen(base, collection), store_text=base.settings.store_text)


def rebuild_steps(base: KnowledgeBase, collection: str | None) -> Iterator[RebuildStep]:
    """Build the indexes again; see ``KnowledgeBase.rebuild_steps``."""
    from kb.maintain import rebuild

    return rebuild(base.own(), _chosen(base, collection), base.indexes, store_text=base.settings.store_text)


def stats(base: KnowledgeBase, collection: str | None) -> Stats:
    """Return figures; see ``KnowledgeBase.stats``."""
    from kb.maintain import Stats, collection_stats, disk_bytes

    chosen = _chosen(base, collection)
    catalog, storage = base.catalog, base.settings.storage
    figures = [] if catalog is None else [collection_stats(catalog, one) for one in chosen]
    index_bytes = disk_bytes(storage / FOLDER) + disk_bytes(storage / WORDS_FOLDER)
    return Stats(tuple(figures), disk_bytes(storage / cat.FILE_NAME), index_bytes)


def unreadable(base: KnowledgeBase, collection: str | None) -> list[str]:
    """Return the documents that cannot be read; see ``KnowledgeBase.unreadable``."""
    if base.damage is None or base.catalog is None:
        return []
    from kb.maintain import unreadable as names_of

    return [key for one in _chosen(base, collection) for key in names_of(base.catalog, one)]


def back_up(base: KnowledgeBase, name: str | None) -> Backup:
    """Back it up; see ``KnowledgeBase.back_up``."""
    from kb.maintain import create_backup

    return create_backup(base.settings.root, base.settings.storage, name)


def backups(base: KnowledgeBase) -> list[Backup]:
    """Return its backups; see ``KnowledgeBase.backups``."""
    from kb.maintain import list_backups

    return list_backups(base.settings.storage)


def doctor(base: KnowledgeBase) -> Examination:
    """Return what there is and what is wrong; see ``KnowledgeBase.doctor``."""
    from kb.maintain import examine

    return examine(base.settings.root, base.settings)


def _chosen(base: KnowledgeBase, name: str | None) -> list[StoredCollection]:
    """Return the stored collections to look at.

    Raises:
        NotFoundError: There is none of that name.
    """
    if name is not None:
        base.collection(name)  # an unknown name is an error
    return [stored for stored in base.stored_collections() if name in (None, stored.name)]
