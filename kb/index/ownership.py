"""Who may use the vector index: the process that holds the lock, which is taken before Chroma is opened."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from kb.errors import LockedError
from kb.index.lock import Lock, Owner, acquire, is_held, read_owner

if TYPE_CHECKING:
    from pathlib import Path

    from kb.index.chroma import Generation, VectorIndex

WAIT_SECONDS: Final = 0.5
"""How long a writer waits for the lock: longer than a look at it takes, and refused within two seconds all told."""


class Ownership:
    """The lock and the open index of one storage folder, each taken when it is first needed."""

    def __init__(self, storage: Path) -> None:
        """Take nothing yet.

        Args:
            storage: As a real path: two spellings of one folder would be two Chroma systems.
        """
        self._storage = storage
        self._guard = threading.RLock()
        self._lock: Lock | None = None
        self._index: VectorIndex | None = None
        self._generations: dict[str, Generation] = {}

    @property
    def is_owner(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock is not None

    def take(self, *, wait: float = WAIT_SECONDS) -> bool:
        """Hold the lock from now on; return whether it was taken by this call.

        Args:
            wait: How many seconds to try.

        Raises:
            LockedError: Another process holds it; the message names the owner.
        """
        with self._guard:
            if self._lock is not None:
                return False
            deadline = time.monotonic() + wait
            while True:
                try:
                    self._lock = acquire(self._storage)
                except LockedError:
                    if time.monotonic() >= deadline:
                        raise
                    time.sleep(0.05)
                else:
                    return True

    def other_owner(self) -> Owner | None:
        """Return the other process that holds the lock at this moment, or None."""
        with self._guard:
            if self._lock is not None or not is_held(self._storage):
                return None
            return read_owner(self._storage) or Owner(0, "?", "?", "?")

    def generation(self, name: str, *, created_by: dict[str, str]) -> tuple[Generation, bool]:
        """Return an open generation and whether it is new and empty, opening Chroma at the first call.

        Takes the lock first.

        Raises:
            LockedError: Another process holds the lock.
            DamagedError: Chroma cannot open its files.
            MismatchError: The Chroma collection was not made by kb.
        """
        with self._guard:
            self.take()
            if name in self._generations:
                return self._generations[name], False
            self._generations[name], is_new = self._opened().generation(name, created_by=created_by)
            return self._generations[name], is_new

    def generation_names(self) -> list[str]:
        """Return the names of all generations that Chroma holds, sorted; raises as ``generation``."""
        with self._guard:
            self.take()
            return self._opened().names()

    def drop_generation(self, name: str) -> None:
        """Delete a generation from Chroma and from the disk; harmless when there is none. Raises as ``generation``."""
        with self._guard:
            self.take()
            self._generations.pop(name, None)
            self._opened().drop(name)

    def _opened(self) -> VectorIndex:
        if self._index is None:
            from kb.index.chroma import VectorIndex

            self._index = VectorIndex(self._storage)
        return self._index

    def close(self) -> None:
        """Close Chroma, then give up the lock."""
        with self._guard:
            self._generations.clear()
            try:
                if self._index is not None:
                    self._index.close()
            finally:
                self._index = None
                if self._lock is not None:
                    self._lock.release()
                    self._lock = None
