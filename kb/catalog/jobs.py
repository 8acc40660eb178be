"""Jobs and their rejects in the catalog."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import case, delete, false, func, insert, select, update

from kb.catalog.engine import now
from kb.catalog.tables import collections, jobs, rejects

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import ColumnElement, Connection, Row, Select

MAX_STORED_REJECTS: Final = 10_000
KEPT_JOBS: Final = 1_000
"""How many jobs that have ended are kept, the newest; older ones go when a new job starts."""
_MAX_ERROR: Final = 2_000


class JobStatus(StrEnum):
    """Where a job stands.

    ::

        running ──▶ done         every row is in
           │ ├────▶ partial      some rows were rejected; the rest is in
           │ └────▶ failed       stopped by an error; what was acknowledged is in
           ├──────▶ interrupted  killed or stopped by a signal; what was acknowledged is in
           └──────▶ cancelled    by ``kb jobs cancel``; what was acknowledged is in
        interrupted, failed ──▶ running    by ``kb jobs resume``
        interrupted, failed ──▶ cancelled  by ``kb jobs cancel``, or when the job is undone
    """

    RUNNING = "running"
    DONE = "done"
    PARTIAL = "partial"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"

    @property
    def is_resumable(self) -> bool:
        """Whether such a job can be continued."""
        return self in (JobStatus.INTERRUPTED, JobStatus.FAILED)


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the rows read so far: ``read = new + updated + fields_only + unchanged + conflicts + rejected``.

    ``conflicts`` counts the rows that were left out because their document had been edited; ``removed`` the documents
    that were deleted because they had vanished from their source; ``embedded`` the texts for which the model was
    called.
    """

    read: int = 0
    new: int = 0
    updated: int = 0
    fields_only: int = 0
    unchanged: int = 0
    rejected: int = 0
    embedded: int = 0
    conflicts: int = 0
    removed: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Return the sum, figure by figure."""
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Job:
    """One recorded, resumable operation.

    Attributes:
        id: Sortable by start time.
        collection: The collection's name.
        kind: ``import`` or ``undo``.
        status: Where it stands; ``running`` of a process that no longer exists is shown as ``interrupted``.
        request: What was asked for, as JSON, enough to continue it.
        counts: As of the last commit.
        rejects: The reject file, or None while nothing was rejected.
        rejects_bytes: The length of the reject file as of the last commit.
        pid: The process that runs or ran it.
        who: The user that started it.
        started: When, in UTC.
        seconds: How long it has run, over all its runs.
        error: Why it failed, or None.
        source: The name of the source that was imported, or None.
        position: How much of the input has been read as of the last commit, in bytes (rows for a data frame).
        total: How much there is, in the same unit; None when that is unknown.
        warnings: What looked wrong but was imported, one sentence each.
        divided: How many of the documents that it gave new text are longer than one chunk.
        most_chunks: The chunks of the longest of them; 0 when none is divided.
    """

    id: str
    collection: str
    kind: str
    status: JobStatus
    request: str
    counts: Counts
    rejects: str | None
    rejects_bytes: int
    pid: int
    who: str
    started: str
    seconds: float
    error: str | None
    source: str | None = None
    position: int = 0
    total: int | None = None
    warnings: tuple[str, ...] = ()
    divided: int = 0
    most_chunks: int = 0

    @classmethod
    def rehearsal(cls, collection: str, kind: str, request: str, who: str, source: str | None = None) -> Job:
        """Return a job that is counted but never stored: its id is empty."""
        running, counts = JobStatus.RUNNING, Counts()
        return cls(
            "", collection, kind, running, request, counts, None, 0, os.getpid(), who, now(), 0.0, None, source=source
        )


@dataclass(frozen=True, slots=True)
class Reject:
    """One input row that a job refused: record number and physical line of the file, and the reason."""

    file: str
    number: int
    line: int
    reason: str


def add_job(
    connection: Connection, collection_id: int, *, kind: str, request: str, who: str, source: str | None = None
) -> Job:
    """Record the start of a job in this process and return it; the oldest of more than 1,000 ended ones go."""
    _prune(connection)
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    job_id = f"{stamp}-{secrets.token_hex(3)}"
    connection.execute(
        insert(jobs).values(
            id=job_id,
            collection_id=collection_id,
            kind=kind,
            status=JobStatus.RUNNING,
            request=request,
            pid=os.getpid(),
            who=who,
            source=source,
            started=now(),
        )
    )
    job = find_job(connection, job_id)
    assert job is not None
    return job


def save_job(connection: Connection, job: Job) -> None:
    """Write the state of a job; part of the transaction that commits its work."""
    connection.execute(
        update(jobs)
        .where(jobs.c.id == job.id)
        .values(
            status=job.status,
            rejects_path=job.rejects,
            rejects_bytes=job.rejects_bytes,
            pid=job.pid,
            seconds=job.seconds,
            position=job.position,
            total=job.total,
            warnings=json.dumps(job.warnings, ensure_ascii=False),
            divided=job.divided,
            most_chunks=job.most_chunks,
            error=None if job.error is None else job.error[:_MAX_ERROR],
            **asdict(job.counts),
        )
    )


def interrupt_running(connection: Connection, *, besides: Collection[str] = ()) -> None:
    """Note that no other job is running any more; called by the owner, since only an owner runs jobs."""
    lost = (jobs.c.status == JobStatus.RUNNING) & jobs.c.id.not_in(besides)
    connection.execute(update(jobs).where(lost).values(status=JobStatus.INTERRUPTED))


def find_job(connection: Connection, job_id: str, *, alive: Collection[str] | None = None) -> Job | None:
    """Return the job of that id, or None; as ``list_jobs``."""
    row = connection.execute(_query().where(jobs.c.id == job_id)).first()
    return None if row is None else _job(row, alive)


def list_jobs(
    connection: Connection,
    *,
    status: JobStatus | None = None,
    alive: Collection[str] | None = None,
    limit: int | None = None,
) -> list[Job]:
    """Return the newest jobs, newest first, as they are: of those that say running, the dead are interrupted.

    Args:
        connection: In a transaction.
        status: Only these; None for all.
        alive: The ids of those that are running; None to believe what they say.
        limit: The most jobs; None for all.
    """
    query = _query().order_by(jobs.c.started.desc(), jobs.c.id.desc()).limit(limit)
    if status is not None:
        query = query.where(_status(alive) == status)
    return [_job(row, alive) for row in connection.execute(query)]


def count_jobs(connection: Connection, *, status: JobStatus | None = None, alive: Collection[str] | None = None) -> int:
    """Return how many jobs there are; as ``list_jobs``."""
    query = select(func.count()).select_from(jobs)
    if status is not None:
        query = query.where(_status(alive) == status)
    return int(connection.execute(query).scalar_one())


def add_rejects(connection: Connection, job_id: str, new: Sequence[Reject]) -> None:
    """Record rejects, up to 10,000 a job; the reject file has all of them."""
    if not new:
        return
    stored = connection.execute(
        select(func.count()).select_from(rejects).where(rejects.c.job_id == job_id)
    ).scalar_one()
    room = new[: max(0, MAX_STORED_REJECTS - stored)]
    if room:
        connection.execute(insert(rejects), [{"job_id": job_id, **asdict(reject)} for reject in room])


def forget_rejects(connection: Connection, job_id: str) -> None:
    """Take the recorded rejects of a job off, which starts again from the first row."""
    connection.execute(delete(rejects).where(rejects.c.job_id == job_id))


def get_rejects(connection: Connection, job_id: str) -> list[Reject]:
    """Return the recorded rejects of a job in the order of its input."""
    query = select(rejects).where(rejects.c.job_id == job_id).order_by(rejects.c.file, rejects.c.number)
    return [Reject(row.file, row.number, row.line, row.reason) for row in connection.execute(query)]


def _prune(connection: Connection) -> None:
    """Delete the oldest jobs with their stored rejects; revisions keep their number, reject files stay."""
    ended = select(jobs.c.id).where(jobs.c.status != JobStatus.RUNNING)
    # The job that is about to start will have ended one day, too.
    surplus = ended.order_by(jobs.c.started.desc(), jobs.c.id.desc()).limit(-1).offset(KEPT_JOBS - 1)
    connection.execute(delete(jobs).where(jobs.c.id.in_(surplus)))


def _query() -> Select[Any]:
    return select(jobs, collections.c.name.label("collection")).join(collections)


def _status(alive: Collection[str] | None) -> ColumnElement[str]:
    dead = false() if alive is None else (jobs.c.status == JobStatus.RUNNING) & jobs.c.id.not_in(alive)
    return case((dead, JobStatus.INTERRUPTED.value), else_=jobs.c.status)


def _job(row: Row[Any], alive: Collection[str] | None) -> Job:
    status = JobStatus(row.status)
    if status is JobStatus.RUNNING and alive is not None and row.id not in alive:
        status = JobStatus.INTERRUPTED
    return Job(
        id=row.id,
        collection=row.collection,
        kind=row.kind,
        status=status,
        request=row.request,
        counts=Counts(**{f.name: getattr(row, f.name) for f in fields(Counts)}),
        rejects=row.rejects_path,
        rejects_bytes=row.rejects_bytes,
        pid=row.pid,
        who=row.who,
        started=row.started,
        seconds=row.seconds,
        error=row.error,
        source=row.source,
        position=row.position,
        total=row.total,
        warnings=tuple(json.loads(row.warnings)),
        divided=row.divided,
        most_chunks=row.most_chunks,
    )
