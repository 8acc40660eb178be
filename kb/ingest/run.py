"""The import: rows → documents or rejects → batches → one transaction each. Reads like design's write path."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from kb import catalog as cat
from kb.catalog import Counts, Job, JobStatus, Reject
from kb.errors import ConflictError, DocumentError, KBError, SourceChangedError, SourceError, UsageError
from kb.ingest.columns import Columns, resolve
from kb.ingest.progress import Progress
from kb.ingest.request import ImportRequest
from kb.schema import content_hash
from kb.sources import open_frame, open_rejects, open_source
from kb.write import Put, Target, put

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd
    from sqlalchemy import Connection

    from kb.schema import Document
    from kb.sources import RejectWriter, Row, Source

FIRST_BATCH: Final = 64
MAX_BATCH: Final = 4_000
MAX_BATCH_SIZE: Final = 8_000_000  # characters of input
BATCH_SECONDS: Final = 2.0
SHOWN_REJECTS: Final = 3
"""How many rejects a progress carries: often one look is enough to see what is wrong with all of them."""
_JOB_PREFIX: Final = re.compile(r"^\d{8}-\d{6}-[0-9a-f]{6}-")


@dataclass
class _Batch:
    """Rows that are committed together."""

    read: int = 0
    size: int = 0
    documents: list[Document] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)


@dataclass
class _Run:
    """The state of one run of an import. ``rehearsal`` is None unless it is a dry run."""

    target: Target
    request: ImportRequest
    job: Job
    rejects_folder: Path
    rehearsal: set[bytes] | None
    skip: int
    began: float
    seen: dict[bytes, tuple[int, str, int]] = field(default_factory=dict)
    writer: RejectWriter | None = None
    first_rejects: list[Reject] = field(default_factory=list)
    read: int = 0
    batch_rows: int = FIRST_BATCH


def import_files(
    target: Target, request: ImportRequest, *, rejects_folder: Path, dry_run: bool = False
) -> Iterator[Progress]:
    """Import files as one job, yielding progress after every commit; the last one carries the finished job.

    A row that does not fit is rejected with all its problems and the rest goes on; rejected rows are written to a
    file of the input's own format in ``rejects_folder``.

    Args:
        target: The collection.
        request: The files and how to read them; its fingerprints are filled in.
        rejects_folder: An existing folder.
        dry_run: Do everything but embed and write.

    Raises:
        SourceError: A file cannot be read as a whole; what was committed before it stays.
        UsageError: The mapping does not fit.
        EncoderError: The model failed; what was committed before stays.
    """
    twice = [name for name in request.files if request.files.count(name) > 1]
    if twice:
        raise UsageError(f"{twice[0]} is named twice", unchanged="nothing was imported", hint="name each file once")
    sources = [open_source(name, request.reading) for name in request.files]
    # A job can be resumed from any folder.
    places = tuple(name if name == "-" else os.path.abspath(name) for name in request.files)  # noqa: PTH100 - no links
    request = replace(request, files=places, fingerprints=tuple(_fingerprint(s) for s in sources))
    yield from _import(target, request, sources, rejects_folder=rejects_folder, dry_run=dry_run)


def import_frame(
    target: Target, frame: pd.DataFrame, request: ImportRequest, *, rejects_folder: Path, dry_run: bool = False
) -> Iterator[Progress]:
    """Import a data frame; as ``import_files``, with rejects in JSON Lines. Such a job cannot be resumed."""
    source = open_frame(frame)
    request = replace(request, files=(source.name,), fingerprints=(None,))
    yield from _import(target, request, [source], rejects_folder=rejects_folder, dry_run=dry_run)


def resume_import(target: Target, job: Job, *, rejects_folder: Path) -> Iterator[Progress]:
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
    sources = [open_source(name, request.reading) for name in request.files]
    for source, fingerprint in zip(sources, request.fingerprints, strict=True):
        if _fingerprint(source) != fingerprint:
            raise SourceChangedError(
                f"{source.name} has changed since the job {job.id} began",
                unchanged="nothing was imported",
                hint=f"import it anew: kb import {source.name}",
            )
    running = replace(job, status=JobStatus.RUNNING, error=None)
    yield from _import(target, request, sources, rejects_folder=rejects_folder, resumed=running)


def _import(
    target: Target,
    request: ImportRequest,
    sources: list[Source],
    *,
    rejects_folder: Path,
    dry_run: bool = False,
    resumed: Job | None = None,
) -> Iterator[Progress]:
    schema = target.collection.schema
    _same_shape(sources)
    # Every input is checked before the first row of any is imported.
    columns = [resolve(schema, request.mapping, s.columns or None, name=s.name, textual=s.textual) for s in sources]
    job = resumed or _new_job(target, request, dry_run=dry_run)
    run = _Run(
        target,
        request,
        job,
        rejects_folder,
        set() if dry_run else None,
        job.counts.read,
        time.monotonic() - job.seconds,
    )
    if job.rejects is not None:
        # What a killed run wrote after its last commit is cut off; its rows are read again.
        run.writer = open_rejects(job.rejects, sources[0], resume_at=job.rejects_bytes)
    try:
        yield _progress(run, sources)
        for source, its_columns in zip(sources, columns, strict=True):
            for batch in _batches(run, source, its_columns):
                _commit(run, source, batch)
                yield _progress(run, sources)
            source.check_unchanged()
        _finish(run, sources)
    except GeneratorExit:  # whoever ran the import has stopped asking for more
        _stop(run, JobStatus.INTERRUPTED, None)
        raise
    except KBError as error:
        _stop(run, JobStatus.FAILED, str(error))
        raise
    except BaseException as error:
        _stop(run, JobStatus.INTERRUPTED, f"{type(error).__name__}: {error}")
        raise
    finally:
        if run.writer is not None:
            run.writer.close()
    yield _progress(run, sources)


def _same_shape(sources: list[Source]) -> None:
    """Make sure that one reject file can take rows of every input."""
    first = sources[0]
    for source in sources[1:]:
        if _shape(source) != _shape(first):
            raise UsageError(
                f"{source.name} has another format, encoding or other columns than {first.name}",
                unchanged="nothing was imported",
                hint="import them one by one",
            )


def _shape(source: Source) -> tuple[object, ...]:
    return source.rejects, source.encoding, source.columns, source.delimiter


def _batches(run: _Run, source: Source, columns: Columns) -> Iterator[_Batch]:
    """Yield batches that grow until one takes two seconds: a kill loses little, and commits cost little."""
    batch = _Batch()
    for row in source.rows():
        run.read += 1
        outcome = _document(run, source, columns, row)
        if run.read <= run.skip:
            continue
        batch.read += 1
        if isinstance(outcome, Reject):
            batch.rejects.append(outcome)
            if len(run.first_rejects) < SHOWN_REJECTS:
                run.first_rejects.append(outcome)
            _write_reject(run, source, row, outcome)
        else:
            batch.documents.append(outcome)
        batch.size += _size(row)
        if batch.read >= run.batch_rows or batch.size >= MAX_BATCH_SIZE:
            began = time.monotonic()
            yield batch
            took = max(time.monotonic() - began, 1e-3)
            run.batch_rows = min(MAX_BATCH, max(FIRST_BATCH, int(batch.read * min(4.0, BATCH_SECONDS / took))))
            batch = _Batch()
    if batch.read:
        yield batch


def _size(row: Row) -> int:
    """Return how many characters a row holds, nearly: the rows of tables have no text of their own."""
    if isinstance(row.raw, str):
        return len(row.raw)
    return sum(len(value) for value in dict(row.values).values() if isinstance(value, str))


def _document(run: _Run, source: Source, columns: Columns, row: Row) -> Document | Reject:
    if row.problem is not None:
        return Reject(source.name, row.number, row.line, row.problem)
    try:
        document = columns.document(row)
    except DocumentError as error:
        return Reject(source.name, row.number, row.line, "; ".join(error.problems))
    key = content_hash(document.id)[:8]
    first = run.seen.setdefault(key, (run.read, source.name, row.line))
    if first[0] != run.read:
        place = f"line {first[2]}" if first[1] == source.name else f"line {first[2]} of {first[1]}"
        reason = (
            f"{columns.schema.key}: {document.id!r} stands on line {row.line} and already on {place}; "
            "imported later, this row would replace that one"
        )
        return Reject(source.name, row.number, row.line, reason)
    return document


def _write_reject(run: _Run, source: Source, row: Row, reject: Reject) -> None:
    if run.rehearsal is not None:
        return
    if run.writer is None:
        path = str(run.rejects_folder / f"{run.job.id}-{_short_name(source)}.rejects.{source.rejects}")
        run.writer = open_rejects(path, source, resume_at=None)
        run.job = replace(run.job, rejects=path)
    run.writer.write(row, reject.reason)


def _short_name(source: Source) -> str:
    """Return the input's name without folder and suffix; of a reject file, the name of what it came from."""
    name = "input" if source.name.startswith("<") else source.name.rstrip("/").rpartition("/")[2].partition(".")[0]
    return _JOB_PREFIX.sub("", name)[:40] or "input"


def _commit(run: _Run, source: Source, batch: _Batch) -> None:
    source.check_unchanged()
    size = 0 if run.writer is None else run.writer.flush()

    def after(outcome: Put) -> Job:
        rejected = len(batch.rejects)
        counts = run.job.counts + outcome.counts + Counts(read=rejected, rejected=rejected)
        seconds = time.monotonic() - run.began
        return replace(run.job, counts=counts, rejects_bytes=size, seconds=seconds)

    def record(connection: Connection, outcome: Put) -> None:
        cat.add_rejects(connection, run.job.id, batch.rejects)
        cat.save_job(connection, after(outcome))

    if run.rehearsal is None:
        outcome = put(run.target, batch.documents, job=run.job.id, record=record)
    else:
        outcome = put(run.target, batch.documents, rehearsal=run.rehearsal)
    # Only now: what a failed batch would have counted is not in the catalog.
    run.job = after(outcome)


def _finish(run: _Run, sources: list[Source]) -> None:
    if run.writer is not None:
        run.writer.close()
    if run.request.policy.fail_empty and not run.job.counts.read:
        names = ", ".join(source.name for source in sources)
        raise SourceError(f"{names}: no rows", unchanged="nothing was imported")
    if run.rehearsal is None and run.job.counts.read > run.job.counts.unchanged:
        run.target.catalog.analyse()
    _stop(run, JobStatus.PARTIAL if run.job.counts.rejected else JobStatus.DONE, None)


def _stop(run: _Run, status: JobStatus, error: str | None) -> None:
    """Record the end of this run; the counts are the catalog's, whatever the last batch came to."""
    seconds = time.monotonic() - run.began
    if run.rehearsal is not None:
        run.job = replace(run.job, status=status, error=error, seconds=seconds)
        return
    with run.target.catalog.write() as connection:
        stored = cat.find_job(connection, run.job.id)
        assert stored is not None
        run.job = replace(stored, status=status, error=error, seconds=seconds, rejects=run.job.rejects)
        cat.save_job(connection, run.job)


def _new_job(target: Target, request: ImportRequest, *, dry_run: bool) -> Job:
    if dry_run:
        return Job.rehearsal(target.collection.name, "import", request.to_json(), target.who)
    with target.catalog.write() as connection:
        return cat.add_job(connection, target.collection.id, kind="import", request=request.to_json(), who=target.who)


def _progress(run: _Run, sources: list[Source]) -> Progress:
    totals = [source.total for source in sources]
    return Progress(
        run.job,
        sum(source.position for source in sources),
        None if None in totals else sum(t for t in totals if t is not None),
        tuple(note for source in sources for note in source.notes),
        tuple(run.first_rejects),
    )


def _fingerprint(source: Source) -> str | None:
    fingerprint = source.fingerprint()
    return None if fingerprint is None else str(fingerprint)
