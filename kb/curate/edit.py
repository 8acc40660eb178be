"""Editing documents one by one: change, restore, look at what was."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kb import catalog as cat
from kb.errors import ConflictError, NotFoundError, nearest
from kb.write import Put, Target, decided, put, remove

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kb.filters import Filter
    from kb.schema import Document, Schema, Value


_LOOKED_THROUGH: Final = 5_000
"""How many ids are looked through for one like a missing one."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A document as it stands in the collection.

    Attributes:
        document: The typed document.
        text: The text that is embedded.
        revision: The number of its last change.
        updated: When that was, in UTC, ISO 8601.
    """

    document: Document
    text: str
    revision: int
    updated: str

    @property
    def id(self) -> str:
        """The document's key."""
        return self.document.id

    @property
    def fields(self) -> dict[str, Value]:
        """The document's typed fields by name, missing ones as None."""
        return {name: value for name, value in self.document.__dict__.items() if name != "id"}


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One revision of a document.

    Attributes:
        revision: Its number, from 1.
        action: ``add``, ``update``, ``fields_only``, ``delete`` or ``restore``.
        at: When, in UTC, ISO 8601.
        who: Who made it.
        job: The job that made it, or None.
        changed: The fields that differ from the revision before; empty for additions and deletions.
        fields: The stored values after it, as JSON values; None after a deletion.
    """

    revision: int
    action: str
    at: str
    who: str
    job: str | None
    changed: tuple[str, ...]
    fields: Mapping[str, object] | None


@dataclass(frozen=True, slots=True)
class DeletedEntry:
    """A deleted document: its key, the revision that deleted it, when in UTC, and who did it."""

    id: str
    revision: int
    at: str
    who: str


def get(catalog: cat.Catalog, collection: cat.StoredCollection, key: str) -> Entry:
    """Return a document.

    Raises:
        NotFoundError: There is none of that id; the message says when it was deleted, if it was.
    """
    with catalog.read() as connection:
        found = cat.get_documents(connection, collection.id, [key])
        if key not in found:
            raise _not_found(connection, collection, key)
    return _entry(collection.schema, found[key])


def list_entries(
    catalog: cat.Catalog,
    collection: cat.StoredCollection,
    where: Filter | None,
    *,
    sort: str | None,
    descending: bool,
    limit: int | None,
    offset: int,
) -> list[Entry]:
    """Return documents.

    Args:
        catalog: The catalog.
        collection: The collection.
        where: A checked filter, or None for all.
        sort: A field, ``id``, or ``updated`` for the last change (unless a field has that name); None for the id. Ties
            by id; missing values last.
        descending: From the largest value down.
        limit: The most documents; None for all.
        offset: How many of the sorted documents to skip.

    Raises:
        SchemaError: The field to sort by does not exist.
    """
    if sort is not None and sort not in ("id", "updated"):
        collection.schema.field(sort)
    condition = None if where is None else cat.to_sql(where, collection.schema)
    order = cat.Sort(sort, is_field=sort in collection.schema.fields, descending=descending)
    with catalog.read() as connection:
        stored = cat.select_documents(connection, collection.id, condition, sort=order, limit=limit, offset=offset)
    return [_entry(collection.schema, one) for one in stored]


def update(
    target: Target, key: str, changes: Mapping[str, object], *, textual: bool, separators: Mapping[str, str]
) -> Put:
    """Change some fields of a document; only chunks whose text changes are embedded.

    Args:
        target: The collection.
        key: The document.
        changes: By field; None, or ``""`` when textual, takes a value away.
        textual: Whether the values are text to be parsed by type.
        separators: By list field, what separates its items in a text.

    Raises:
        NotFoundError: There is no such document.
        DocumentError: The changed document does not fit the schema; nothing was changed.
        EncoderError: The model failed; nothing was changed.
    """
    schema = target.collection.schema

    def attempt() -> Put:
        entry = get(target.catalog, target.collection, key)
        return put(target, [schema.with_changes(entry.document, changes, textual=textual, separators=separators)])

    return decided(target, attempt)


def restore(target: Target, keys: Sequence[str], *, revision: int | None = None) -> Put:
    """Bring deleted documents back, or set one document back to what it was after a revision.

    Raises:
        NotFoundError: An id never existed, or has no such revision; nothing was changed.
        ConflictError: A document is not deleted, and no revision is named; nothing was changed.
    """

    def attempt() -> Put:
        with target.catalog.read() as connection:
            documents = [_past(connection, target.collection, key, revision) for key in dict.fromkeys(keys)]
        return put(target, documents, restoring=True)

    return decided(target, attempt)


def history(catalog: cat.Catalog, collection: cat.StoredCollection, key: str) -> list[HistoryEntry]:
    """Return a document's revisions, oldest first; also those of a deleted one.

    Raises:
        NotFoundError: There never was such a document.
    """
    with catalog.read() as connection:
        revisions = cat.get_revisions(connection, collection.id, key)
        if not revisions:
            raise _not_found(connection, collection, key)
        states = _states(connection, collection, key, revisions)
    entries = []
    for number, revision in enumerate(revisions):
        fields = None if states[number] is None else json.loads(states[number] or "{}")
        before = {} if revision.before is None else json.loads(revision.before)
        changed = () if fields is None or revision.before is None else _changed(before, fields)
        entries.append(
            HistoryEntry(revision.number, revision.action, revision.at, revision.who, revision.job, changed, fields)
        )
    return entries


def deleted(catalog: cat.Catalog, collection: cat.StoredCollection) -> list[DeletedEntry]:
    """Return the documents that are deleted and can be restored, the last one first."""
    with catalog.read() as connection:
        found = cat.get_deleted(connection, collection.id)
    return [DeletedEntry(one.key, one.number, one.at, one.who) for one in found]


def delete(target: Target, keys: Sequence[str]) -> list[str]:
    """Delete documents and return the ids of those that existed, in the order given."""
    return remove(target, keys)


def matching_keys(catalog: cat.Catalog, collection: cat.StoredCollection, where: Filter | None) -> list[str]:
    """Return the ids of the documents that satisfy a checked filter (None: of all), sorted."""
    condition = None if where is None else cat.to_sql(where, collection.schema)
    with catalog.read() as connection:
        return cat.select_keys(connection, collection.id, condition)


def count(catalog: cat.Catalog, collection: cat.StoredCollection, where: Filter | None) -> int:
    """Return how many documents satisfy a checked filter (None: all)."""
    condition = None if where is None else cat.to_sql(where, collection.schema)
    with catalog.read() as connection:
        return cat.count_documents(connection, collection.id, condition)


def _entry(schema: Schema, stored: cat.StoredDocument) -> Entry:
    return Entry(schema.load(stored.key, stored.fields), stored.text, stored.revision, stored.updated)


def _states(
    connection: cat.Connection, collection: cat.StoredCollection, key: str, revisions: Sequence[cat.Revision]
) -> list[str | None]:
    """Return the stored fields after each revision: what the next one replaced, or what is there now."""
    present = cat.get_documents(connection, collection.id, [key]).get(key)
    after = [revision.before for revision in revisions[1:]]
    return [*after, None if present is None else present.fields]


def _past(connection: cat.Connection, collection: cat.StoredCollection, key: str, revision: int | None) -> Document:
    revisions = cat.get_revisions(connection, collection.id, key)
    if not revisions:
        raise _not_found(connection, collection, key)
    if revision is None:
        last = revisions[-1]
        if last.action != "delete" or last.before is None:
            raise ConflictError(
                f"the document '{key}' is not deleted",
                unchanged="nothing was restored",
                hint=f"to set it back, name a revision: kb history {key}, then kb restore {key} --revision N",
            )
        return collection.schema.load(key, last.before)
    states = dict(zip((r.number for r in revisions), _states(connection, collection, key, revisions), strict=True))
    fields = states.get(revision)
    if fields is None:
        kept = [str(number) for number, state in states.items() if state is not None]
        raise NotFoundError(
            f"the document '{key}' has no content at revision {revision}",
            unchanged="nothing was restored",
            hint=f"revisions with content: {', '.join(kept)}",
        )
    return collection.schema.load(key, fields)


def _changed(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[str, ...]:
    names = dict.fromkeys([*before, *after])
    return tuple(name for name in names if before.get(name) != after.get(name))


def _not_found(connection: cat.Connection, collection: cat.StoredCollection, key: str) -> NotFoundError:
    revisions = cat.get_revisions(connection, collection.id, key)
    what = f"there is no document '{key}' in '{collection.name}'"
    if revisions and revisions[-1].action == "delete":
        return NotFoundError(
            f"{what}: it was deleted at {revisions[-1].at} by {revisions[-1].who}", hint=f"kb restore {key}"
        )
    known = cat.select_keys(connection, collection.id, None, limit=_LOOKED_THROUGH)
    guess, found, _ = nearest(key, known).partition("? valid: ")
    return NotFoundError(what, hint=f"{guess}?" if found else "kb list shows the ids")
