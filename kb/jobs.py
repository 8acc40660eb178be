"""The jobs of an open knowledge base: looked at, continued, cancelled, undone."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from kb import catalog as cat
from kb.catalog import Job, JobStatus
from kb.curate import UNDO, UndoPlan, plan_undo, undo
from kb.errors import ConflictError, NotFoundError, nearest
from kb.ingest import Progress, cancelling, resume_import
from kb.reembedding import KIND as REEMBED

if TYPE_CHECKING:
    from collections.abc import Generator

    from kb.catalog import Reject
    from kb.knowledge_base import KnowledgeBase

_POLL_SECONDS: Final = 0.05


def list_jobs(base: KnowledgeBase, *, status: JobStatus | None, limit: int | None) -> list[Job]:
    """Return the newest jobs, newest first; of one status unless that is None."""
    catalog = base.catalog
    if catalog is None:
        return []
    with catalog.read() as connection:
        return cat.list_jobs(connection, status=status, alive=_alive(base), limit=limit)


def count_jobs(base: KnowledgeBase, *, status: JobStatus | None) -> int:
    """Return how many jobs there are; of one status unless that is None."""
    catalog = base.catalog
    if catalog is None:
        return 0
    with catalog.read() as connection:
        return cat.count_jobs(connection, status=status, alive=_alive(base))


def find_job(base: KnowledgeBase, job_id: str) -> Job:
    """Return a job.

    Raises:
        NotFoundError: There is none of that id.
    """
    catalog = base.catalog
    if catalog is not None:
        with catalog.read() as connection:
            job = cat.find_job(connection, job_id, alive=_alive(base))
        if job is not None:
            return job
    known = [job.id for job in list_jobs(base, status=None, limit=20)]
    raise NotFoundError(f"there is no job '{job_id}'", hint=nearest(job_id, known) or "no job has run yet")


def get_rejects(base: KnowledgeBase, job_id: str) -> list[Reject]:
    """Return the recorded rejects of a job; raises as ``find_job``."""
    find_job(base, job_id)
    assert base.catalog is not None
    with base.catalog.read() as connection:
        return cat.get_rejects(connection, job_id)


def resume_steps(base: KnowledgeBase, job_id: str) -> Generator[Progress]:
    """Continue an interrupted or failed import, or the building of a generation, step by step.

    Raises:
        NotFoundError: There is no such job.
        ConflictError: It has ended for good, or read what cannot be read twice.
        SourceChangedError: Its input has changed.
    """
    job = find_job(base, job_id)
    if job.status is JobStatus.RUNNING:
        raise ConflictError(f"the job {job_id} is running", unchanged="nothing was imported")
    if job.kind == REEMBED:
        yield from base.stored_collection(job.collection).resume_reembed(job)
        return
    if job.status is JobStatus.CANCELLED:
        raise ConflictError(
            f"the job {job_id} is cancelled: it cannot be resumed",
            unchanged="nothing was imported",
            hint="import the same data again: rows that are in already are skipped as unchanged",
        )
    if job.kind == UNDO:
        raise ConflictError(f"the job {job_id} is an undo: it is complete", unchanged="nothing was changed")
    collection = base.collection(job.collection)
    target = collection.target()
    yield from resume_import(target, find_job(base, job_id), rejects_folder=base.rejects_folder())
    collection.prepare_queries()


def cancel(base: KnowledgeBase, job_id: str, *, wait: float) -> Job:
    """End a job for good, and return it: cancelled, or still running if it has not come to its next commit in time.

    Args:
        base: The knowledge base; another process may be running the job.
        job_id: The job.
        wait: How many seconds to wait for a running job to end.

    Raises:
        NotFoundError: There is no such job.
        ConflictError: It has ended, or ended in another way before it could be cancelled.
        LockedError: It was interrupted, and another process owns the knowledge base now.
    """
    job = find_job(base, job_id)
    was_running = job.status is JobStatus.RUNNING
    if was_running:
        cancelling.request(base.settings.storage, job_id)
        deadline = time.monotonic() + wait
        while (job := find_job(base, job_id)).status is JobStatus.RUNNING:
            if time.monotonic() >= deadline:
                return job
            time.sleep(_POLL_SECONDS)
        cancelling.forget(base.settings.storage, job_id)
    if job.status.is_resumable:
        return _cancel_stopped(base, job_id)
    if was_running and job.status is JobStatus.CANCELLED:
        return job
    since = "was not cancelled in time: it is" if was_running else "is already"
    raise ConflictError(
        f"the job {job_id} {since} {job.status}",
        unchanged="nothing was cancelled",
        hint=(
            f"kb reembed -c {job.collection} --discard deletes what it built"
            if job.kind == REEMBED
            else f"kb jobs undo {job_id} takes back what it did"
        ),
    )


def plan(base: KnowledgeBase, job_id: str) -> UndoPlan:
    """Return what undoing a job would do; raises as ``curate.plan_undo``."""
    job = find_job(base, job_id)
    catalog, stored = base.catalog, base.stored_collections()
    assert catalog is not None
    return plan_undo(catalog, next(one for one in stored if one.name == job.collection), job)


def undo_job(base: KnowledgeBase, job_id: str, *, force: bool) -> Job:
    """Undo a job; see ``curate.undo``."""
    job = find_job(base, job_id)
    target = base.collection(job.collection).target()
    _settle(target.catalog)
    return undo(target, job_id, force=force)


def end(catalog: cat.Catalog) -> None:
    """Interrupt the jobs that other threads run, after the batch that is being written, and shut the catalog.

    An atomic import is rolled back, also one that nobody goes on with.
    """
    catalog.end_suspended()
    try:
        if catalog.running and not catalog.is_shut:
            with catalog.write() as connection:
                others = cancelling.alive(catalog.path.parent) - catalog.running.keys()
                cat.interrupt_running(connection, besides=others)
    finally:
        catalog.shut()
        catalog.writing.release()


def _cancel_stopped(base: KnowledgeBase, job_id: str) -> Job:
    catalog = base.own()
    _settle(catalog)
    with catalog.writing, catalog.write() as connection:
        job = cat.find_job(connection, job_id)
        if job is None or not job.status.is_resumable:
            now = "gone" if job is None else job.status
            raise ConflictError(f"the job {job_id} is {now} by now", unchanged="nothing was cancelled")
        cancelled = replace(job, status=JobStatus.CANCELLED)
        cat.save_job(connection, cancelled)
    return cancelled


def _settle(catalog: cat.Catalog) -> None:
    """Note as interrupted what says that it is running and is not, e.g. because the disk was full when it failed."""
    with catalog.write() as connection:
        cat.interrupt_running(connection, besides=cancelling.alive(catalog.path.parent))


def _alive(base: KnowledgeBase) -> set[str]:
    """Return the jobs that are running, in whichever process."""
    return cancelling.alive(base.settings.storage)
