"""Purging: of deleted documents nothing stays in any file of the storage, its backups excepted."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from kb import catalog as cat
from kb.errors import ConflictError, DocumentError, LimitError, NotFoundError, UsageError, nearest
from kb.failpoints import failpoint
from kb.index import WORDS_FOLDER
from kb.maintain.backup import BACKUPS
from kb.maintain.quoted import Quotes
from kb.maintain.step import Cleaned, Step
from kb.maintain.storage import REJECTS, delete, live_bytes, pre_upgrade_copies, quarantined
from kb.write import Indexes, begin_anew, refresh_sample

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from kb.schema import Schema

_AT_ONCE: Final = 500


class Doomed(NamedTuple):
    """Documents of one collection that are to be purged."""

    collection: str
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PurgePlan:
    """What a purge would do.

    Attributes:
        documents: Which, by collection.
        missing: Ids that were asked for and never existed.
        versions: How many former versions of them the history holds.
        vectors: How many vectors no present document has; all of them go.
        shared: Ids of those whose text is a present document's text, too: there it stays.
        files: Files and folders that are deleted, relative to the storage: quarantined indexes, copies from before an
            upgrade, files of rejected rows that quote one of the documents.
        jobs: How many jobs quote one of them in their messages; it is blanked there.
        backups: The names of the backups that still hold one of them; they are not touched.
        bytes: What the storage takes, backups excepted.
        needed: How many bytes must be free meanwhile.
        unfinished: Since when an earlier purge waits to be finished, in UTC; this one finishes it. None for no such.
    """

    documents: tuple[Doomed, ...]
    missing: tuple[str, ...]
    versions: int
    vectors: int
    shared: tuple[str, ...]
    files: tuple[str, ...]
    jobs: int
    backups: tuple[str, ...]
    bytes: int
    needed: int
    unfinished: str | None

    @property
    def count(self) -> int:
        """How many documents are purged."""
        return sum(len(one.ids) for one in self.documents)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do, neither new nor left over."""
        return not self.count and self.unfinished is None


def deleted_ids(
    catalog: cat.Catalog, collection: cat.StoredCollection, ids: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return those of the ids that are of deleted documents, and those that never existed.

    Raises:
        ConflictError: One of them exists.
        NotFoundError: None of them ever existed.
    """
    wanted = list(dict.fromkeys(ids))
    with catalog.read() as connection:
        _refuse_existing(connection, collection, wanted)
        known = cat.last_revisions(connection, collection.id, wanted)
        if known:
            return [key for key in wanted if key in known], [key for key in wanted if key not in known]
        deleted = [one.key for one in cat.get_deleted(connection, collection.id)]
    raise NotFoundError(
        f"there never was a document '{wanted[0]}' in '{collection.name}'",
        hint=nearest(wanted[0], deleted) or "no document of this collection is deleted",
    )


def deleted_before(
    catalog: cat.Catalog, collections: Sequence[cat.StoredCollection], before: str | None
) -> list[Doomed]:
    """Return the deleted documents, only those that were deleted before a time in UTC, unless that is None."""
    found = []
    with catalog.read() as connection:
        for one in collections:
            gone = cat.get_deleted(connection, one.id)
            ids = sorted(revision.key for revision in gone if before is None or revision.at < before)
            if ids:
                found.append(Doomed(one.name, tuple(ids)))
    return found


def plan_purge(
    catalog: cat.Catalog,
    storage: Path,
    documents: Sequence[Doomed],
    *,
    missing: Sequence[str] = (),
) -> PurgePlan:
    """Return what purging deleted documents would do; nothing is written."""
    with catalog.read() as connection:
        stored = {one.name: one for one in cat.list_collections(connection)}
        found = [(stored[one.collection], one.ids) for one in documents]
        quotes, versions, shared = _contents(connection, found)
        unfinished = cat.unfinished_purge(connection)
        quoting = sum(len(cat.quotations(connection, one.id, quotes)) for one in stored.values())
        unused = cat.unused_vectors(connection)
    catalog_bytes = catalog.path.stat().st_size
    return PurgePlan(
        documents=tuple(documents),
        missing=tuple(missing),
        versions=versions,
        vectors=unused.vectors,
        shared=tuple(shared),
        files=tuple(_doomed_files(storage, quotes)),
        jobs=quoting,
        backups=tuple(_backups_with(storage, documents)),
        bytes=live_bytes(storage),
        needed=2 * catalog_bytes,
        unfinished=None if unfinished is None else unfinished.since,
    )


def purge(catalog: cat.Catalog, storage: Path, indexes: Indexes, plan: PurgePlan) -> Generator[Step, None, Cleaned]:
    """Do what a plan says, telling of each step. Whatever ends it in between, the next purge finishes it.

    Raises:
        ConflictError: A document has been brought back since, or a job is running.
        LimitError: There is not enough room to write the catalog anew.
        LockedError: The index is served to several processes, and nothing was done; or another process keeps reading:
            all is done but emptying the log, and the next purge does that.
    """
    began = time.monotonic()
    check_idle(catalog)
    indexes.ownership.take_alone()  # before anything goes: what is refused later could not be taken back
    free = shutil.disk_usage(storage).free
    if free < plan.needed:
        raise LimitError(
            f"a purge writes the catalog anew: {plan.needed / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} MB are free",
            unchanged="nothing was purged",
            hint="free space, try again",
        )
    before = live_bytes(storage)
    with catalog.read() as connection:
        total = 3 + len(cat.list_collections(connection))
    yield Step("taking the documents out of the catalog", 1, total)
    failpoint("purge_before")
    _purge_rows(catalog, storage, plan)
    failpoint("purge_catalog")
    yield from _finish(catalog, storage, indexes, total)
    return Cleaned(before, live_bytes(storage), time.monotonic() - began)


def check_idle(catalog: cat.Catalog) -> None:
    """Make sure that no job is running in this process; another one's is kept out by the lock.

    Raises:
        ConflictError: One is.
        UsageError: This thread is in the middle of an atomic import.
    """
    if catalog.is_writing:
        raise UsageError("an import with --atomic is going on in this thread", unchanged="nothing was purged")
    if catalog.running:
        name = min(catalog.running)
        raise ConflictError(
            f"the job {name} is running", unchanged="nothing was purged", hint=f"wait, or kb jobs cancel {name}"
        )


def _purge_rows(catalog: cat.Catalog, storage: Path, plan: PurgePlan) -> None:
    with catalog.writing, catalog.write() as connection:
        stored = {one.name: one for one in cat.list_collections(connection)}
        found = [(stored[one.collection], one.ids) for one in plan.documents]
        for collection, ids in found:
            _refuse_existing(connection, collection, ids)
        quotes, _, _ = _contents(connection, found)
        files = _doomed_files(storage, quotes)
        for one in stored.values():
            cat.blank(connection, cat.quotations(connection, one.id, quotes), quotes)
        for path in files:
            cat.forget_reject_file(connection, str(storage / path))
        for collection, ids in found:
            cat.purge_documents(connection, collection.id, ids)
        cat.forget_samples(connection)
        cat.delete_unused_vectors(connection)
        cat.count_change_everywhere(connection)
        cat.note_purge(connection, cat.UnfinishedPurge(cat.now(), tuple(files)))


def _finish(catalog: cat.Catalog, storage: Path, indexes: Indexes, total: int) -> Generator[Step]:
    """Do what follows the catalog's transaction; every part of it can be done again."""
    with catalog.read() as connection:
        noted = cat.unfinished_purge(connection)
        collections = cat.list_collections(connection)
    yield Step("deleting the files of the index", 2, total)
    for name in noted.files if noted else ():
        delete(storage / name)
    begin_anew(catalog, indexes, collections)
    for path in (*quarantined(storage), *sorted((storage / WORDS_FOLDER).glob("*"))):
        delete(path)
    failpoint("purge_files")
    yield Step("writing the catalog anew", 3, total)
    catalog.analyse()  # what it has noted of values that occur often may be a purged one
    cat.rewrite(catalog)
    failpoint("purge_rewritten")
    for number, stored in enumerate(collections, start=4):
        yield Step(f"building the index of '{stored.name}' again", number, total)
        indexes.follow(stored)
        refresh_sample(catalog, stored)
        failpoint("purge_index")
    indexes.blank_spare()
    failpoint("purge_blanked")
    with catalog.write() as connection:
        cat.forget_purge(connection)


def _refuse_existing(connection: cat.Connection, collection: cat.StoredCollection, ids: Sequence[str]) -> None:
    if existing := sorted(cat.stored_states(connection, collection.id, ids)):
        name = existing[0]
        what = (
            f"the document '{name}' exists"
            if len(existing) == 1
            else f"{len(existing):,} documents exist ('{name}', …)"
        )
        raise ConflictError(
            f"{what}: only deleted documents can be purged",
            unchanged="nothing was purged",
            hint=f"first: kb delete {name}",
        )


def _contents(
    connection: cat.Connection, found: Sequence[tuple[cat.StoredCollection, tuple[str, ...]]]
) -> tuple[Quotes, int, list[str]]:
    """Return what recognises the documents, the number of their versions, and which texts others have as well."""
    texts: list[str] = []
    ids: list[str] = []
    hashes: dict[bytes, str] = {}
    versions = 0
    for collection, keys in found:
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            ids += some
            for key, stored in cat.versions_of(connection, collection.id, some).items():
                versions += len(stored)
                for fields in stored:
                    texts += _texts(collection.schema, fields)
                    if (text_hash := _text_hash(collection.schema, key, fields)) is not None:
                        hashes[text_hash] = key
    present = cat.texts_in_use(connection, list(hashes))
    return Quotes(texts, ids), versions, sorted({hashes[one] for one in present})


def _texts(schema: Schema, fields: str) -> list[str]:
    """Return the values that the document's text was made of."""
    values = json.loads(fields)
    return [value for name in schema.template.names if isinstance(value := values.get(name), str)]


def _text_hash(schema: Schema, key: str, fields: str) -> bytes | None:
    """Return the hash of the document's text; None where it does not fit the schema any more."""
    try:
        return schema.render(schema.load(key, fields)).text_hash
    except (DocumentError, KeyError, TypeError, ValueError):
        return None


def _doomed_files(storage: Path, quotes: Quotes) -> list[str]:
    rejects = [path for path in sorted((storage / REJECTS).glob("*")) if path.is_file() and quotes.in_file(path)]
    found = [*quarantined(storage), *pre_upgrade_copies(storage), *rejects]
    return [path.relative_to(storage).as_posix() for path in found]


def _backups_with(storage: Path, documents: Sequence[Doomed]) -> list[str]:
    """Return the names of the backups that hold one of the documents, or cannot be read to say that they do not."""
    found = []
    for path in sorted((storage / BACKUPS).glob(f"*/{cat.FILE_NAME}")):
        try:
            # A backup is never written to: as immutable it gets no side files from a look.
            uri = f"{path.absolute().as_uri()}?immutable=1"
            with closing(sqlite3.connect(uri, uri=True)) as connection:
                holds = any(_holds(connection, one) for one in documents)
        except sqlite3.DatabaseError:
            holds = True
        if holds:
            found.append(path.parent.name)
    return found


def _holds(connection: sqlite3.Connection, doomed: Doomed) -> bool:
    query = (
        "SELECT 1 FROM revisions JOIN collections c ON c.id = collection_id"
        " WHERE c.name = ? AND key IN (SELECT value FROM json_each(?)) LIMIT 1"
    )
    return connection.execute(query, (doomed.collection, json.dumps(doomed.ids))).fetchone() is not None
