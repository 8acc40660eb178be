"""Rows of a named source against what has been edited since its last import, and what has vanished from it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from kb import catalog as cat
from kb.errors import ConflictError, UsageError
from kb.ingest.batches import kept, spelled_share
from kb.ingest.request import OnConflict
from kb.write import remove

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from kb.ingest.state import Run
    from kb.schema import Rendered

_NAMED: Final = 5
_NONE_DELETED: Final = "no vanished document was deleted; the rows of the input are in"


class Claim(StrEnum):
    """What a row of a source may do to its document."""

    WRITE = "write"
    LEAVE = "unchanged"  # the source says what it said before; what was edited since stays
    CONFLICT = "conflict"  # the source says something new, and the document was edited since


def claims(run: Run, connection: Connection, rendered: Sequence[Rendered]) -> list[Claim]:
    """Return what each row may do.

    A document was edited when it is not what the last import from the source left: changed or deleted since, by
    hand, by a job, or by an import from somewhere else.

    Raises:
        ConflictError: A row is in conflict, and the policy is to fail.
    """
    policy = run.request.policy
    if policy.source is None:
        return [Claim.WRITE] * len(rendered)
    keys = [one.id for one in rendered]
    collection = run.target.collection.id
    states = cat.stored_states(connection, collection, keys)
    origins = cat.find_origins(connection, collection, policy.source, keys)
    found = [_claim(one, states.get(one.id), origins.get(one.id)) for one in rendered]
    if policy.on_conflict is OnConflict.THEIRS:
        return [Claim.WRITE if one is Claim.CONFLICT else one for one in found]
    if policy.on_conflict is OnConflict.FAIL and run.rehearsal is None and Claim.CONFLICT in found:
        key = keys[found.index(Claim.CONFLICT)]
        raise ConflictError(
            f"the document '{key}' {run.place(run.seen[hash(key)])} was edited since its last import from "
            f"'{policy.source}'",
            unchanged=kept(run, "it is as it was edited; rows that were committed before stay"),
            hint="--on-conflict keep leaves such documents alone, --on-conflict theirs replaces them",
        )
    return found


def _claim(rendered: Rendered, state: cat.StoredState | None, origin: cat.Origin | None) -> Claim:
    if origin is None or (state is not None and state.revision == origin.revision):
        return Claim.WRITE
    if rendered.fields_hash == origin.fields_hash:
        return Claim.LEAVE
    if state is not None and state.fields_hash == rendered.fields_hash:
        return Claim.WRITE
    return Claim.CONFLICT


def record_origins(run: Run, connection: Connection, rendered: Sequence[Rendered], claimed: Sequence[Claim]) -> None:
    """Remember, in the transaction of a batch, that the source has brought its rows."""
    source = run.request.policy.source
    if source is None:
        return
    collection, keys = run.target.collection.id, [one.id for one in rendered]
    states = cat.stored_states(connection, collection, keys)
    before = cat.find_origins(connection, collection, source, keys)
    new = [
        cat.Origin(one.id, states[one.id].revision, one.fields_hash) if claim is Claim.WRITE else before[one.id]
        for one, claim in zip(rendered, claimed, strict=True)
    ]
    replaced = [one.key for one in new if one.key in before and one != before[one.key]]
    cat.note_origins(connection, collection, source, replaced, job=run.job.id, left=run.job.id)
    cat.save_origins(connection, collection, source, new, job=run.job.id)


def vanished(run: Run, connection: Connection) -> list[cat.Origin]:
    """Return what the source has brought before and has not any more; complete when all rows have been read."""
    source = run.request.policy.source
    if source is None:
        return []
    found = cat.unseen_origins(connection, run.target.collection.id, source, job=run.job.id)
    # What an earlier run of a resumed job has brought may since have been brought by another job, too.
    return [one for one in found if hash(one.key) not in run.seen]


def remove_vanished(run: Run) -> None:
    """Delete the documents that have vanished from the source, as the policy says, and count them with the job.

    They can be restored. Those that were edited since their last import stay, unless the policy is ``theirs``; those
    that another source has brought as well stay, and are that one's from now on.

    Raises:
        ConflictError: More have vanished than the policy allows, or one of them was edited; none was deleted.
    """
    policy, target = run.request.policy, run.target
    if policy.source is None or not policy.sync:
        return
    # In one transaction from the first look: other processes may be writing.
    with target.catalog.writing, nullcontext() if run.rehearsal is not None else target.catalog.write():
        with target.catalog.read() as connection:
            gone = vanished(run, connection)
            total = cat.count_origins(connection, target.collection.id, policy.source, without=run.job.id)
            states = cat.stored_states(connection, target.collection.id, [one.key for one in gone])
            shared = cat.shared_origins(connection, target.collection.id, policy.source, [one.key for one in gone])
        try:
            _check_share(run, gone, total)
            left = _left_alone(run, gone, states)
        except ConflictError as error:
            if run.rehearsal is None:
                raise
            run.refused = str(error)
            run.notes.append(f"the sync would be refused: {error}")
            return
        forgotten = [one.key for one in gone if one.key not in left]
        keys = [key for key in forgotten if key in states and key not in shared]
        counts = run.job.counts + cat.Counts(removed=len(keys))
        if run.rehearsal is None:
            with target.catalog.write() as connection:
                remove(target, keys, job=run.job.id)
                cat.note_origins(connection, target.collection.id, policy.source, forgotten, job=run.job.id, left=None)
                cat.forget_origins(connection, target.collection.id, policy.source, forgotten)
                cat.save_job(connection, replace(run.job, counts=counts))
        run.job = replace(run.job, counts=counts)
    if run.rehearsal is None and not target.catalog.is_writing:
        target.follow()


def _left_alone(run: Run, gone: Sequence[cat.Origin], states: Mapping[str, cat.StoredState]) -> set[str]:
    """Return which of the vanished documents stay because they were edited."""
    policy = run.request.policy
    edited = sorted(one.key for one in gone if one.key in states and states[one.key].revision != one.revision)
    if not edited or policy.on_conflict is OnConflict.THEIRS:
        return set()
    if policy.on_conflict is OnConflict.FAIL:
        raise ConflictError(
            f"{_named(edited)} vanished from '{policy.source}', but edited since the last import",
            unchanged=kept(run, _NONE_DELETED),
            hint="--on-conflict keep leaves edited documents alone, --on-conflict theirs deletes them",
        )
    run.notes.append(f"{_named(edited)} vanished from '{policy.source}', but edited since: left alone")
    return set(edited)


def _check_share(run: Run, gone: Sequence[cat.Origin], total: int) -> None:
    policy = run.request.policy
    unchanged = kept(run, _NONE_DELETED)
    if not gone:
        return
    if run.job.counts.rejected:
        raise ConflictError(
            f"documents that are not in the input any more: {len(gone):,}; rejected rows, which may be theirs: "
            f"{run.job.counts.rejected:,}",
            unchanged=unchanged,
            hint="mend the rejected rows, then import the whole source again",
        )
    if len(gone) > policy.max_delete * total:
        raise ConflictError(
            f"{len(gone):,} of the {total:,} documents of '{policy.source}' are not in the input any more; "
            f"at most {spelled_share(policy.max_delete)} may be deleted",
            unchanged=unchanged,
            hint=f"if that is right: --max-delete {-(-100 * len(gone) // total)}%",
        )


def check_source(run: Run) -> None:
    """Refuse to sync from an input without rows.

    Raises:
        UsageError: There were none; nothing was deleted.
    """
    policy = run.request.policy
    if policy.sync and not run.job.counts.read:
        raise UsageError(
            f"the input of '{policy.source}' has no rows; a sync from it would delete everything",
            unchanged="nothing was deleted",
        )


def _named(keys: Sequence[str]) -> str:
    listed = ", ".join(f"'{key}'" for key in keys[:_NAMED])
    more = f" and {len(keys) - _NAMED:,} more" if len(keys) > _NAMED else ""
    return f"the document{'s' if len(keys) > 1 else ''} {listed}{more} {'have' if len(keys) > 1 else 'has'}"
