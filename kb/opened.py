"""An open knowledge base seen from inside: its catalog, lock, indexes and models, opened and closed in order."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self

from kb import __version__, jobs
from kb import catalog as cat
from kb.declaration import as_stored, changed_recipe, is_former, mismatches, same_models
from kb.disk import file_number
from kb.errors import (
    CatalogDamagedError,
    DamagedError,
    LimitError,
    LockedError,
    MismatchError,
    NoKnowledgeBaseError,
    SchemaMismatchError,
    SupersededError,
    UsageError,
)
from kb.file_lock import check_process
from kb.index import FOLDER, Generation, OpenWords, Owner, Ownership, remove_words
from kb.ingest import cancelling
from kb.maintain.filesystem import hazard
from kb.schema import with_template
from kb.write import MOST_WAITING, Indexes, inspect

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kb.catalog import StoredCollection
    from kb.config import CollectionSettings, Settings
    from kb.embed import Encoder

_LOG: Final = logging.getLogger("kb")
_REJECTS: Final = "rejects"
_open: Final[set[Path]] = set()
os.register_at_fork(after_in_child=_open.clear)  # what the parent has open, the child may open for itself


class Opened:
    """The parts of an open knowledge base, and who may use them; ``KnowledgeBase`` says what is done with them.

    Several processes may have one open: the first that writes, or needs the vector index, owns it until it closes;
    the others search and read exactly from the catalog, and are refused when they want to write.
    """

    def __init__(self, settings: Settings, *, encoders: Mapping[str, Encoder] | None = None) -> None:
        """Open what the settings describe; use ``kb.open``.

        Args:
            settings: From ``kb.config.load_settings``.
            encoders: Models of your own, by the id that collections name.

        Raises:
            LockedError: This process has the same folder open already.
            DamagedError: The catalog is missing beside an index, or is not readable.
            NewerCatalogError: A newer release wrote the catalog.
            SchemaMismatchError: A declaration no longer fits the stored documents.
        """
        self.settings = settings
        self._pid = os.getpid()
        self._encoders: dict[str, Encoder] = dict(encoders or {})
        self._ownership = Ownership(settings.storage, inspect, settings.index)
        self._catalog: cat.Catalog | None = None
        self._damage: str | None = None
        self._file: tuple[int, int] | None = None
        self._indexes = Indexes(settings.storage, self._ownership, self.own, store_text=settings.store_text)
        self._is_closed = False
        self._is_registered = False
        cat.check_sqlite()
        if settings.storage in _open:
            raise LockedError(
                f"the knowledge base in {settings.storage} is open in this process already",
                hint="use that object, or close it first",
            )
        _open.add(settings.storage)
        self._is_registered = True
        try:
            self._open_existing()
        except BaseException:  # whatever it was, the lock must not outlive the failed opening; raised again
            self.close()
            raise

    def _open_existing(self) -> None:
        path = self.settings.storage / cat.FILE_NAME
        if path.exists() and path.stat().st_size > 0:
            in_use = self._ownership.is_used
            if self._open_catalog(in_use=in_use).damage is None:
                self._catch_up()
        elif (self.settings.storage / FOLDER).exists() or cat.was_there(path):
            raise DamagedError(
                f"{path} is missing or empty, but there is an index beside it"
                if (self.settings.storage / FOLDER).exists()
                else f"{path} is missing or empty, but there was one",
                unchanged="nothing was created",
                hint=f"{cat.RESTORE}; without one, kb recover --from-index FILE.jsonl writes what the index has",
            )

    def _open_catalog(self, *, in_use: bool = False) -> cat.Catalog:
        path = self.settings.storage / cat.FILE_NAME
        self._catalog = cat.open_catalog(path, version=__version__, in_use=in_use)
        self._file = file_number(path)
        return self._catalog

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the index, the catalog and the models, and give up the lock. Closing twice is harmless.

        A job that another thread runs finishes the batch that it is writing, and is interrupted; so is one that nobody
        goes on with. An atomic import is rolled back. In a forked child nothing is closed: all of it is the parent's.
        """
        if os.getpid() != self._pid:
            return
        with ExitStack() as closing:  # all of them, whichever fails
            for encoder in self._encoders.values():
                closing.callback(encoder.close)
            if self._catalog is not None:
                if self._ownership.is_owner and self._catalog.damage is None:
                    closing.callback(cat.note_closed, self._catalog.path)
                closing.callback(self._catalog.close)
            closing.callback(self._indexes.close)
            closing.callback(self._refuse)
            if self._catalog is not None:
                closing.callback(jobs.end, self._catalog)
        self._encoders.clear()
        self._damage = self.damage
        self._catalog = None

    def _refuse(self) -> None:
        self._is_closed = True
        if self._is_registered:
            _open.discard(self.settings.storage)
            self._is_registered = False

    @property
    def damage(self) -> str | None:
        """What is wrong with the catalog, or None; a damaged one is only read, and answers come from its sound part."""
        return self._damage if self._catalog is None else self._catalog.damage

    @property
    def catalog(self) -> cat.Catalog | None:
        """The open catalog, or None before the first write of any process.

        Raises:
            UsageError: The knowledge base is closed.
        """
        check_process(self._pid)
        if self._is_closed:
            raise UsageError("the knowledge base is closed", unchanged="nothing was done", hint="open it again")
        if self._catalog is None:
            self._open_existing()
        return self._catalog

    def encoder(self, model: str) -> Encoder:
        """Return an open model; opened once.

        Raises:
            ModelNotFoundError: The id resolves to nothing usable.
        """
        if model not in self._encoders:
            from kb.embed import open_encoder

            self._encoders[model] = open_encoder(model, self.settings.models)
        return self._encoders[model]

    def index(self, stored: StoredCollection) -> Generation:
        """Return the open index of vectors of a stored collection; this process then owns it, or LockedError."""
        return self._indexes.vectors(stored)

    def words(self, stored: StoredCollection, connection: cat.Connection, *, from_catalog: bool = False) -> OpenWords:
        """Return an index of words that holds what a snapshot of the catalog does; see ``kb.write.Indexes``."""
        return self._indexes.words(stored, connection, from_catalog=from_catalog)

    def follow(self, stored: StoredCollection) -> Generation:
        """Bring both indexes of a stored collection up to date with the catalog; as ``index``."""
        return self._indexes.follow(stored)

    def catch_up(self, stored: StoredCollection) -> Generation:
        """Bring the index of vectors up to date for a search; as ``index``; DamagedError where it lacks too much."""
        return self._indexes.catch_up(stored)

    def own(self) -> cat.Catalog:
        """Become the owner and return the catalog, made if there is none yet: the first step of every write.

        Raises:
            LockedError: Another process owns the knowledge base.
            CatalogDamagedError: The catalog is damaged; it is only read.
            NoKnowledgeBaseError: Its folder has been moved or deleted since it was opened.
        """
        if self.damage is not None:
            raise cat.refusal(self.settings.storage / cat.FILE_NAME, self.damage)
        self._check_place()
        if self.catalog is None:
            self.settings.storage.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._own()
        if self.catalog is None:
            self._open_catalog()
            if found := hazard(self.settings.storage):
                _LOG.warning("%s", found)
        assert self._catalog is not None
        return self._catalog

    def _check_place(self) -> None:
        """Look whether the catalog still lies where it was opened: what is written to a deleted file is lost."""
        path = self.settings.storage / cat.FILE_NAME
        if self._catalog is not None and file_number(path) != self._file:
            raise NoKnowledgeBaseError(
                f"{path} has been moved, deleted or replaced while it was open",
                unchanged="nothing was written",
                hint="close the knowledge base, and open it where it lies now",
            )

    def _own(self) -> None:
        catalog = self.catalog
        if self._ownership.take() and catalog is not None:
            # Whoever had the lock is gone; what its jobs were doing has ended.
            with catalog.write() as connection:
                cat.interrupt_running(connection, besides=cancelling.alive(self.settings.storage))

    def _catch_up(self) -> None:
        """Bring the index up to date if a process ended between its last commit and its index, and nobody else does."""
        assert self._catalog is not None
        try:
            with self._catalog.read() as connection:
                unfinished = cat.unfinished_purge(connection)
                behind = [
                    stored
                    for stored in cat.list_collections(connection)
                    if any(cat.oldest(connection, stored.id, target, 1) for target in cat.TARGETS)
                    and cat.pending(connection, stored.id, cat.VECTORS) <= MOST_WAITING
                ]
        except CatalogDamagedError:
            return  # it is noted, and only read from now on
        if unfinished is not None:
            when = unfinished.since[:19].replace("T", " ")
            _LOG.warning("a purge that began %s UTC was interrupted; kb purge finishes it", when)
        if behind and self._ownership.other_owner() is None:
            try:
                for stored in behind:
                    self.follow(stored)
            except (LockedError, DamagedError, MismatchError, LimitError, SupersededError, OSError):
                return  # searches then are exact, and say so; the next opening tries again

    def stored_for(self, name: str, declared: CollectionSettings) -> StoredCollection | None:
        """Return the stored collection under its declaration, or None; another process may have stored it by now.

        Raises:
            SchemaMismatchError: The declaration does not fit what is stored.
        """
        stored = self._stored(name)
        return None if stored is None else self._reconciled(stored, self._settled(stored, declared))

    def _settled(self, stored: StoredCollection, declared: CollectionSettings) -> CollectionSettings:
        """Return the declaration, with the recipe that serves where it is still that of a generation which did."""
        if not mismatches(stored, declared, changed_recipe(stored, declared)):
            return declared
        assert self._catalog is not None
        with self._catalog.read() as connection:
            former = cat.retired(connection, stored.id)
        if not is_former(stored, former, declared):
            return declared
        _LOG.warning(
            "'%s' is declared as it was before its vectors were made by %s; kb reembed --promote writes config.toml",
            stored.name,
            stored.recipe.model,
        )
        return as_stored(declared, stored)

    def stored_collections(self) -> list[StoredCollection]:
        """Return every stored collection by name."""
        if self.catalog is None:
            return []
        with self.catalog.read() as connection:
            return cat.list_collections(connection)

    def _stored(self, name: str) -> StoredCollection | None:
        return next((stored for stored in self.stored_collections() if stored.name == name), None)

    def _reconciled(self, stored: StoredCollection, declared: CollectionSettings) -> StoredCollection:
        """Return the stored collection under its new declaration, where its documents fit that as they are."""
        recipe = changed_recipe(stored, declared)
        same_language = stored.language == declared.language
        if stored.schema.to_json() == declared.schema.to_json() and stored.recipe == recipe and same_language:
            # Equal, but the declared one may be a class of the caller's own: that is what comes back.
            return replace(stored, schema=declared.schema)
        if self.damage is not None:
            return stored  # what is only read is read as it was stored, whatever is declared by now
        assert self._catalog is not None
        with self._catalog.read() as connection:
            # Nothing that a restoration could bring back, either.
            is_empty = cat.last_update(connection, stored.id) is None
        found = mismatches(stored, declared, recipe)
        if found and not (is_empty and same_models(stored.recipe, recipe)):
            raise SchemaMismatchError(
                f"the collection '{stored.name}' was stored under another declaration: {'; '.join(found)}",
                unchanged="nothing was changed",
                hint=f"put the declaration back, or {_way_out(stored, declared)}",
            )
        try:
            self._own()
        except LockedError:
            return stored  # the owner knows the old declaration; this process reads under it until it can write
        if not same_language:
            remove_words(self.settings.storage, stored.id)  # an older one of that language would lack what came since
        with self._catalog.write() as connection:
            cat.check_serving(connection, stored)  # another process may have promoted one since
            return cat.replace_schema(connection, stored, declared.schema, recipe, language=declared.language)

    @property
    def indexes(self) -> Indexes:
        """Both indexes of every collection."""
        return self._indexes

    @property
    def is_owner(self) -> bool:
        """Whether this process owns the knowledge base."""
        return self._ownership.is_owner

    def other_owner(self) -> Owner | None:
        """Return the other process that owns the knowledge base at this moment, or None."""
        return None if self._catalog is None else self._ownership.other_owner()

    def rejects_folder(self) -> Path:
        """Return the folder of the reject files, made if there is none yet."""
        folder = self.settings.storage / _REJECTS
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder


def _way_out(stored: StoredCollection, declared: CollectionSettings) -> str:
    """Return what makes a new declaration fit."""
    same_template = replace(declared, schema=with_template(declared.schema, stored.schema.template.source))
    if mismatches(stored, same_template, stored.recipe):  # its fields
        return "declare the new one as another collection and import into it"
    return f"make the vectors that it asks for, beside those that serve: kb reembed -c {stored.name}"
