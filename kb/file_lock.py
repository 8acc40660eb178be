"""Locks between processes: a lock of the operating system on a file, which ends with its holder, however it ends."""

from __future__ import annotations

import fcntl
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final

from kb.errors import LockedError, UsageError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_POLL_SECONDS: Final = 0.01
_held: Final[weakref.WeakSet[FileLock]] = weakref.WeakSet()


class FileLock:
    """A held lock on a file, until ``release`` or the end of the process.

    A child that is forked meanwhile has no part in it: the lock is free when the one that took it is gone.
    """

    def __init__(self, path: Path, *, wait: float = 0.0) -> None:
        """Take the lock; the file is made where there is none, and stays.

        Args:
            path: The file, or an existing folder.
            wait: How many seconds to try.

        Raises:
            BlockingIOError: Somebody else holds it, or this process does through another object.
        """
        deadline = time.monotonic() + wait
        while True:
            self.descriptor = _opened(path)
            try:
                _wait_for(self.descriptor, deadline)
                if _is_at(self.descriptor, path):
                    break
            except BaseException:
                os.close(self.descriptor)
                raise
            os.close(self.descriptor)
        _held.add(self)

    def release(self) -> None:
        """Give the lock up; twice is harmless."""
        if self.descriptor >= 0:
            descriptor, self.descriptor = self.descriptor, -1
            os.close(descriptor)


def _opened(path: Path) -> int:
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _wait_for(descriptor: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_POLL_SECONDS)
        else:
            return


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether a file is still the one of that name: whoever held it before may have deleted it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def is_held(path: Path) -> bool:
    """Return whether somebody holds the lock on a file at this moment. Looking disturbs nobody: it writes nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two that look do not take each other for a holder; one that wants it waits for them.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class Turn:
    """A turn that one thread of one process has at a time; a thread that has it may take it again.

    Attributes:
        thread: Held by the thread of this process that has the turn, or waits for another process to give it up.
    """

    def __init__(self, path: Path, *, wait: float, doing: str) -> None:
        """Take nothing yet.

        Args:
            path: The file or folder to lock; its folder exists when the turn is taken.
            wait: For how many seconds another process is waited for.
            doing: What that one is doing, for the message.
        """
        self._path = path
        self._wait = wait
        self._doing = doing
        self.thread = threading.RLock()
        self._depth = 0
        self._lock: FileLock | None = None

    def __enter__(self) -> None:
        """Wait for the turn.

        Raises:
            LockedError: Another process has had it all the time.
        """
        self.thread.acquire()
        try:
            if self._depth == 0:
                self._lock = self._acquired()
            self._depth += 1
        except BaseException:
            self.thread.release()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it up, as many times as it was taken."""
        self._depth -= 1
        if self._depth == 0 and self._lock is not None:
            self._lock.release()
            self._lock = None
        self.thread.release()

    def _acquired(self) -> FileLock:
        try:
            return FileLock(self._path, wait=self._wait)
        except BlockingIOError:
            raise LockedError(
                f"another process has been {self._doing} for {self._wait:g} seconds",
                hint="try again when it has finished",
            ) from None


def check_process(pid: int) -> None:
    """Refuse what was opened by the process that this one was forked from: its locks and connections are not ours.

    Raises:
        UsageError: This is another process.
    """
    if os.getpid() != pid:
        raise UsageError(
            f"the knowledge base was opened by process {pid}, and this is a fork of it",
            unchanged="nothing was done",
            hint="open it in this process: with kb.open(…); best, fork before anything is opened",
        )


def _forget_held() -> None:
    for lock in list(_held):
        lock.release()


# A descriptor that a forked child keeps would hold the lock beyond the end of its parent. Closing it frees nothing.
os.register_at_fork(after_in_child=_forget_held)
