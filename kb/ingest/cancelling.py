"""Stopping a job from outside: a file asks for it, since only the owner of the catalog may write there."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from kb.catalog import JobStatus, find_job, save_job
from kb.errors import ConflictError
from kb.file_lock import FileLock, is_held

if TYPE_CHECKING:
    from pathlib import Path

    from kb.catalog import Catalog, Job

FOLDER: Final = "cancel"
RUNNING: Final = "running"
"""The folder of one file for each job that runs, which its process has locked."""


_LOOK_SECONDS: Final = 5.0  # longer than others look at it


class StopJobError(Exception):
    """Raised between two commits of a job that is to end here; never leaves the steps of the job.

    Args:
        status: How it ends.
    """

    def __init__(self, status: JobStatus) -> None:
        super().__init__(status)
        self.status = status


def request(storage: Path, job_id: str) -> None:
    """Ask for a running job to be cancelled, from any process.

    Args:
        storage: The folder of the knowledge base.
        job_id: An existing job.
    """
    folder = storage / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / job_id).touch(mode=0o600)


def is_requested(storage: Path, job_id: str) -> bool:
    """Return whether somebody wants the job to be cancelled."""
    return (storage / FOLDER / job_id).exists()


def forget(storage: Path, job_id: str) -> None:
    """Take a request back; harmless when there is none."""
    (storage / FOLDER / job_id).unlink(missing_ok=True)


def alive(storage: Path) -> set[str]:
    """Return the ids of the jobs that run at this moment, in whichever process."""
    folder = storage / RUNNING
    return {path.name for path in folder.iterdir() if is_held(path)} if folder.is_dir() else set()


def began(catalog: Catalog, job: Job, *, is_resumed: bool) -> None:
    """Let it be known that a job runs in this process, and forget what was asked of an earlier run of it.

    Args:
        catalog: Its folder is the storage.
        job: As it is now; nothing is known of a rehearsal, whose id is empty.
        is_resumed: Whether an earlier run of it was interrupted.

    Raises:
        ConflictError: Another thread has resumed, cancelled or undone it since it was looked at.
    """
    if not job.id:
        return
    storage = catalog.path.parent
    with catalog.writing, ExitStack() as undone:
        with catalog.write() as connection:
            if is_resumed:
                _check_resumable(find_job(connection, job.id, alive=alive(storage)), job)
                forget(storage, job.id)
            save_job(connection, job)
            # Before anybody else may write: they would take it for lost.
            (storage / RUNNING).mkdir(mode=0o700, exist_ok=True)
            catalog.running[job.id] = FileLock(storage / RUNNING / job.id, wait=_LOOK_SECONDS)
            undone.callback(ended, catalog, job)
        undone.pop_all()  # it is committed


def _check_resumable(stored: Job | None, job: Job) -> None:
    if stored is None or not stored.status.is_resumable or stored.counts != job.counts:
        raise ConflictError(
            f"the job {job.id} has just been resumed, cancelled or undone by somebody else",
            unchanged="nothing was imported",
            hint=f"kb jobs show {job.id}",
        )


def ended(catalog: Catalog, job: Job) -> None:
    """Let it be known that a job does not run any more, however it ended."""
    if job.id:
        storage = catalog.path.parent
        lock = catalog.running.pop(job.id, None)
        if lock is not None:
            (storage / RUNNING / job.id).unlink(missing_ok=True)
            lock.release()
        forget(storage, job.id)


def check(catalog: Catalog, job: Job) -> None:
    """Look, after a commit, whether the job may go on.

    Raises:
        StopJobError: It was cancelled, or the program is ending around it: a thread of its own would keep it alive.
    """
    if job.id and is_requested(catalog.path.parent, job.id):
        raise StopJobError(JobStatus.CANCELLED)
    if not threading.main_thread().is_alive():
        raise StopJobError(JobStatus.INTERRUPTED)
