"""Opening the catalog: SQLite with WAL and full fsync, migrated when it is older, refused when it is newer."""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from kb.catalog.connect import reading_engine, writing_engine
from kb.catalog.failures import ADVICE, RESTORE, translated_errors
from kb.catalog.files import has_tables
from kb.catalog.migrating import checked_revision, is_current, migrate
from kb.catalog.soundness import accept, find_damage, forget_closed, is_noted, note_damage
from kb.catalog.write_lock import Seen, WriteLock
from kb.disk import file_number
from kb.errors import CatalogDamagedError, ReadOnlyError, UsageError
from kb.file_lock import FileLock, Turn, check_process

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    import sqlalchemy

_LOOK_SECONDS: Final = 0.05
_MIGRATION_SECONDS: Final = 600.0
"""For how long another process that makes or migrates the catalog is waited for."""


@dataclass(slots=True)
class _Joined:
    """The transaction that writes: whose it is, and whether that thread may join it now."""

    connection: sqlalchemy.Connection
    thread: int
    is_guarded: bool = False


class Catalog:
    """An open catalog: hands out transactions.

    Safe to use from several threads; SQLite admits one writer at a time.

    Attributes:
        path: The file.
        writing: Held by a write from its first look at the stored state to its commit.
        seen: What the write that holds ``writing`` was decided on; None between writes.
        running: The jobs that run on it in this process, by id, each with what shows that to other processes.
        suspended: The steps of imports that keep a transaction between them; those that ``shut`` ends.
        is_closing: Whether such imports shall end at their next step.
        is_shut: Whether it refuses everything, because the knowledge base has been closed.
        damage: What is wrong with it, or None; from then on it is only read.
        is_read_only: Whether this user may not write there.
    """

    def __init__(self, path: Path, *, damage: str | None = None, is_read_only: bool = False) -> None:
        """Connect to an existing, migrated file; use ``open_catalog``."""
        self.is_read_only = is_read_only
        self.path = path
        self.damage = damage
        self._file = file_number(path)
        self._is_noted = False
        self._pid = os.getpid()
        self.writing = WriteLock()
        self.seen: Seen | None = None
        self.running: dict[str, FileLock] = {}
        self.suspended: weakref.WeakSet[Generator[object]] = weakref.WeakSet()
        self.is_closing = False
        self.is_shut = False
        self._joined: _Joined | None = None
        self._engine = writing_engine(path) if damage is None and not is_read_only else reading_engine(path)
        self._writer = self._engine.execution_options(kb_write=True)

    @contextmanager
    def read(self) -> Iterator[sqlalchemy.Connection]:
        """Yield a connection in one snapshot; what is written meanwhile is not seen.

        Inside a transaction of this thread it is that one, with what it has written so far.
        """
        joined = self._own()
        if joined is not None:
            yield joined.connection
            return
        self._check_open()
        with self._watched():
            self._check_there()
            with self._engine.connect() as connection:
                yield connection

    @contextmanager
    def write(self) -> Iterator[sqlalchemy.Connection]:
        """Yield a connection in one transaction: committed with fsync on success, rolled back on any error.

        A write inside a write of the same thread joins it: both are committed by the outer one, or neither is.
        """
        joined = self._own()
        if joined is not None:
            if joined.is_guarded:
                raise UsageError(
                    "an import with --atomic is going on in this thread",
                    unchanged="nothing was written",
                    hint="write when it has ended: until then it could take this back",
                )
            yield joined.connection
            return
        with self.writing, self._watched():
            self._check_open()
            self._check_there()
            self._check_sound()
            with self._writer.begin() as connection:
                forget_closed(self.path)
                self._joined = _Joined(connection, threading.get_ident())
                try:
                    yield connection
                finally:
                    self._joined = None

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Let nobody join the transaction of this thread, while others than its owner have their turn."""
        joined = self._own()
        if joined is None:
            yield
            return
        joined.is_guarded = True
        try:
            yield
        finally:
            joined.is_guarded = False

    @property
    def is_writing(self) -> bool:
        """Whether this thread is inside a transaction that writes."""
        return self._own() is not None

    def analyse(self) -> None:
        """Let SQLite look at how the values are spread: without it, a range filter reads the whole collection."""
        with self.write() as connection:
            connection.exec_driver_sql("PRAGMA analysis_limit = 1000")
            connection.exec_driver_sql("ANALYZE")
        self._engine.dispose()  # a connection learns of it when it is opened

    def accept(self) -> None:
        """Go on with a file that has been looked through and found sound: it may be written to again."""
        accept(self.path)
        self._engine.dispose()
        self._engine = writing_engine(self.path)
        self._writer = self._engine.execution_options(kb_write=True)
        self.damage = None

    def end_suspended(self) -> None:
        """Wait until nobody is in the middle of a write; an import that keeps a transaction is rolled back.

        The lock of those who write is the caller's from then on.
        """
        self.is_closing = True
        while not self.writing.acquire(timeout=_LOOK_SECONDS):
            self._close_suspended()
        self._close_suspended()

    def _close_suspended(self) -> None:
        for steps in list(self.suspended):
            # One that is being stepped says so, and ends by itself.
            with suppress(ValueError):
                steps.close()

    def shut(self) -> None:
        """Refuse everything from now on."""
        self.is_shut = True

    def close(self) -> None:
        """Close all connections; the write-ahead log is folded into the file."""
        self._engine.dispose()
        if self._is_noted and self.damage is not None and file_number(self.path) == self._file:
            note_damage(self.path, self.damage)  # of the file as it is now

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Remember damage that shows: whatever it has spoiled already, nothing is written over it."""
        try:
            with translated_errors(self.path):
                yield
        except CatalogDamagedError as error:
            if self.damage is None:
                self.damage = str(error)
                self._is_noted = error.is_lasting
                if error.is_lasting:
                    note_damage(self.path, self.damage)
            raise

    def _check_there(self) -> None:
        # A connection that is opened now would make a new file, or read another one than the others do.
        if file_number(self.path) != self._file:
            raise CatalogDamagedError(
                f"{self.path} is no longer the file that was opened: it was moved, deleted or replaced",
                unchanged="nothing was done",
                hint="put it back if it was moved, and open the knowledge base again",
                is_lasting=False,
            )

    def _check_sound(self) -> None:
        if self.damage is None and is_noted(self.path):
            self.damage = "another process has found it damaged"
        if self.damage is not None:
            raise refusal(self.path, self.damage)
        if self.is_read_only:
            raise _read_only(self.path)

    def _own(self) -> _Joined | None:
        joined = self._joined
        return joined if joined is not None and joined.thread == threading.get_ident() else None

    def _check_open(self) -> None:
        check_process(self._pid)
        # A thread that goes on after the closing would connect anew, and write without the lock.
        if self.is_shut:
            raise UsageError("the knowledge base is closed", unchanged="nothing was done", hint="open it again")


def refusal(path: Path, damage: str) -> CatalogDamagedError:
    """Return the error of a write to a damaged catalog."""
    return CatalogDamagedError(f"{path} is only read: {damage}", unchanged="nothing was written", hint=ADVICE)


def _read_only(path: Path) -> ReadOnlyError:
    return ReadOnlyError(
        f"{path} cannot be written by this user",
        unchanged="nothing was written; searching and reading work",
        hint=f"chmod u+w {path.parent} {path}, or mount its file system writable",
    )


def open_catalog(path: Path, *, version: str, in_use: bool = False) -> Catalog:
    """Return the open catalog, creating or migrating it first.

    A catalog from before this release is copied to ``catalog.before-REVISION.sqlite3`` beside it, then migrated. A
    damaged one is opened to be read: ``damage`` then says what is wrong, and writes are refused.

    Args:
        path: The file; its folder must exist.
        version: The version of this release, recorded as the last writer of the schema.
        in_use: Whether another process has it open to write.

    Raises:
        NewerCatalogError: A newer release wrote it; the file is untouched.
        DamagedError: It is not a readable SQLite file.
        LockedError: Another process has been migrating it for ten minutes.
        ReadOnlyError: It would have to be made or migrated where this user may not write.
    """
    with translated_errors(path):
        try:
            found = checked_revision(path, version)
        except CatalogDamagedError as error:
            if has_tables(path):
                return Catalog(path, damage=str(error))
            raise CatalogDamagedError(str(error), unchanged="nothing was changed", hint=RESTORE) from error
        damage = None if found is None else find_damage(path, in_use=in_use)
        if damage is not None and not is_current(found):
            raise CatalogDamagedError(
                f"{path} was written by an older kb, and is not migrated: {damage}",
                unchanged="the catalog was not touched",
                hint=ADVICE,
            )
        is_read_only = not (os.access(path.parent, os.W_OK) and (found is None or os.access(path, os.W_OK)))
        if damage is not None:
            note_damage(path, damage)
        elif not is_current(found):
            if is_read_only:
                raise _read_only(path)
            with Turn(path.parent, wait=_MIGRATION_SECONDS, doing="making or migrating the catalog"):
                found = checked_revision(path, version)
                if not is_current(found):
                    migrate(path, found, version)
    return Catalog(path, damage=damage, is_read_only=is_read_only)


def now() -> str:
    """Return the current time as the catalog stores it: UTC, ISO 8601, microseconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
