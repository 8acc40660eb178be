"""One batch into the catalog: decided against edits, written in one transaction with the job's figures."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from kb import catalog as cat
from kb.catalog import Counts, Job, Reject
from kb.embed import check_vectors
from kb.errors import EncoderError
from kb.ingest.batches import reject
from kb.ingest.origins import Claim, claims, record_origins
from kb.ingest.plan import Outcome
from kb.ingest.state import Batch
from kb.write import Put, put

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    if run.request.policy.atomic:
        _write_atomic(run, batch)
        return
    try:
        _write(run, batch)
    except EncoderError as error:
        if not _works(run):
            raise
        _halve(run, source, batch, error)


def _write_atomic(run: Run, batch: Batch) -> None:
    run.kept_rejects += batch.rejects
    if run.kept_rejects:
        # Nothing will be kept: the rest is only read for what else is wrong.
        batch = Batch(read=len(batch.rejects), rejects=batch.rejects)
    _write(run, batch)


def _halve(run: Run, source: Source, batch: Batch, error: EncoderError) -> None:
    """Write what can be written of a batch on which the model failed."""
    if len(batch.documents) <= 1:
        bad = Batch(read=batch.read, rejects=batch.rejects)
        for row in batch.rows:
            reject(run, source, bad, row, Reject(source.name, row.number, row.line, f"the model failed on it: {error}"))
        _write(run, bad)
        return
    middle = len(batch.documents) // 2
    rejects = batch.rejects
    for some in (slice(0, middle), slice(middle, None)):
        part = Batch(documents=batch.documents[some], rows=batch.rows[some], rejects=rejects)
        part.read = len(part.documents) + len(rejects)
        rejects = []
        try:
            _write(run, part)
        except EncoderError as again:
            _halve(run, source, part, again)


def _works(run: Run) -> bool:
    """Whether the model can embed anything at all."""
    try:
        check_vectors(run.target.encoder().encode_documents([_PROBE]), 1, run.target.collection.dimension)
    except EncoderError:
        return False
    return True


def _write(run: Run, batch: Batch) -> None:
    size = 0 if run.writer is None else run.writer.flush()
    schema, policy = run.target.collection.schema, run.request.policy
    rendered = [schema.render(document) for document in batch.documents] if policy.source is not None else []
    with run.target.catalog.writing:
        with run.target.catalog.read() as connection:
            claimed = claims(run, connection, rendered, batch.rows) if rendered else None
        decided = _Decided(batch.documents, claimed or [Claim.WRITE] * len(batch.documents))

        def record(connection: Connection, outcome: Put) -> None:
            cat.add_rejects(connection, run.job.id, batch.rejects)
            record_origins(run, connection, rendered, decided.claims)
            cat.save_job(connection, _after(run, batch, decided, outcome, size))

        outcome = put(run.target, decided.writable(), job=run.job.id, record=record)
    # Only now: what a failed batch would have counted is not in the catalog.
    run.job = _after(run, batch, decided, outcome, size)
    _divided(run, outcome)


def _rehearse(run: Run, batch: Batch) -> None:
    rehearsal = run.rehearsal
    assert rehearsal is not None
    schema = run.target.collection.schema
    with run.target.catalog.read() as connection:
        rendered = [schema.render(document) for document in batch.documents]
        decided = _Decided(batch.documents, claims(run, connection, rendered, batch.rows))
    outcome = put(run.target, decided.writable(), rehearsal=rehearsal.texts)
    run.job = _after(run, batch, decided, outcome, 0)
    _divided(run, outcome)
    if run.request.policy.source is not None:
        rehearsal.keys.update(document.id for document in batch.documents)
    if rehearsal.outcomes is not None:
        actions = iter(outcome.actions)
        rehearsal.outcomes += [
            Outcome(document.id, str(next(actions)) if claim is Claim.WRITE else str(claim))
            for document, claim in zip(batch.documents, decided.claims, strict=True)
        ]
        rehearsal.rejects += batch.rejects


def _after(run: Run, batch: Batch, decided: _Decided, outcome: Put, size: int) -> Job:
    rejected = len(batch.rejects)
    left, conflicts = decided.claims.count(Claim.LEAVE), decided.claims.count(Claim.CONFLICT)
    counts = outcome.counts + Counts(
        read=rejected + left + conflicts, unchanged=left, conflicts=conflicts, rejected=rejected
    )
    seconds = time.monotonic() - run.began
    return replace(run.job, counts=run.job.counts + counts, rejects_bytes=size, seconds=seconds)


def _divided(run: Run, outcome: Put) -> None:
    run.doubts.divided += outcome.divided
    run.doubts.most_chunks = max(run.doubts.most_chunks, outcome.most_chunks)
