"""From the rows of a source to batches of documents and rejects."""

from __future__ import annotations

import os
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from kb.catalog import Reject
from kb.errors import DocumentError, SourceError
from kb.ingest.resolving import selected
from kb.ingest.state import FIRST_BATCH, Batch
from kb.sources import open_rejects

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kb.ingest.columns import Columns
    from kb.ingest.state import Run
    from kb.schema import Document
    from kb.sources import Row, Source

MAX_BATCH: Final = 10_000
MAX_BATCH_SIZE: Final = 8_000_000  # characters of input
BATCH_SECONDS: Final = 2.0
SHOWN_REJECTS: Final = 3
"""How many rejects a progress carries: often one look is enough to see what is wrong with all of them."""
ENOUGH_ROWS: Final = 100
"""A share of rejected rows says nothing before so many have been read."""
_JOB_PREFIX: Final = re.compile(r"^\d{8}-\d{6}-[0-9a-f]{6}-")


def batches(run: Run, source: Source, columns: Columns, *, number: int) -> Iterator[Batch]:
    """Yield batches that grow until one takes two seconds: a kill loses little, and commits cost little.

    Args:
        run: Whose rows; those that an earlier run has committed are read, but not yielded again.
        source: The input.
        columns: How its rows become documents.
        number: Which of the run's inputs it is, from 0.

    Raises:
        SourceError: More rows are wrong than the policy allows; what was read before has been yielded.
    """
    # As the job names it: the same from whatever folder it is resumed.
    file = run.request.files[number] if source.name != "<stdin>" else source.name
    batch = Batch(file)
    run.cells = {name: column for column in source.columns or () for name in columns.targets(column) or ()}
    for row in selected(source, columns, run.tally):
        run.read += 1
        outcome = _document(run, source, columns, row, number)
        if run.read <= run.skip:
            continue
        batch.read += 1
        if isinstance(outcome, Reject):
            reject(run, batch, row, outcome)
            if _too_many(run, batch):
                yield batch
                raise stopped(run)
        else:
            batch.documents.append(outcome)
            batch.rows.append(row)
        batch.size += _size(row)
        if batch.read >= run.batch_rows or batch.size >= MAX_BATCH_SIZE:
            began = time.monotonic()
            yield batch
            took = max(time.monotonic() - began, 1e-3)
            run.batch_rows = min(MAX_BATCH, max(FIRST_BATCH, int(batch.read * min(4.0, BATCH_SECONDS / took))))
            batch = Batch(file)
    if batch.read:
        yield batch


def _size(row: Row) -> int:
    """Return how many characters a row holds, nearly: the rows of tables have no text of their own."""
    if isinstance(row.raw, str):
        return len(row.raw)
    return sum(len(value) for value in dict(row.values).values() if isinstance(value, str))


def reject(run: Run, batch: Batch, row: Row, one: Reject) -> None:
    """Add a row to what a batch rejects."""
    one = replace(one, file=batch.file if row.file is None else os.path.join(batch.file, row.file))  # noqa: PTH118 - a name
    batch.rejects.append(one)
    batch.rejected.append(row)
    if len(run.first_rejects) < SHOWN_REJECTS:
        run.first_rejects.append(one)


def write_rejects(run: Run, source: Source, batch: Batch) -> None:
    """Write what a batch rejects to the reject file, and note its length with the job."""
    if batch.rejects and run.writer is None:
        path = str(run.rejects_folder / f"{run.job.id}-{_short_name(source)}.rejects.{source.rejects}")
        run.writer = open_rejects(path, source, resume_at=None)
        run.job = replace(run.job, rejects=path)
    if run.writer is not None:
        for one, row in zip(batch.rejects, batch.rejected, strict=True):
            run.writer.write(row, one.reason)
        run.job = replace(run.job, rejects_bytes=run.writer.flush())


def check_rejects(run: Run, *, all_read: bool) -> None:
    """Raise when more of the rows that were committed were rejected than the policy allows.

    Raises:
        SourceError: What was committed stays.
    """
    policy, counts = run.request.policy, run.job.counts
    too_many = policy.max_errors is not None and counts.rejected > policy.max_errors
    share = policy.max_error_share
    if too_many or (all_read and share is not None and counts.rejected > share * counts.read):
        raise stopped(run)


def _document(run: Run, source: Source, columns: Columns, row: Row, number: int) -> Document | Reject:
    if row.problem is not None:
        return Reject(source.name, row.number, row.line, row.problem)
    try:
        document = columns.document(row)
    except DocumentError as error:
        return Reject(source.name, row.number, row.line, "; ".join(error.problems))
    # One number a row: of a million rows this is what memory goes to.
    key = hash(document.id)
    first = run.seen.get(key)
    if first is not None:
        reason = (
            f"{columns.schema.key}: {document.id!r} stands {source.place(row.line)} and already "
            f"{run.place(first, reading=number)}; imported later, this row would replace that one"
        )
        return Reject(source.name, row.number, row.line, reason)
    run.seen[key] = at = run.at(number, row.line)
    run.doubts.look(document, row.values if source.textual else {}, run.cells, at)
    return document


def _too_many(run: Run, batch: Batch) -> bool:
    """Return whether the policy is broken by what has been read so far, the batch included."""
    policy = run.request.policy
    rejected = run.job.counts.rejected + len(batch.rejects)
    if policy.max_errors is not None and rejected > policy.max_errors:
        return True
    share = policy.max_error_share
    return share is not None and run.read >= ENOUGH_ROWS and rejected > share * run.read


def stopped(run: Run) -> SourceError:
    """Return the error of an import that ends because too many rows were rejected."""
    policy, counts = run.request.policy, run.job.counts
    allowed = f"{policy.max_errors:,}" if policy.max_error_share is None else spelled_share(policy.max_error_share)
    taken = counts.read - counts.rejected
    return SourceError(
        f"{counts.rejected:,} of {counts.read:,} rows were rejected; {allowed} are allowed",
        unchanged=kept(run, f"the {taken:,} rows before are in" if taken else "nothing was imported"),
        hint=f"kb jobs rejects {run.job.id} lists them" if run.job.id else "",
    )


def kept(run: Run, otherwise: str) -> str:
    """Return what an error leaves of an import: ``otherwise`` where batches are committed one by one."""
    if run.rehearsal is not None:
        return "nothing was written"
    return "nothing was imported (--atomic)" if run.request.policy.atomic else otherwise


def spelled_share(share: float) -> str:
    """Return a share as a percentage without trailing zeros."""
    return f"{share * 100:.3f}".rstrip("0").rstrip(".") + " %"


def _short_name(source: Source) -> str:
    """Return the input's name without folder and suffix; of a reject file, the name of what it came from."""
    name = "input" if source.name.startswith("<") else source.name.rstrip("/").rpartition("/")[2].partition(".")[0]
    return _JOB_PREFIX.sub("", name)[:40] or "input"
