"""The lock of those who write."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType


@dataclass(slots=True)
class Seen:
    """What a write that is being decided has looked at.

    Attributes:
        collection_id: The collection.
        change: The number of its last write; None once the transaction has begun that nobody else can write in.
        made: Vectors that were embedded for it, by the hash of their text: another attempt needs them again.
    """

    collection_id: int
    change: int | None
    made: dict[bytes, Any]


@dataclass
class _Hold:
    """Which thread has the lock, and how many times."""

    thread: int
    depth: int


class WriteLock:
    """A lock that one thread can take several times, and that any thread may release.

    An import with ``--atomic`` keeps it between its steps: one that is abandoned ends in whatever thread collects the
    garbage, where an ``RLock`` could not be released, and nobody could write any more.
    """

    def __init__(self) -> None:
        """Begin free."""
        self._lock = threading.Lock()
        self._hold: _Hold | None = None

    def acquire(self, timeout: float = -1) -> bool:
        """Take it, and return whether that was possible within so many seconds; -1 waits for ever."""
        hold = self._hold
        if hold is not None and hold.thread == threading.get_ident():
            hold.depth += 1
            return True
        if not self._lock.acquire(timeout=timeout):
            return False
        self._hold = _Hold(threading.get_ident(), 1)
        return True

    def release(self) -> None:
        """Give it up once, as many times as it was taken."""
        hold = self._hold
        assert hold is not None
        hold.depth -= 1
        if not hold.depth:
            self._hold = None
            self._lock.release()

    def __enter__(self) -> None:
        """Take it."""
        self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it up."""
        self.release()
