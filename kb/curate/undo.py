"""Undoing a job: every document that it touched becomes what it was before it, in one transaction."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from kb import catalog as cat
from kb.catalog import Counts, Job, JobChange, JobStatus
from kb.errors import ConflictError, DocumentError, NotFoundError, SchemaMismatchError
from kb.write import Target, put, remove

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kb.schema import Document, Schema

KIND: Final = "undo"
"""The kind of the jobs that undo others."""

_NAMED: Final = 5
"""How many documents a message names."""


@dataclass(frozen=True, slots=True)
class UndoRequest:
    """What an undo was asked for: the job to undo, and whether later changes are undone with it."""

    job: str
    force: bool = False

    def to_json(self) -> str:
        """Return the request as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> UndoRequest:
        """Return the request that ``to_json`` wrote."""
        return cls(**json.loads(text))


class _Fate(StrEnum):
    """What undoing does to one document."""

    DELETED = "deleted"
    RESTORED = "restored"
    CHANGED = "changed"
    AS_BEFORE = "as before"  # nothing: it is already what it was before the job


@dataclass(frozen=True, slots=True)
class UndoPlan:
    """What undoing a job would do, in documents.

    Attributes:
        job: The job to undo.
        deleted: Documents that it added.
        restored: Documents that it deleted.
        changed: Documents that it changed.
        as_before: Documents that are already as they were before it.
        conflicts: Those of the first three that something else has changed since.
        some: The ids of the first of these.
    """

    job: Job
    deleted: int
    restored: int
    changed: int
    as_before: int
    conflicts: int
    some: tuple[str, ...]

    @property
    def touched(self) -> int:
        """How many documents would become others."""
        return self.deleted + self.restored + self.changed


def plan_undo(catalog: cat.Catalog, collection: cat.StoredCollection, job: Job) -> UndoPlan:
    """Return what undoing a job would do.

    Raises:
        ConflictError: It is running.
        SchemaMismatchError: A document that it replaced or deleted does not fit the schema any more.
    """
    with catalog.read() as connection:
        return _plan(connection, collection, job)


def undo(target: Target, job_id: str, *, force: bool) -> Job:
    """Set every document that a job touched back to what it was before, all or none, and return the job that did it.

    Documents that it added are deleted, documents that it deleted come back, the others get their earlier fields. A
    job that could be resumed becomes ``cancelled``. The job that is returned can be undone like any other.

    Args:
        target: The collection of the job.
        job_id: The job.
        force: Also set back documents that something else has changed since.

    Raises:
        NotFoundError: There is no such job.
        ConflictError: It is running, has nothing left to undo, or documents have been changed since.
        SchemaMismatchError: A document that it replaced or deleted does not fit the schema any more.
        EncoderError: A vector is missing, and the model failed.
    """
    began = time.monotonic()
    catalog, collection = target.catalog, target.collection
    with catalog.writing, catalog.write() as connection:
        job = cat.find_job(connection, job_id)
        if job is None:
            raise NotFoundError(f"there is no job '{job_id}'", hint="it has just been pruned")
        _refuse(_plan(connection, collection, job), force=force)
        request = UndoRequest(job.id, force).to_json()
        undoing = cat.add_job(connection, collection.id, kind=KIND, request=request, who=target.who, source=job.source)
        # The index follows what has been committed, not what may still be rolled back.
        inner = replace(target, follow=lambda: None)
        sources = cat.origins_sources(connection, collection.id, job.id)
        counts = Counts()
        for changes in _changes(connection, collection, job):
            undone = [change for change in changes if _fate(change) is not _Fate.AS_BEFORE]
            counts += _set_back(inner, undone, by=undoing)
            cat.set_back_origins(connection, collection.id, undone, sources=sources, job=job, by=undoing.id)
        cat.set_back_other_origins(connection, collection.id, job=job.id, by=undoing.id)
        if job.status.is_resumable:
            cat.save_job(connection, replace(job, status=JobStatus.CANCELLED))
        seconds = time.monotonic() - began
        done = replace(undoing, status=JobStatus.DONE, counts=counts, seconds=seconds)
        cat.save_job(connection, done)
    target.follow()
    return done


def _plan(connection: cat.Connection, collection: cat.StoredCollection, job: Job) -> UndoPlan:
    if job.status is JobStatus.RUNNING:
        raise ConflictError(
            f"the job {job.id} is running", unchanged="nothing was undone", hint=f"first: kb jobs cancel {job.id}"
        )
    fates: Counter[_Fate] = Counter()
    conflicts: list[str] = []
    misfits: list[str] = []
    for changes in _changes(connection, collection, job):
        for change in changes:
            fate = _fate(change)
            fates[fate] += 1
            if fate is _Fate.AS_BEFORE:
                continue
            if change.interleaved or not _same(change.now, change.after):
                conflicts.append(change.key)
            problem = _problem(collection.schema, change)
            misfits += [f"{change.key}: {problem}"] if problem else []
    if misfits:
        raise SchemaMismatchError(
            f"the schema does not fit {_counted(len(misfits))} that the job {job.id} replaced or deleted: "
            f"{_some(misfits[:_NAMED], len(misfits))}",
            unchanged="nothing was undone",
            hint="put the declaration of the fields back",
        )
    return UndoPlan(
        job,
        deleted=fates[_Fate.DELETED],
        restored=fates[_Fate.RESTORED],
        changed=fates[_Fate.CHANGED],
        as_before=fates[_Fate.AS_BEFORE],
        conflicts=len(conflicts),
        some=tuple(conflicts[:_NAMED]),
    )


def _refuse(plan: UndoPlan, *, force: bool) -> None:
    job = plan.job.id
    if not plan.touched:
        why = f"{_counted(plan.as_before)} as before it" if plan.as_before else "it changed no document"
        raise ConflictError(f"there is nothing to undo of the job {job}: {why}", unchanged="nothing was undone")
    if plan.conflicts and not force:
        raise ConflictError(
            f"something else has since changed {_counted(plan.conflicts)} that the job {job} touched: "
            f"{_some(plan.some, plan.conflicts)}",
            unchanged="nothing was undone",
            hint=f"kb history {plan.some[0]} shows by whom; --force sets back those, too",
        )


def _set_back(target: Target, changes: list[JobChange], *, by: Job) -> Counts:
    gone = [change.key for change in changes if change.before is None]
    documents = [_document(target.collection.schema, change) for change in changes if change.before is not None]
    removed = remove(target, gone, job=by.id)
    outcome = put(target, documents, job=by.id, restoring=True)
    return outcome.counts + Counts(removed=len(removed))


def _changes(connection: cat.Connection, collection: cat.StoredCollection, job: Job) -> Iterator[list[JobChange]]:
    keys = cat.keys_of_job(connection, collection.id, job.id)
    for start in range(0, len(keys), cat.MAX_KEYS):
        yield cat.changes_of_job(connection, collection.id, job.id, keys[start : start + cat.MAX_KEYS])


def _fate(change: JobChange) -> _Fate:
    if _same(change.now, change.before):
        return _Fate.AS_BEFORE
    if change.before is None:
        return _Fate.DELETED
    return _Fate.RESTORED if change.now is None else _Fate.CHANGED


def _same(one: str | None, other: str | None) -> bool:
    if one is None or other is None or one == other:
        return one == other
    # A declaration with its fields in another order stores the same values as another text.
    return bool(json.loads(one) == json.loads(other))


def _document(schema: Schema, change: JobChange) -> Document:
    assert change.before is not None
    return schema.load(change.key, change.before)


def _problem(schema: Schema, change: JobChange) -> str | None:
    """Return why the document as it was does not fit the schema as it is, or None when it does."""
    if change.before is None:
        return None
    unknown = [name for name in json.loads(change.before) if name not in schema.fields]
    if unknown:
        return f"there is no field '{unknown[0]}' any more"
    try:
        schema.check(_document(schema, change))
    except DocumentError as error:
        return "; ".join(error.problems)
    return None


def _counted(number: int) -> str:
    return f"{number:,} document" + ("" if number == 1 else "s")


def _some(names: Sequence[str], number: int) -> str:
    return ", ".join(names) + (", …" if number > len(names) else "")
