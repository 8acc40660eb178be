"""``KnowledgeBase``: what can be done with a knowledge base as a whole, mostly as methods of one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kb import jobs, upkeep
from kb.collection import Collection, OnProgress
from kb.declaration import declaration_of, declare
from kb.errors import NotFoundError, nearest
from kb.ingest import Progress, last_of
from kb.opened import Opened

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from kb.catalog import Job, JobStatus, Reject
    from kb.config import Settings
    from kb.curate import UndoPlan
    from kb.embed import Encoder
    from kb.maintain import Backup, Problem, Stats
    from kb.schema import Document


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
            stored = self._reconciled(stored, declared)
        if declared is None:
            assert stored is not None  # else it was not found
            declared = declaration_of(stored)
        self._collections[name] = Collection(self, name, declared, stored)
        return self._collections[name]

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

    def verify(self, *, collection: str | None = None, full: bool = False) -> Iterator[Problem]:
        """Yield every difference between the catalog and itself, and between the index and the catalog.

        Args:
            collection: Look at this one's documents and index only; None for all.
            full: Look at every value; see ``kb.maintain.verify``.

        Raises:
            NotFoundError: There is no such collection.
            LockedError: Another process owns the knowledge base, so that its index cannot be compared.
        """
        return upkeep.verify(self, collection, full=full)

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

    def _only_name(self) -> str:
        names = self.names()
        if len(names) == 1:
            return names[0]
        if not names:
            raise NotFoundError("there is no collection yet", hint="declare one in config.toml: [collections.NAME]")
        raise NotFoundError("there are several collections", hint=f"name one with -c: {', '.join(names)}")
