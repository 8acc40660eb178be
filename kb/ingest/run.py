"""The import: rows → documents or rejects → batches → one transaction each. Reads like design's write path."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING

from kb import catalog as cat
from kb.catalog import Counts, Job, JobStatus
from kb.errors import ConflictError, KBError, SourceChangedError, SourceError, UsageError
from kb.ingest.batches import batches, check_rejects
from kb.ingest.cancelling import StopJobError, began, check, ended
from kb.ingest.commit import commit
from kb.ingest.ending import check_whole, closed, finish, stop
from kb.ingest.garbage import rare_collections
from kb.ingest.origins import check_source, remove_vanished, vanished
from kb.ingest.plan import Outcome, Plan, check_plan
from kb.ingest.progress import Progress
from kb.ingest.request import ImportRequest, OnConflict
from kb.ingest.resolving import resolve_all
from kb.ingest.state import Rehearsal, Run
from kb.sources import check_same_shape, expand_inputs, open_frame, open_rejects, open_source

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from kb.sources import Source
    from kb.write import Target


def import_files(
    target: Target, request: ImportRequest, *, rejects_folder: Path, dry_run: bool = False
) -> Generator[Progress]:
    """Import files as one job, yielding progress after every commit; the last one carries the finished job.

    A row that does not fit is rejected with all its problems and the rest goes on; rejected rows are written to a
    file of the input's own format in ``rejects_folder``.

    Args:
        target: The collection.
        request: The files and how to read them; its fingerprints are filled in.
        rejects_folder: An existing folder.
        dry_run: Do everything but embed and write.

    An atomic import keeps one transaction from its second step to its last: all its steps must be asked for by one
    thread, which cannot write anything else meanwhile, and other threads wait. Closing or dropping it rolls back.

    Raises:
        SourceError: A file cannot be read as a whole; what was committed before it stays.
        UsageError: The mapping or the policy does not fit, or an atomic import was stepped by two threads.
        EncoderError: The model failed; what was committed before stays.
        ConflictError: A row is in conflict with an edit, or more has vanished than may be deleted.
    """
    request, sources = _opened(request)
    rehearsal = Rehearsal() if dry_run else None
    yield from _import(target, request, sources, rejects_folder=rejects_folder, rehearsal=rehearsal)


def import_frame(
    target: Target, frame: object, request: ImportRequest, *, rejects_folder: Path, dry_run: bool = False
) -> Generator[Progress]:
    """Import a data frame; as ``import_files``, with rejects in JSON Lines. Such a job cannot be resumed."""
    source = open_frame(frame)
    request = replace(request, files=(source.name,), fingerprints=(None,))
    rehearsal = Rehearsal() if dry_run else None
    yield from _import(target, request, [source], rejects_folder=rejects_folder, rehearsal=rehearsal)


def plan_import(target: Target, request: ImportRequest, *, rejects_folder: Path) -> Plan:
    """Return what an import would do to every document; nothing is embedded or written.

    Raises:
        UsageError: The input can be read only once.
        SourceError: It cannot be read as a whole.
    """
    request, sources = _opened(request)
    if None in request.fingerprints:
        raise UsageError("a plan needs files that can be read again", hint="save the input to a file first")
    rehearsal = Rehearsal(outcomes=[])
    with target.catalog.read() as connection:
        change = cat.current_change(connection, target.collection.id)
    run = None
    for run in _runs(target, request, sources, rejects_folder=rejects_folder, rehearsal=rehearsal):  # noqa: B007
        pass
    assert run is not None
    with target.catalog.read() as connection:
        gone = [one.key for one in vanished(run, connection)]
    outcomes = [*(rehearsal.outcomes or []), *(Outcome(key, "vanished") for key in gone)]
    return Plan(
        target.collection.name,
        target.collection.schema.to_json(),
        change,
        request,
        run.job.counts,
        len(gone),
        tuple(outcomes),
        tuple(rehearsal.rejects),
        cat.now(),
        (*run.notes, *run.job.warnings),
        run.refused,
    )


def apply_plan(target: Target, plan: Plan, *, rejects_folder: Path) -> Generator[Progress]:
    """Do what a plan says, or refuse.

    Raises:
        ConflictError: The collection has moved on; nothing was imported.
        SourceChangedError: A file has changed; nothing was imported.
    """
    with target.catalog.read() as connection:
        change = cat.current_change(connection, target.collection.id)
        source = plan.request.policy.source
        brought = [] if source is None else cat.unseen_origins(connection, target.collection.id, source, job="")
    schema = target.collection.schema.to_json()
    check_plan(plan, collection=target.collection.name, schema=schema, change=change)
    read = {one.id for one in plan.outcomes if one.action != "vanished"}
    gone = {one.id for one in plan.outcomes if one.action == "vanished"}
    if {one.key for one in brought} - read != gone:
        raise ConflictError(
            f"'{source}' has been imported since the plan was made",
            unchanged="nothing was imported",
            hint="make the plan again: kb import … --plan",
        )
    sources = _reopened(plan.request, "the plan was made", again=f"kb import {plan.request.files[0]} --plan …")
    yield from _import(target, plan.request, sources, rejects_folder=rejects_folder)


def resume_import(target: Target, job: Job, *, rejects_folder: Path) -> Generator[Progress]:
    """Continue an interrupted or failed import after the last row that it committed.

    Raises:
        ConflictError: The job is finished, or its input is gone for good (standard input, a data frame).
        SourceChangedError: A file is not the one that the job began with.
    """
    request = ImportRequest.from_json(job.request)
    if job.status not in (JobStatus.INTERRUPTED, JobStatus.FAILED):
        raise ConflictError(
            f"the job {job.id} is {job.status}: there is nothing left to read",
            unchanged="nothing was imported",
            hint=f"mend its rejected rows and import them: {job.rejects}" if job.rejects else "",
        )
    if any(fingerprint is None for fingerprint in request.fingerprints):
        raise ConflictError(
            f"the job {job.id} read {request.files[0]}, which cannot be read a second time",
            unchanged="nothing was imported",
            hint="import the same data again: rows that are in already are skipped as unchanged",
        )
    sources = _reopened(request, f"the job {job.id} began", again=f"kb import {request.files[0]}")
    running = replace(job, status=JobStatus.RUNNING, error=None, pid=os.getpid())
    yield from _import(target, request, sources, rejects_folder=rejects_folder, resumed=running)


def _opened(request: ImportRequest) -> tuple[ImportRequest, list[Source]]:
    """Open the inputs of a new import, and note where they are and what they are like."""
    request = replace(request, files=expand_inputs(request.files))
    twice = [name for name in request.files if request.files.count(name) > 1]
    if twice:
        raise UsageError(f"{twice[0]} is named twice", unchanged="nothing was imported", hint="name each file once")
    policy = request.policy
    if policy.sync and policy.source is None:
        raise UsageError("a sync needs the name of its source", hint="--source NAME")
    sources = [open_source(name, request.reading) for name in request.files]
    # A job can be resumed from any folder.
    places = tuple(name if name == "-" else os.path.abspath(name) for name in request.files)  # noqa: PTH100 - no links
    return replace(request, files=places, fingerprints=tuple(_fingerprint(s) for s in sources)), sources


def _reopened(request: ImportRequest, since: str, *, again: str) -> list[Source]:
    """Open inputs that must still be what they were."""
    sources = [open_source(name, request.reading) for name in request.files]
    for source, fingerprint in zip(sources, request.fingerprints, strict=True):
        if _fingerprint(source) != fingerprint:
            raise SourceChangedError(
                f"{source.name} has changed since {since}",
                unchanged="nothing was imported",
                hint=f"import it anew: {again}",
            )
    return sources


def _import(
    target: Target,
    request: ImportRequest,
    sources: list[Source],
    *,
    rejects_folder: Path,
    rehearsal: Rehearsal | None = None,
    resumed: Job | None = None,
) -> Generator[Progress]:
    runs = _runs(target, request, sources, rejects_folder=rejects_folder, rehearsal=rehearsal, resumed=resumed)
    if request.policy.atomic:
        target.catalog.suspended.add(runs)
    has_ended = False
    with closing(runs):
        for run in runs:
            has_ended = run.job.status is not JobStatus.RUNNING
            yield _progress(run, sources)
    if not has_ended:  # it was ended by closing the knowledge base between two steps
        raise closed(run)


def _runs(
    target: Target,
    request: ImportRequest,
    sources: list[Source],
    *,
    rejects_folder: Path,
    rehearsal: Rehearsal | None = None,
    resumed: Job | None = None,
) -> Generator[Run]:
    """Do the work, yielding the state after every commit and at the end."""
    schema = target.collection.schema
    check_same_shape(sources)
    # Every input is checked before the first row of any is imported.
    columns = resolve_all(schema, request, sources)
    run = _new_run(target, request, sources, rejects_folder=rejects_folder, rehearsal=rehearsal, resumed=resumed)
    try:
        _reopen_rejects(run, sources[0], is_resumed=resumed is not None)
        yield run
        with ExitStack() as whole:
            whole.enter_context(rare_collections())
            if run.is_whole:
                whole.enter_context(target.catalog.write())
                check_whole(run)
            for number, (source, its_columns) in enumerate(zip(sources, columns, strict=True)):
                for batch in batches(run, source, its_columns, number=number):
                    commit(run, source, batch, sum(s.position for s in sources))
                    with target.catalog.guarded():
                        yield run
                    check_whole(run)
                    check(target.catalog, run.job)
                source.check_unchanged()
            _complete(run, sources)
        if run.is_whole:
            target.follow()
        finish(run)
    except StopJobError as stopped:
        stop(run, stopped.status, None)
    except GeneratorExit:  # whoever ran the import has stopped asking for more
        stop(run, JobStatus.INTERRUPTED, None)
        raise
    except KBError as error:
        stop(run, JobStatus.FAILED, str(error))
        raise
    except BaseException as error:
        stop(run, JobStatus.INTERRUPTED, f"{type(error).__name__}: {error}")
        raise
    finally:
        ended(target.catalog, run.job)
        if run.writer is not None:
            run.writer.close()
    yield run


def _new_run(
    target: Target,
    request: ImportRequest,
    sources: list[Source],
    *,
    rejects_folder: Path,
    rehearsal: Rehearsal | None,
    resumed: Job | None,
) -> Run:
    """Return the state of a run that begins now, and let it be known that it does."""
    job = resumed or _new_job(target, request, dry_run=rehearsal is not None)
    began(target.catalog, job, is_resumed=resumed is not None)
    job = replace(job, total=_total(sources))
    if request.policy.atomic and not _is_in(job):
        # It starts again, and so do its rejects.
        job = replace(job, counts=Counts(), position=0, rejects=None, rejects_bytes=0, divided=0, most_chunks=0)
    began_at = time.monotonic() - job.seconds
    return Run(target, request, job, rejects_folder, rehearsal, job.counts.read, began_at, sources)


def _reopen_rejects(run: Run, source: Source, *, is_resumed: bool) -> None:
    """Go on with the rejects of an earlier run; what it wrote after its last commit is cut off, and read again."""
    if is_resumed and run.is_whole and not _is_in(run.job):
        with run.target.catalog.write() as connection:
            cat.forget_rejects(connection, run.job.id)
    if run.job.rejects is not None:
        run.writer = open_rejects(run.job.rejects, source, resume_at=run.job.rejects_bytes)


def _is_in(job: Job) -> bool:
    """Return whether an atomic import was interrupted after its transaction; else it has counted rejects at most."""
    return job.counts.read > job.counts.rejected


def _complete(run: Run, sources: list[Source]) -> None:
    """Do what can be done only after all rows have been read."""
    if run.writer is not None:
        run.writer.close()
    if run.tally.left_out:
        run.notes.append(f"--where left out {run.tally.left_out:,} of {run.tally.seen:,} rows")
    counts, policy = run.job.counts, run.request.policy
    if policy.fail_empty and not counts.read:
        names = ", ".join(source.name for source in sources)
        raise SourceError(f"{names}: no rows", unchanged="nothing was imported")
    check_rejects(run, all_read=True)
    if policy.atomic and counts.rejected and run.rehearsal is None:
        raise SourceError(
            f"{counts.rejected:,} of {run.read:,} rows were rejected",
            unchanged="nothing was imported (--atomic)",
            hint=f"mend them: {run.job.rejects}; then import the whole input again",
        )
    check_source(run)
    remove_vanished(run)
    if run.rehearsal is not None:
        _foresee(run)


def _foresee(run: Run) -> None:
    """Note why a rehearsed import could not be done, where that needs all rows."""
    counts, policy = run.job.counts, run.request.policy
    if counts.conflicts and policy.on_conflict is OnConflict.FAIL:
        edited = "1 document was" if counts.conflicts == 1 else f"{counts.conflicts:,} documents were"
        run.refused = f"{edited} edited since the last import from '{policy.source}'"
    elif counts.rejected and policy.atomic:
        run.refused = f"{counts.rejected:,} of {run.read:,} rows would be rejected (--atomic)"
    else:
        return
    run.notes.append(f"the import would be refused: {run.refused}")


def _new_job(target: Target, request: ImportRequest, *, dry_run: bool) -> Job:
    source = request.policy.source
    if dry_run:
        return Job.rehearsal(target.collection.name, "import", request.to_json(), target.who, source)
    with target.catalog.write() as connection:
        return cat.add_job(
            connection,
            target.collection.id,
            kind="import",
            request=request.to_json(),
            who=target.who,
            source=source,
        )


def _total(sources: list[Source]) -> int | None:
    totals = [source.total for source in sources]
    return None if None in totals else sum(total for total in totals if total is not None)


def _progress(run: Run, sources: list[Source]) -> Progress:
    return Progress(
        run.job,
        # A job that is resumed stands where it stopped, not where it reads again what it has.
        max(run.job.position, sum(source.position for source in sources)),
        _total(sources),
        (*(note for source in sources for note in source.notes), *run.notes),
        tuple(run.first_rejects),
    )


def _fingerprint(source: Source) -> str | None:
    fingerprint = source.fingerprint()
    return None if fingerprint is None else str(fingerprint)
