"""One batch into the catalog: decided against edits, written in one transaction with the job's figures."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from kb import catalog as cat
from kb.catalog import Counts, Job, Reject
from kb.embed import check_vectors
from kb.errors import EncoderError
from kb.ingest.batches import check_rejects, reject, write_rejects
from kb.ingest.origins import Claim, claims, record_origins
from kb.ingest.plan import Outcome
from kb.ingest.state import Batch
from kb.write import Put, decided, put

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from kb.ingest.state import Run
    from kb.schema import Document
    from kb.sources import Source

_PROBE = "a text that every model can embed"


class _Decided(NamedTuple):
    """The documents of a batch and what each may do."""

    documents: Sequence[Document]
    claims: Sequence[Claim]

    def writable(self) -> list[Document]:
        return [d for d, claim in zip(self.documents, self.claims, strict=True) if claim is Claim.WRITE]


def commit(run: Run, source: Source, batch: Batch, position: int) -> None:
    """Write a batch and the job's figures in one transaction.

    Where the model fails, the batch is halved until the rows are found that it fails on; those are rejected.

    Raises:
        EncoderError: The model fails on everything; nothing of the batch was written.
        ConflictError: A row is in conflict with an edit, and the policy is to fail.
    """
    source.check_unchanged()
    run.job = replace(run.job, position=position)
    if run.rehearsal is not None:
        _rehearse(run, batch)
        return
    try:
        _write(run, source, batch)
    except EncoderError as error:
        if not _works(run):
            raise
        _halve(run, source, batch, error)
        if not run.request.policy.atomic:
            check_rejects(run, all_read=False)


def _halve(run: Run, source: Source, batch: Batch, error: EncoderError) -> None:
    """Write what can be written of a batch on which the model failed, in the order of the input."""
    if len(batch.documents) <= 1:
        if not _works(run):
            raise error
        bad = Batch(batch.file, batch.read, rejects=batch.rejects, rejected=batch.rejected)
        for row in batch.rows:
            reject(run, bad, row, Reject(batch.file, row.number, row.line, f"the model failed on it: {error}"))
        _write(run, source, bad)
        return
    for part in _halves(batch):
        try:
            _write(run, source, part)
        except EncoderError as again:
            _halve(run, source, part, again)


def _halves(batch: Batch) -> Iterator[Batch]:
    """Yield a batch in two parts; what is committed must be a beginning of the input, or resuming would skip rows."""
    middle = len(batch.documents) // 2
    cut = sum(one.number < batch.rows[middle].number for one in batch.rejects)
    for documents, rejects in ((slice(middle), slice(cut)), (slice(middle, None), slice(cut, None))):
        part = Batch(
            batch.file,
            documents=batch.documents[documents],
            rows=batch.rows[documents],
            rejects=batch.rejects[rejects],
            rejected=batch.rejected[rejects],
        )
        part.read = len(part.documents) + len(part.rejects)
        yield part


def _works(run: Run) -> bool:
    """Whether the model can embed anything at all."""
    try:
        check_vectors(run.target.encoder().encode_documents([_PROBE]), 1, run.target.collection.dimension)
    except EncoderError:
        return False
    return True


def _write(run: Run, source: Source, batch: Batch) -> None:
    schema, policy = run.target.collection.schema, run.request.policy
    if policy.atomic and (run.kept_rejects or batch.rejects):
        # Nothing will be kept: the rest is only read for what else is wrong.
        batch = replace(batch, read=len(batch.rejects), documents=[], rows=[])
    rendered = [schema.render(document) for document in batch.documents] if policy.source is not None else []

    def attempt() -> tuple[_Decided, Put]:
        with run.target.catalog.read() as connection:
            claimed = claims(run, connection, rendered) if rendered else None
        found = _Decided(batch.documents, claimed or [Claim.WRITE] * len(batch.documents))

        def record(connection: Connection, outcome: Put) -> None:
            # Last of all, when the model has not failed: what was written of a batch that is divided would stay.
            write_rejects(run, source, batch)
            cat.add_rejects(connection, run.job.id, batch.rejects)
            record_origins(run, connection, rendered, found.claims)
            cat.save_job(connection, _after(run, batch, found, outcome))

        return found, put(run.target, found.writable(), job=run.job.id, record=record)

    found, outcome = decided(run.target, attempt)
    # Only now: what a failed batch would have counted is not in the catalog.
    run.job = _after(run, batch, found, outcome)
    if policy.atomic:
        run.kept_rejects += batch.rejects


def _rehearse(run: Run, batch: Batch) -> None:
    rehearsal = run.rehearsal
    assert rehearsal is not None
    schema = run.target.collection.schema
    with run.target.catalog.read() as connection:
        rendered = [schema.render(document) for document in batch.documents]
        found = _Decided(batch.documents, claims(run, connection, rendered))
    outcome = put(run.target, found.writable(), rehearsal=rehearsal.texts)
    run.job = _after(run, batch, found, outcome)
    if rehearsal.outcomes is not None:
        actions = iter(outcome.actions)
        rehearsal.outcomes += [
            Outcome(document.id, str(next(actions)) if claim is Claim.WRITE else str(claim))
            for document, claim in zip(batch.documents, found.claims, strict=True)
        ]
        rehearsal.rejects += batch.rejects


def _after(run: Run, batch: Batch, found: _Decided, outcome: Put) -> Job:
    rejected = len(batch.rejects)
    left, conflicts = found.claims.count(Claim.LEAVE), found.claims.count(Claim.CONFLICT)
    counts = outcome.counts + Counts(
        read=rejected + left + conflicts, unchanged=left, conflicts=conflicts, rejected=rejected
    )
    seconds = time.monotonic() - run.began
    return replace(
        run.job,
        counts=run.job.counts + counts,
        seconds=seconds,
        divided=run.job.divided + outcome.divided,
        most_chunks=max(run.job.most_chunks, outcome.most_chunks),
    )
