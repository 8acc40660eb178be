"""The write path: nothing else changes documents.

Every write decides against the stored fingerprints, embeds what is new outside the transaction, then commits
documents, revisions, chunks, vectors and the index queue together. A model that fails leaves everything as it was.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kb import catalog as cat
from kb.chunks import split
from kb.errors import ConflictError, UsageError
from kb.schema import content_hash
from kb.write.deciding import check_unmoved, decided

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from sqlalchemy import Connection

    from kb.chunks import Chunk
    from kb.schema import Document, Rendered
    from kb.write.target import Target


class Action(StrEnum):
    """What a write does to one document."""

    NEW = "new"
    UPDATED = "updated"  # its text changed
    FIELDS_ONLY = "fields_only"  # its fields changed, its text did not: no model call
    UNCHANGED = "unchanged"


class Put(NamedTuple):
    """What became of a batch.

    Attributes:
        actions: In the order given.
        embedded: For how many texts the model was called.
        divided: How many documents with new text are longer than one chunk.
        most_chunks: The chunks of the longest of them; 0 when none is divided.
    """

    actions: tuple[Action, ...]
    embedded: int
    divided: int = 0
    most_chunks: int = 0

    @property
    def counts(self) -> cat.Counts:
        """The batch as figures of a job, all its documents read."""
        by = Counter(self.actions)
        return cat.Counts(
            read=len(self.actions),
            new=by[Action.NEW],
            updated=by[Action.UPDATED],
            fields_only=by[Action.FIELDS_ONLY],
            unchanged=by[Action.UNCHANGED],
            embedded=self.embedded,
        )


@dataclass(frozen=True, slots=True)
class _Change:
    """One document that will be written: its stored forms, its present state and, where its text is new, its chunks."""

    rendered: Rendered
    action: Action
    state: cat.StoredState | None
    chunks: tuple[Chunk, ...]


class _Vectors(NamedTuple):
    """Vectors of embedded texts by their hash: numbers of stored ones, and new ones row by row."""

    known: dict[bytes, int]
    new_hashes: list[bytes]
    new: NDArray | None  # type: ignore[type-arg]


def put(
    target: Target,
    documents: Sequence[Document],
    *,
    job: str | None = None,
    restoring: bool = False,
    record: Callable[[Connection, Put], None] | None = None,
    rehearsal: set[bytes] | None = None,
) -> Put:
    """Add or replace documents in one transaction.

    Args:
        target: The collection.
        documents: Checked by its schema.
        job: The job that the revisions are recorded for.
        restoring: Record the revisions as restorations.
        record: Called inside the transaction with the outcome, so that a job's counts commit with its work.
        rehearsal: When given, everything is decided, but nothing is embedded or written; it collects the hashes of
            the texts that would have been embedded, so that a later batch counts none of them twice.

    Raises:
        UsageError: An id is given twice; nothing was written.
        EncoderError: The model failed; nothing was written.
    """
    rendered = [target.collection.schema.render(document) for document in documents]
    if len({r.id for r in rendered}) < len(rendered):
        twice = next(key for key, number in Counter(r.id for r in rendered).items() if number > 1)
        raise UsageError(f"the document '{twice}' is given twice", unchanged="nothing was written")

    def attempt() -> Put:
        return _put(target, rendered, job=job, restoring=restoring, record=record, rehearsal=rehearsal)

    return attempt() if rehearsal is not None else decided(target, attempt)


def _put(
    target: Target,
    rendered: Sequence[Rendered],
    *,
    job: str | None,
    restoring: bool,
    record: Callable[[Connection, Put], None] | None,
    rehearsal: set[bytes] | None,
) -> Put:
    with target.catalog.writing:
        changes, actions = _decide(target, rendered)
        texts = {_text_hash(change, chunk): chunk.embed_text for change in changes for chunk in change.chunks}
        divided = sum(len(change.chunks) > 1 for change in changes)
        most = max((len(change.chunks) for change in changes), default=0) if divided else 0
        if rehearsal is not None:
            _, missing = _missing(target, texts)
            would_embed = missing.keys() - rehearsal
            rehearsal |= would_embed
            return Put(actions, len(would_embed), divided, most)
        vectors = _embed(target, texts)
        outcome = Put(actions, len(vectors.new_hashes), divided, most)
        if changes or record is not None:
            with target.catalog.write() as connection:
                check_unmoved(connection, target)
                if changes:
                    cat.check_serving(connection, target.collection)
                    _write(connection, target, changes, vectors, job=job, restoring=restoring)
                if record is not None:
                    record(connection, outcome)
    return outcome


def add(target: Target, documents: Sequence[Document]) -> Put:
    """Add documents that must not exist yet.

    Raises:
        ConflictError: One of them exists; nothing was written.
    """

    def attempt() -> Put:
        with target.catalog.read() as connection:
            states = cat.stored_states(connection, target.collection.id, [d.id for d in documents])
        if states:
            name = min(states)
            raise ConflictError(
                f"the document '{name}' exists already", unchanged="nothing was added", hint=f"kb update {name} …"
            )
        return put(target, documents)

    return decided(target, attempt)


def remove(target: Target, keys: Sequence[str], *, job: str | None = None) -> list[str]:
    """Delete documents in one transaction and return the ids of those that existed, in the order given.

    Their revisions stay, so that they can be restored.
    """
    wanted = list(dict.fromkeys(keys))
    return decided(target, lambda: _remove(target, wanted, job=job))


def _remove(target: Target, wanted: Sequence[str], *, job: str | None) -> list[str]:
    with target.catalog.writing:
        with target.catalog.read() as connection:
            states = cat.stored_states(connection, target.collection.id, wanted)
            stored = cat.get_documents(connection, target.collection.id, list(states))
        found = [key for key in wanted if key in states]
        if not found:
            return []
        with target.catalog.write() as connection:
            check_unmoved(connection, target)
            change = cat.next_change(connection, target.collection.id)
            at = cat.now()
            cat.insert_revisions(
                connection,
                target.collection.id,
                change,
                [
                    cat.Revision(
                        k, states[k].seq, states[k].revision + 1, "delete", at, target.who, job, stored[k].fields
                    )
                    for k in found
                ],
            )
            # Before they go: it counts what a generation that does not serve holds of them.
            cat.enqueue(connection, target.collection.id, [cat.QueuedDocument(k, states[k].chunks) for k in found])
            cat.delete_documents(connection, [states[key].seq for key in found])
    return found


def _decide(target: Target, rendered: Sequence[Rendered]) -> tuple[list[_Change], tuple[Action, ...]]:
    with target.catalog.read() as connection:
        states = cat.stored_states(connection, target.collection.id, [r.id for r in rendered])
    changes: list[_Change] = []
    actions: list[Action] = []
    for one in rendered:
        state = states.get(one.id)
        action = _action(one, state)
        actions.append(action)
        if action is not Action.UNCHANGED:
            fresh = action in (Action.NEW, Action.UPDATED)
            changes.append(_Change(one, action, state, _chunks(target, one.text) if fresh else ()))
    return changes, tuple(actions)


def _action(rendered: Rendered, state: cat.StoredState | None) -> Action:
    if state is None:
        return Action.NEW
    if rendered.text_hash != state.text_hash:
        return Action.UPDATED
    return Action.UNCHANGED if rendered.fields_hash == state.fields_hash else Action.FIELDS_ONLY


def _chunks(target: Target, text: str) -> tuple[Chunk, ...]:
    encoder = target.encoder()
    return tuple(split(text, target.chunking, spans=encoder.token_spans, reserved=encoder.reserved))


def _text_hash(change: _Change, chunk: Chunk) -> bytes:
    """Return the hash of what is embedded for a chunk; most documents are one chunk, and theirs is known."""
    whole = change.rendered.text
    return change.rendered.text_hash if chunk.embed_text is whole else content_hash(chunk.embed_text)


def _missing(target: Target, texts: Mapping[bytes, str]) -> tuple[dict[bytes, int], dict[bytes, str]]:
    """Return, by hash, the vectors that the catalog has and the distinct texts that it has none of."""
    if not texts:
        return {}, {}
    with target.catalog.read() as connection:
        known = cat.known_vectors(connection, target.collection.recipe.space, list(texts))
    return known, {h: text for h, text in texts.items() if h not in known}


def _embed(target: Target, wanted: Mapping[bytes, str]) -> _Vectors:
    """Find or make the vector of every distinct text."""
    known, texts = _missing(target, wanted)
    if not texts:
        return _Vectors(known, [], None)
    seen = target.catalog.seen
    made = {} if seen is None else seen.made
    new = {text_hash: text for text_hash, text in texts.items() if text_hash not in made}
    if new:
        from kb.embed import check_vectors

        answer = target.encoder().encode_documents(list(new.values()))
        vectors = check_vectors(answer, len(new), target.collection.dimension)
        made.update(zip(new, vectors, strict=True))
        if len(new) == len(texts):
            return _Vectors(known, list(texts), vectors)
    return _Vectors(known, list(texts), np.stack([made[text_hash] for text_hash in texts]))


def _write(
    connection: Connection,
    target: Target,
    changes: Sequence[_Change],
    vectors: _Vectors,
    *,
    job: str | None,
    restoring: bool,
) -> None:
    collection = target.collection
    numbers = dict(vectors.known)
    if vectors.new is not None:
        numbers |= cat.insert_vectors(connection, collection.recipe.space, vectors.new_hashes, vectors.new)
    at, change = cat.now(), cat.next_change(connection, collection.id)
    places = _places(connection, target, changes)

    def row(one: _Change) -> dict[str, object]:
        r, place = one.rendered, places[one.rendered.id]
        return {
            "seq": place.seq,
            "collection_id": collection.id,
            "key": r.id,
            "fields": r.fields,
            "text": r.text,
            "fields_hash": r.fields_hash,
            "text_hash": r.text_hash,
            "revision": place.revision,
            "change": change,
            "updated": at,
        }

    cat.insert_documents(connection, [row(c) for c in changes if c.state is None])
    cat.update_documents(connection, [row(c) for c in changes if c.state is not None])
    cat.replace_chunks(
        connection,
        [c.state.seq for c in changes if c.state is not None and c.action is Action.UPDATED],
        [
            cat.StoredChunk(places[c.rendered.id].seq, k.ordinal, k.start, k.end, numbers[_text_hash(c, k)])
            for c in changes
            for k in c.chunks
        ],
    )
    revisions = []
    for c in changes:
        key, place = c.rendered.id, places[c.rendered.id]
        action = _revision_action(c.action, restoring=restoring)
        revisions.append(cat.Revision(key, place.seq, place.revision, action, at, target.who, job, place.before))
    cat.insert_revisions(connection, collection.id, change, revisions)
    queued = [cat.QueuedDocument(c.rendered.id, c.state.chunks if c.state else 0) for c in changes]
    cat.enqueue(connection, collection.id, queued)


class _Place(NamedTuple):
    """Where a changed document goes: its row, its new revision, and the stored fields that are replaced."""

    seq: int
    revision: int
    before: str | None


def _places(connection: Connection, target: Target, changes: Sequence[_Change]) -> dict[str, _Place]:
    """Return the place of every changed document: a new row for a new one, else the row that it has."""
    collection_id = target.collection.id
    last = cat.last_revisions(connection, collection_id, [c.rendered.id for c in changes if c.state is None])
    before = cat.get_documents(connection, collection_id, [c.rendered.id for c in changes if c.state is not None])
    free = itertools.count(cat.next_seq(connection))
    places = {}
    for c in changes:
        key = c.rendered.id
        if c.state is None:
            places[key] = _Place(next(free), last.get(key, 0) + 1, None)
        else:
            places[key] = _Place(c.state.seq, c.state.revision + 1, before[key].fields)
    return places


def _revision_action(action: Action, *, restoring: bool) -> str:
    if restoring:
        return "restore"
    return {Action.NEW: "add", Action.UPDATED: "update", Action.FIELDS_ONLY: "fields_only"}[action]
