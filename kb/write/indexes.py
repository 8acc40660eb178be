"""Both indexes of an open knowledge base: opened as they are needed, and kept in step with the catalog."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from kb import catalog as cat
from kb.errors import DamagedError, KBError
from kb.file_lock import Turn
from kb.index import (
    OpenWords,
    WordIndex,
    is_known,
    quarantine,
    remove_words,
    seal_words,
    word_damage,
    words_folder,
)
from kb.write.drain import drain
from kb.write.placing import Placing
from kb.write.word_drain import drain_words, fill, holds_all, holds_same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kb.index import Generation, Ownership

_LOG: Final = logging.getLogger("kb")

DRAINING: Final = "draining"
"""The file that the one process that writes to the indexes has locked."""

WAIT_SECONDS: Final = 5.0
"""For how long another process that does is waited for; a batch takes it less."""

MOST_WAITING: Final = 5_000
"""While more documents than these wait for an index, no search and no opening lets it follow: that takes too long."""


class Indexes:
    """The index of vectors and the index of words of every collection.

    A failure of one does not keep the other from following.
    """

    def __init__(
        self, storage: Path, ownership: Ownership, own: Callable[[], cat.Catalog], *, store_text: bool
    ) -> None:
        """Open nothing yet.

        Args:
            storage: The folder that they lie in.
            ownership: Of that folder.
            own: Becomes its owner, or raises LockedError, and returns the catalog.
            store_text: Whether the index of vectors keeps the text of the chunks.
        """
        self._storage = storage
        self._ownership = ownership
        self._own = own
        self._store_text = store_text
        self._placing = Placing(ownership)
        self._draining = Turn(storage / DRAINING, wait=WAIT_SECONDS, doing="writing to the indexes")
        self._looking = threading.RLock()
        self._words: dict[int, _Opened] = {}
        self._readers: dict[int, _Opened] = {}
        self._copies: dict[int, _Opened] = {}

    def vectors(self, stored: cat.StoredCollection) -> Generation:
        """Return the open index of vectors; this process then owns it, unless it is shared, or LockedError is raised.

        Raises:
            SupersededError: Another generation of the collection serves now.
        """
        with self._own().read() as connection:
            cat.check_serving(connection, stored)
        return self._generation(stored, cat.VECTORS)

    def other_vectors(self, stored: cat.StoredCollection, generation: cat.StoredGeneration) -> Generation:
        """Return the open index of vectors of a generation that does not serve; as ``vectors``."""
        return self._generation(generation.of(stored), generation.target)

    def _generation(self, stored: cat.StoredCollection, target: str) -> Generation:
        catalog = self._own()
        found = self._placing.existing(catalog, stored)
        if found is not None:
            return found
        with self.exclusive():
            return self._placing.opened(catalog, stored, target)

    @property
    def store_text(self) -> bool:
        """Whether the index of vectors keeps the text of the chunks."""
        return self._store_text

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Let nobody else write documents or to an index meanwhile."""
        with self._own().writing, self._draining:
            yield

    def follow(self, stored: cat.StoredCollection) -> Generation:
        """Bring both indexes of a collection up to date with the catalog; return that of vectors, as ``vectors``."""
        failed: DamagedError | None = None
        try:
            self.follow_words(stored)
        except DamagedError as error:
            failed = error
        generation = self.follow_vectors(stored)
        if failed is not None:
            raise failed
        return generation

    def follow_vectors(self, stored: cat.StoredCollection) -> Generation:
        """Bring the index of vectors up to date with the catalog and return it; as ``vectors``."""
        # One at a time: a thread that writes records it read before another's commit would undo what that one wrote.
        # The right to write comes first, as for those who write and let the indexes follow before they give it up.
        with self._own().writing, self._draining:
            generation = self.vectors(stored)
            for _ in drain(self._own(), stored, generation, store_text=self._store_text):
                pass
        return generation

    def catch_up(self, stored: cat.StoredCollection) -> Generation:
        """Bring the index of vectors up to date and return it, where a search can wait for that; as ``vectors``.

        Raises:
            DamagedError: Too many documents wait.
        """
        catalog = self._own()
        generation = self.vectors(stored)  # one that was put aside has them all waiting
        with catalog.read() as connection:
            waiting = cat.pending(connection, stored.id, cat.VECTORS)
            is_late = generation.is_shared and cat.has_late(connection, stored.generation)
        if waiting > MOST_WAITING:
            raise DamagedError(
                f"the vector index lacks {waiting:,} documents: kb rebuild brings it up to date",
                unchanged="the catalog holds every document and vector",
                hint="kb rebuild",
            )
        return self.follow_vectors(stored) if waiting or is_late else generation

    def follow_words(self, stored: cat.StoredCollection) -> WordIndex:
        """Bring the index of words up to date with the catalog and return it; it is built again where it is damaged.

        Raises:
            LockedError: Another process owns the knowledge base.
            DamagedError: The index does not take what is written to it.
        """
        with self._own().writing, self._draining:
            catalog = self._own()
            if self._ownership.is_shared:
                return self._shared_words(catalog, stored)
            opened = self._words.get(stored.id)
            if opened is not None and opened.language == stored.language:
                try:
                    return self._drained(catalog, stored, opened.index)
                except DamagedError:
                    self._let_go(stored.id)  # its files may have been taken away: looked at anew
            index = self._found_words(catalog, stored) or self._new_words(catalog, stored)
            self._words[stored.id] = _Opened(index, stored.language)
        return index

    def _shared_words(self, catalog: cat.Catalog, stored: cat.StoredCollection) -> WordIndex:
        """Let an index follow to which other processes write, too: opened for this, and given up again."""
        if stored.id in self._words:  # from when this process had it to itself
            self._let_go(stored.id)
        index = self._found_words(catalog, stored) or self._new_words(catalog, stored)
        index.close()
        return index

    def words(
        self, stored: cat.StoredCollection, connection: cat.Connection, *, from_catalog: bool = False
    ) -> OpenWords:
        """Return an index of words that holds what a snapshot of the catalog does, or what has been written since.

        Where the one on disk cannot be had, because another process owns it and has not brought it up to date or it
        cannot be read, it is one in memory, made from the catalog, with the reason. So it is when that is asked for,
        after the one on disk has failed.
        """
        if from_catalog:
            return OpenWords(self._copy(stored, connection), None)
        behind = cat.oldest(connection, stored.id, cat.WORDS, 1) is not None
        try:
            if self._ownership.is_owner:
                return OpenWords(self._at_hand(stored, behind=behind), None)
            owner = self._ownership.other_owner()
            if not behind:
                try:
                    alone = owner is None and not self._ownership.is_shared
                    return OpenWords(self._read_only(stored, connection, check=alone), None)
                except DamagedError:
                    if owner is not None:
                        raise
            if owner is None:
                return OpenWords(self.follow_words(stored), None)
            reason = f"the index of words is behind, and owned by {owner}"
        except (KBError, OSError) as error:
            reason = str(error)
        return OpenWords(self._copy(stored, connection), f"{reason}; the words were read from the catalog")

    def generation_names(self) -> list[str]:
        """Return the names of all generations that Chroma holds; raises as ``vectors``."""
        return self._ownership.generation_names()

    def drop_generation(self, name: str) -> None:
        """Delete a generation from Chroma; the catalog knows it no more. Raises as ``vectors``."""
        with self.exclusive():
            self._ownership.drop_generation(name, base=self._placing.base(self._own()))

    @property
    def ownership(self) -> Ownership:
        """Of the folder that they lie in."""
        return self._ownership

    def put_words_aside(self, stored: cat.StoredCollection) -> Path | None:
        """Move a collection's index of words into ``quarantine/``; return where it lies now, None without one."""
        with self.exclusive(), self._looking:
            if stored.id in self._words:
                self._let_go(stored.id)
            self._readers.pop(stored.id, None)
            folder = words_folder(self._storage, stored.id, stored.language)
            return quarantine(self._storage, folder) if os.path.lexists(folder) else None

    def sweep(self) -> None:
        """Delete the folders that Chroma has left behind. Raises as ``vectors``."""
        with self.exclusive():
            self._ownership.sweep()

    def blank_spare(self) -> None:
        """Overwrite what Chroma's files hold beyond its records: parts of the memory of the process that wrote them."""
        with self.exclusive():
            self._ownership.blank_spare()

    def drop_words(self, stored: cat.StoredCollection) -> None:
        """Delete the index of words of a collection that is about to be deleted."""
        with self.exclusive(), self._looking:
            if stored.id in self._words:
                self._let_go(stored.id)
            self._readers.pop(stored.id, None)
            self._copies.pop(stored.id, None)
            remove_words(self._storage, stored.id)

    def close(self) -> None:
        """Close everything, then give up the lock."""
        with self._draining.thread:  # one may be writing
            try:
                for collection_id in list(self._words):
                    self._let_go(collection_id)
                if self._ownership.is_owner:
                    with contextlib.suppress(OSError):  # without the seal they are read through at the next opening
                        seal_words(self._storage)
            finally:
                self._readers.clear()
                self._copies.clear()
                self._ownership.close()

    def _let_go(self, collection_id: int) -> None:
        try:
            self._words.pop(collection_id).index.close()
        except DamagedError as error:
            _LOG.warning("%s", error)

    def _at_hand(self, stored: cat.StoredCollection, *, behind: bool) -> WordIndex:
        opened = self._words.get(stored.id)
        if behind or opened is None or opened.language != stored.language:
            return self.follow_words(stored)
        return opened.index

    def _drained(self, catalog: cat.Catalog, stored: cat.StoredCollection, index: WordIndex) -> WordIndex:
        for _ in drain_words(catalog, stored, index):
            pass
        return index

    def _found_words(self, catalog: cat.Catalog, stored: cat.StoredCollection) -> WordIndex | None:
        """Return the index that lies on the disk, up to date; None when there is none that can be used."""
        folder = words_folder(self._storage, stored.id, stored.language)
        if not folder.exists():
            return None
        was_known = is_known(self._storage, folder)
        try:
            index = self._sound_words(folder, stored.language)
        except DamagedError as error:
            _LOG.warning("%s; it is built again", error)
            return None
        self._drained(catalog, stored, index)
        with catalog.read() as connection:
            if holds_all(connection, stored, index) and (was_known or holds_same(connection, stored, index)):
                return index
        index.close()
        _LOG.warning("the index of words of '%s' has lost documents; it is built again", stored.name)
        return None

    def _sound_words(self, folder: Path, language: str) -> WordIndex:
        """Return an index from the disk whose files are what was written to them."""
        damage = word_damage(self._storage, folder)
        if damage is not None:
            raise DamagedError(f"the index of words is damaged: {damage}", hint="kb rebuild builds it again")
        return WordIndex(folder, language)

    def _new_words(self, catalog: cat.Catalog, stored: cat.StoredCollection) -> WordIndex:
        # Noted first: a kill leaves no empty index that counts as complete.
        with catalog.write() as connection:
            cat.enqueue_all(connection, stored.id, cat.WORDS)
        folder = words_folder(self._storage, stored.id, stored.language)
        if os.path.lexists(folder):
            quarantine(self._storage, folder)
        remove_words(self._storage, stored.id)
        return self._drained(catalog, stored, WordIndex(folder, stored.language, create=True))

    def _read_only(self, stored: cat.StoredCollection, connection: cat.Connection, *, check: bool) -> WordIndex:
        """Return the index on disk without the lock.

        Args:
            stored: The collection.
            connection: In a snapshot that nothing waits in.
            check: Whether nobody else is writing, so that it must hold exactly the documents of the snapshot.
        """
        change = cat.current_change(connection, stored.id)
        with self._looking:
            opened = self._readers.pop(stored.id, None)
            if opened is None or opened.language != stored.language:
                folder = words_folder(self._storage, stored.id, stored.language)
                was_known = not check or is_known(self._storage, folder)
                index = WordIndex(folder, stored.language) if was_known else self._sound_words(folder, stored.language)
                opened = _Opened(index, stored.language, change)
                same = was_known or holds_same(connection, stored, index)
                if check and not (same and holds_all(connection, stored, index)):
                    raise DamagedError(f"the index of words of '{stored.name}' has lost documents")
            elif opened.change != change:
                opened.index.refresh()
                opened = replace(opened, change=change)
            self._readers[stored.id] = opened
        return opened.index

    def _copy(self, stored: cat.StoredCollection, connection: cat.Connection) -> WordIndex:
        """Return an index in memory; kept until the next write to the collection."""
        change = cat.current_change(connection, stored.id)
        with self._looking:
            copy = self._copies.get(stored.id)
            if copy is None or (copy.language, copy.change) != (stored.language, change):
                copy = _Opened(WordIndex(None, stored.language), stored.language, change)
                fill(connection, stored, copy.index)
                copy.index.close()
                self._copies[stored.id] = copy
        return copy.index


@dataclass(frozen=True, slots=True)
class _Opened:
    """An open index of words, and the number of the write that it was last refreshed after where that matters."""

    index: WordIndex
    language: str
    change: int = -1
