"""How a run of an import ends: in which state, with which figures and warnings."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from kb import catalog as cat
from kb.catalog import Counts, JobStatus
from kb.errors import UsageError
from kb.ingest.cancelling import StopJobError
from kb.write import refresh_sample

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from kb.catalog import Job
    from kb.ingest.state import Run


def check_whole(run: Run) -> None:
    """Make sure, when an atomic import goes on, that its transaction is still this thread's.

    Raises:
        StopJobError: The knowledge base is being closed.
        UsageError: Another thread began it.
    """
    catalog = run.target.catalog
    if not run.is_whole:
        return
    if catalog.is_closing:
        raise StopJobError(JobStatus.INTERRUPTED)
    if not catalog.is_writing:
        raise UsageError(
            "an import with --atomic was stepped by another thread than the one that began it",
            unchanged="nothing was imported (--atomic)",
            hint="ask for all its steps in one thread, or use run_import in a thread of its own",
        )


def closed(run: Run) -> UsageError:
    """Return the error of whoever steps an atomic import on that closing the knowledge base has ended."""
    return UsageError(
        "the knowledge base is closed",
        unchanged="nothing was imported (--atomic)",
        hint=f"open it again, then resume the job {run.job.id}",
    )


def finish(run: Run) -> None:
    """Record that all rows have been read."""
    counts = run.job.counts
    if run.rehearsal is None and counts.read + counts.removed > counts.unchanged:
        run.target.catalog.analyse()
        refresh_sample(run.target.catalog, run.target.collection)
    stop(run, JobStatus.PARTIAL if counts.rejected else JobStatus.DONE, None)


def stop(run: Run, status: JobStatus, error: str | None) -> None:
    """Record the end of this run; the counts are the catalog's, whatever the last batch came to."""
    seconds = time.monotonic() - run.began
    catalog = run.target.catalog
    with catalog.writing:
        if run.rehearsal is not None or catalog.is_shut:  # whoever shut it has recorded the end
            run.job = replace(run.job, status=status, error=error, seconds=seconds, warnings=_warnings(run, run.job))
            return
        with catalog.write() as connection:
            stored = cat.find_job(connection, run.job.id)
            assert stored is not None
            if run.kept_rejects and status is not JobStatus.DONE:
                cat.add_rejects(connection, run.job.id, run.kept_rejects)
                rejected = len(run.kept_rejects)
                stored = replace(stored, counts=Counts(read=rejected, rejected=rejected))
            run.job = replace(
                stored,
                status=status,
                error=error,
                seconds=seconds,
                rejects=run.job.rejects,
                total=run.job.total,
                warnings=(*_warnings(run, stored), *_refused_by_index(run, connection)),
            )
            cat.save_job(connection, run.job)


def _warnings(run: Run, job: Job) -> tuple[str, ...]:
    return run.doubts.sentences(run.place, divided=job.divided, most_chunks=job.most_chunks)


def _refused_by_index(run: Run, connection: Connection) -> tuple[str, ...]:
    refused = cat.refused_by_job(connection, run.target.collection.id, cat.VECTORS, run.job.id)
    if not refused:
        return ()
    documents = "1 document" if len(refused) == 1 else f"{len(refused):,} documents"
    first = f"first '{refused[0].key}' ({refused[0].reason})"
    return (f"{documents} that the vector index does not take, {first}; stored, and compared exactly by every search",)
