"""``KnowledgeBase``: what can be done with a knowledge base as a whole, mostly as methods of one line."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from kb import cleaning, jobs, upkeep
from kb.collection import Collection, OnProgress
from kb.declaration import check_limits, declaration_of, declare
from kb.errors import NotFoundError, nearest
from kb.ingest import Progress, last_of
from kb.opened import Opened
from kb.reembedding import ReembedRequest, request_from

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from kb.catalog import Job, JobStatus, Reject
    from kb.config import Settings
    from kb.curate import UndoPlan
    from kb.embed import Encoder
    from kb.maintain import (
        Backup,
        Cleaned,
        CompactPlan,
        Examination,
        GcPlan,
        Problem,
        PurgePlan,
        RebuildPlan,
        RebuildStep,
        Stats,
        Step,
    )
    from kb.schema import Document

_MONTH: Final = timedelta(days=30)
"""How long quarantined indexes and copies from before an upgrade are kept."""


class KnowledgeBase(Opened):
    """An open knowledge base. Use it as a context manager, or call ``close``.

    Several processes may have one open: the first that writes, or needs the vector index, owns it until it closes;
    the others search and read exactly from the catalog, and are refused when they want to write.
    """

    def __init__(self, settings: Settings, *, encoders: Mapping[str, Encoder] | None = None) -> None:
        """Open what the settings describe; use ``kb.open``; raises as ``kb.opened.Opened``."""
        self._collections: dict[str, Collection] = {}
        super().__init__(settings, encoders=encoders)

    def collection(
        self,
        name: str | None = None,
        document_class: type[Document] | None = None,
        *,
        model: str | None = None,
        query_model: str | None = None,
        language: str | None = None,
    ) -> Collection:
        """Return a collection.

        Args:
            name: As declared or stored; None when there is only one.
            document_class: Its schema as a Python class; declares the collection if nothing else does.
            model: The model id of a collection that is declared here.
            query_model: The id of the model that embeds its queries, where that is another one of the same space.
            language: Whose stems its index of words is made of; None for what is configured or stored, else english.

        Raises:
            NotFoundError: Neither ``config.toml`` nor the catalog nor this call declares it.
            SchemaMismatchError: The class differs from what is stored.
        """
        name = self._only_name() if name is None else name
        if document_class is None and name in self._collections:
            return self._collections[name]
        stored = self._stored(name)
        declared = self.settings.collections.get(name)
        if document_class is not None:
            declared = declare(
                name, document_class, declared, stored, model=model, query_model=query_model, language=language
            )
        if declared is None and stored is None:
            raise NotFoundError(
                f"there is no collection '{name}'",
                hint=nearest(name, self.names()) or "kb init shows how to declare one",
            )
        if stored is not None and declared is not None:
            declared = self._settled(stored, declared)
            stored = self._reconciled(stored, declared)
        if declared is None:
            assert stored is not None  # else it was not found
            declared = declaration_of(stored)
        check_limits(name, declared, self.settings.index)
        self._collections[name] = Collection(self, name, declared, stored)
        return self._collections[name]

    def stored_collection(self, name: str | None = None) -> Collection:
        """Return a stored collection as it is stored, whatever ``config.toml`` declares: for what makes the two agree.

        Raises:
            NotFoundError: There is no such collection.
        """
        name = self._only_name() if name is None else name
        stored = self._stored(name)
        return self.collection(name) if stored is None else Collection(self, name, declaration_of(stored), stored)

    def declared_recipe(self, name: str) -> ReembedRequest:
        """Return what makes a stored collection what ``config.toml`` declares; names no recipe where it is that."""
        stored, declared = self._stored(name), self.settings.collections.get(name)
        if stored is None or declared is None:
            return ReembedRequest()
        return request_from(stored, self._settled(stored, declared))

    def names(self) -> list[str]:
        """Return the names of all collections, declared or stored, sorted."""
        return sorted({*self.settings.collections, *(stored.name for stored in self.stored_collections())})

    def jobs(self, *, status: JobStatus | None = None, limit: int | None = 1_000) -> list[Job]:
        """Return the newest jobs, newest first; only those of a status, and at most ``limit``, unless that is None."""
        return jobs.list_jobs(self, status=status, limit=limit)

    def count_jobs(self, *, status: JobStatus | None = None) -> int:
        """Return how many jobs there are, of a status or in all."""
        return jobs.count_jobs(self, status=status)

    def job(self, job_id: str) -> Job:
        """Return a job; raises NotFoundError when there is none of that id."""
        return jobs.find_job(self, job_id)

    def rejects(self, job_id: str) -> list[Reject]:
        """Return the recorded rejects of a job, in the order of its input, at most 10,000; raises as ``job``."""
        return jobs.get_rejects(self, job_id)

    def resume(self, job_id: str, *, progress: OnProgress | None = None) -> Job:
        """Continue an interrupted or failed import; raises as ``kb.jobs.resume_steps``."""
        return last_of(self.resume_steps(job_id), progress)

    def resume_steps(self, job_id: str) -> Generator[Progress]:
        """Continue an import step by step; as ``resume``, in steps as ``Collection.import_steps``."""
        return jobs.resume_steps(self, job_id)

    def cancel(self, job_id: str, *, wait: float = 0.0) -> Job:
        """End a job for good after its next commit, whoever runs it; see ``kb.jobs.cancel``."""
        return jobs.cancel(self, job_id, wait=wait)

    def undo_plan(self, job_id: str) -> UndoPlan:
        """Return what undoing a job would do."""
        return jobs.plan(self, job_id)

    def undo(self, job_id: str, *, force: bool = False) -> Job:
        """Set every document that a job touched back to what it was before; see ``kb.curate.undo``."""
        return jobs.undo_job(self, job_id, force=force)

    def verify(
        self, *, collection: str | None = None, full: bool = False, on_note: Callable[[str], None] | None = None
    ) -> Iterator[Problem]:
        """Yield every difference between the catalog and itself, and between the index or the model and the catalog.

        Args:
            collection: Look at this one's documents and index only; None for all.
            full: Look at every value; see ``kb.maintain.verify``.
            on_note: Is told what could not be compared, such as a model that is not here.

        Raises:
            NotFoundError: There is no such collection.
            LockedError: Another process owns the knowledge base, so that its index cannot be compared.
        """
        return upkeep.verify(self, collection, full=full, on_note=on_note)

    def plan_rebuild(self, *, collection: str | None = None) -> RebuildPlan:
        """Return what building the indexes of one collection, or of all, again would take; raises as ``rebuild``."""
        return upkeep.plan_rebuild(self, collection)

    def rebuild(self, *, collection: str | None = None) -> None:
        """Build the indexes again from the catalog, without a model; the old files stay in ``quarantine/``.

        Args:
            collection: Of this one only; None for all.

        Raises:
            NotFoundError: There is no such collection.
            LimitError: There is too little room on the disk; nothing was done.
            LockedError: Another process owns the knowledge base.
            DamagedError: The old files cannot be put aside.
        """
        for _ in self.rebuild_steps(collection=collection):
            pass

    def rebuild_steps(self, *, collection: str | None = None) -> Iterator[RebuildStep]:
        """Build the indexes again step by step; as ``rebuild``."""
        return upkeep.rebuild_steps(self, collection)

    def stats(self, *, collection: str | None = None) -> Stats:
        """Return figures of one stored collection, or of all, and of the disk.

        Raises:
            NotFoundError: There is no such collection.
        """
        return upkeep.stats(self, collection)

    def unreadable(self, *, collection: str | None = None) -> list[str]:
        """Return the ids of the documents that a damaged catalog does not give back; none where it is sound.

        Raises:
            NotFoundError: There is no such collection.
        """
        return upkeep.unreadable(self, collection)

    def back_up(self, name: str | None = None) -> Backup:
        """Back it up as it is at this moment, while it is in use; see ``kb.maintain.create_backup``."""
        return upkeep.back_up(self, name)

    def backups(self) -> list[Backup]:
        """Return its backups, oldest first; ``kb.restoring.restore`` makes a knowledge base of one."""
        return upkeep.backups(self)

    def doctor(self) -> Examination:
        """Return what there is and what is wrong, from versions to disk; ``kb.maintain.examine`` needs it not open."""
        return upkeep.doctor(self)

    def delete_collection(self, name: str) -> int:
        """Delete a collection with its documents, their history, its jobs and its index; return how many documents.

        There is no way back but a backup. What ``config.toml`` declares stays declared: the collection is then empty.

        Raises:
            NotFoundError: Nothing is stored of it.
            ConflictError: A job is running.
        """
        return cleaning.delete_collection(self, name)

    def plan_purge(self, *ids: str, collection: str | None = None, older_than: timedelta | None = None) -> PurgePlan:
        """Return what purging deleted documents would do.

        Args:
            ids: Which; none for all that are deleted.
            collection: Only of this one; it must be named with ids, where there are several.
            older_than: Only those that were deleted so long ago.

        Raises:
            ConflictError: One of the documents exists: it is deleted first.
            NotFoundError: None of them ever existed, or nothing is stored yet.
        """
        return cleaning.purge_plan(self, ids, collection=collection, older_than=older_than)

    def purge(self, plan: PurgePlan, *, progress: Callable[[Step], None] | None = None) -> Cleaned:
        """Remove deleted documents from every file but the backups; see ``kb.maintain.purge``."""
        return cleaning.finished(cleaning.purge_steps(self, plan), progress)

    def plan_gc(self, *, older_than: timedelta = _MONTH) -> GcPlan:
        """Return what collecting garbage would do; quarantined indexes and old copies go when they are so old."""
        return cleaning.gc_plan(self, older_than)

    def gc(self, plan: GcPlan, *, progress: Callable[[Step], None] | None = None) -> Cleaned:
        """Delete what nobody needs any more: vectors that nothing uses, and files; see ``kb.maintain.gc``."""
        return cleaning.finished(cleaning.gc_steps(self, plan), progress)

    def plan_compact(self, *, older_than: timedelta = _MONTH) -> CompactPlan:
        """Return what compacting would do; as ``plan_gc``."""
        return cleaning.compact_plan(self, older_than)

    def compact(self, plan: CompactPlan, *, progress: Callable[[Step], None] | None = None) -> Cleaned:
        """Collect garbage and give the disk back what is free; see ``kb.maintain.compact``."""
        return cleaning.finished(cleaning.compact_steps(self, plan), progress)

    def _only_name(self) -> str:
        names = self.names()
        if len(names) == 1:
            return names[0]
        if not names:
            raise NotFoundError("there is no collection yet", hint="declare one in config.toml: [collections.NAME]")
        raise NotFoundError("there are several collections", hint=f"name one with -c: {', '.join(names)}")
