"""Who may use the vector index: the process that holds the lock, which is taken before Chroma is opened."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import threading
import time
from typing import TYPE_CHECKING, Final

from kb.errors import LockedError
from kb.index.chroma_files import blank_spare
from kb.index.leftovers import orphan_segments
from kb.index.lock import Lock, Owner, acquire, check_writable, is_held, read_owner
from kb.index.opening import Verdict, open_safely
from kb.index.quarantine import copy_aside, quarantine
from kb.index.seal import FOLDER, break_seal, forget_stops, put_seal
from kb.index.sharing import Sharing
from kb.index_config import IndexSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kb.index.chroma import Generation, VectorIndex

_EMBEDDED: Final = IndexSettings()
SURVIVAL_SECONDS: Final = 60
"""A process that has used the index for so long did not end because of it."""

WAIT_SECONDS: Final = 0.5
"""How long a writer waits for the lock: longer than a look at it takes, and refused within two seconds all told."""


class Ownership:
    """The lock and the open index of one storage folder, each taken when it is first needed."""

    def __init__(
        self, storage: Path, inspect: Callable[[Path, int], Verdict], settings: IndexSettings = _EMBEDDED
    ) -> None:
        """Take nothing yet.

        Args:
            storage: As a real path: two spellings of one folder would be two Chroma systems.
            inspect: Looks at the index of a folder in another process, which inherits the descriptor of the lock.
            settings: Where the index is.
        """
        self._storage = storage
        self.sharing = Sharing(storage, settings)
        self._inspect = inspect
        self._guard = threading.RLock()
        self._lock: Lock | None = None
        self._index: VectorIndex | None = None
        self._generations: dict[str, Generation] = {}
        self._opened_at: float | None = None
        self._pid = os.getpid()
        self._is_blanking = False

    @property
    def is_owner(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock is not None

    @property
    def is_shared(self) -> bool:
        """Whether a server has the index open now, so that other processes write beside this one."""
        return self._lock is None and self.sharing.is_shared

    @property
    def is_used(self) -> bool:
        """Whether another process holds the lock at this moment, be it to serve the index to others."""
        return self._lock is None and is_held(self._storage)

    def take(self, *, wait: float = WAIT_SECONDS) -> bool:
        """Hold the lock from now on, where nobody shares it; return whether it was taken by this call.

        Args:
            wait: How many seconds to try.

        Raises:
            LockedError: Another process holds it; the message names the owner.
            ReadOnlyError: This user may not write there.
        """
        with self._guard:
            if self._lock is not None:
                return False
            check_writable(self._storage)
            deadline = time.monotonic() + wait
            while not self.is_shared:
                try:
                    self._lock = acquire(self._storage)
                except LockedError:
                    if time.monotonic() >= deadline:
                        raise
                    time.sleep(0.05)
                else:
                    return True
            return False

    def take_alone(self) -> None:
        """Hold the lock from now on, whatever the configuration says: to change the files of the index.

        Raises:
            LockedError: Another process holds it, or serves the index to others.
        """
        with self._guard:
            self.take()
            if self._lock is None:
                raise LockedError(
                    "the vector index is served to several processes: its files cannot be changed meanwhile",
                    unchanged="nothing was changed",
                    hint='stop kb index serve first; where [index] says mode = "server", run it with '
                    "KB_INDEX_MODE=embedded",
                )

    def other_owner(self) -> Owner | None:
        """Return the other process that holds the lock at this moment, or None."""
        with self._guard:
            if self._lock is not None or not is_held(self._storage) or self.is_shared:
                return None
            return read_owner(self._storage) or Owner(0, "?", "?", "?")

    def holder(self) -> Owner | None:
        """Return the process that holds the lock, be it to serve the index to others, or None."""
        return read_owner(self._storage) if is_held(self._storage) else None

    def existing(self, name: str, *, base: str | None = None) -> Generation | None:
        """Return an open generation, or None where there is none; raises as ``generation``.

        Args:
            name: Of the Chroma collection.
            base: Which knowledge base must have made it; None where there is no other.
        """
        with self._guard:
            self.take()
            if self._lock is None:
                return self.sharing.existing(name, base=base)
            self._forget_old_stops()
            if name not in self._generations:
                found = self._opened().existing(name)
                if found is None:
                    return None
                self._generations[name] = found
            return self._generations[name]

    def generation(self, name: str, *, created_by: dict[str, str], anew: bool = False) -> tuple[Generation, bool]:
        """Return an open generation and whether it is new and empty, opening Chroma at the first call.

        Takes the lock first, where nobody shares it. An index that was not closed in order is looked at before it is
        opened.

        Args:
            name: Of the Chroma collection.
            created_by: Text metadata for a new one.
            anew: Whether one that is there is replaced by an empty one.

        Raises:
            LockedError: Another process holds the lock; as UnreachableError, the server cannot be asked.
            DamagedError: Chroma cannot open its files, and they cannot be put aside.
            MismatchError: The Chroma collection was not made by kb.
        """
        with self._guard:
            self.take()
            if self._lock is None:
                return self.sharing.generation(name, created_by=created_by, anew=anew)
            self._forget_old_stops()
            if name in self._generations and not anew:
                return self._generations[name], False
            self._generations[name], is_new = self._opened().generation(name, created_by=created_by, anew=anew)
            return self._generations[name], is_new

    def _forget_old_stops(self) -> None:
        if self._opened_at is not None and time.monotonic() - self._opened_at > SURVIVAL_SECONDS:
            forget_stops(self._storage)
            self._opened_at = None

    def generation_names(self) -> list[str]:
        """Return the names of all generations that Chroma holds, sorted; raises as ``generation``."""
        with self._guard:
            self.take_alone()
            return self._opened().names()

    def drop_generation(self, name: str, *, base: str | None = None) -> None:
        """Delete a generation from Chroma and from the disk; harmless when there is none. As ``existing``."""
        with self._guard:
            self.take()
            if self._lock is None:
                self.sharing.drop(name, base=base)
                return
            self._generations.pop(name, None)
            self._opened().drop(name)

    def sweep(self) -> None:
        """Delete the folders that Chroma has left behind; while it is open, so that the seal knows nothing of them.

        Raises as ``generation``.
        """
        with self._guard:
            self.take_alone()
            self._opened()
            for folder in orphan_segments(self._storage):
                shutil.rmtree(folder)

    def _opened(self) -> VectorIndex:
        if self._index is None:
            lock = self._lock
            assert lock is not None
            self._index = open_safely(self._storage, lambda: self._inspect(self._storage, lock.descriptor))
            self._opened_at = time.monotonic()
            # A program that ends without closing is no crash.
            atexit.register(self._close_at_exit)
        return self._index

    def keep_copy(self) -> Path:
        """Close Chroma and copy its folder into ``quarantine/``; return where the copy lies.

        Raises:
            DamagedError: It cannot be copied.
        """
        with self._guard:
            self.take_alone()
            self._close_index()
            return copy_aside(self._storage, self._storage / FOLDER)

    def discard(self) -> Path | None:
        """Close Chroma and move its folder into ``quarantine/``; return where it lies now, None where there was none.

        Raises:
            LockedError: Another process holds the lock.
            DamagedError: It cannot be moved.
        """
        with self._guard:
            self.take_alone()
            self._close_index()
            break_seal(self._storage)
            if not os.path.lexists(self._storage / FOLDER):
                return None
            forget_stops(self._storage)
            return quarantine(self._storage, self._storage / FOLDER)

    def blank_spare(self) -> None:
        """Overwrite what Chroma's files hold beyond its records, now and whenever this process closes it.

        It writes memory as it finds it, in which there may still be what has been purged; raises as ``generation``.
        """
        with self._guard:
            self.take_alone()
            self._is_blanking = True
            self._opened()
            self._close_index()

    def close(self) -> None:
        """Close Chroma and seal what it leaves, then give up the lock."""
        with self._guard:
            try:
                self._close_index()
                self.sharing.close()
            finally:
                if self._lock is not None:
                    self._lock.release()
                    self._lock = None

    def _close_index(self) -> None:
        index, self._index = self._index, None
        if index is None:
            return
        atexit.unregister(self._close_at_exit)
        has_failed = any(generation.has_failed for generation in self._generations.values())
        self._generations.clear()
        index.close()
        if self._is_blanking:
            blank_spare(self._storage / FOLDER)
        if not has_failed:
            with contextlib.suppress(OSError):  # without a seal it is looked at as well
                put_seal(self._storage)
                forget_stops(self._storage)

    def _close_at_exit(self) -> None:
        if os.getpid() == self._pid:  # a forked child has nothing to close
            self.close()
