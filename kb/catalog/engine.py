"""Opening the catalog: SQLite with WAL and full fsync, migrated when it is older, refused when it is newer."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import weakref
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy
from sqlalchemy import event

from kb.catalog.filter_sql import register_functions
from kb.catalog.tables import HEAD, catalog_info
from kb.catalog.write_lock import WriteLock
from kb.errors import DamagedError, LimitError, LockedError, NewerCatalogError, UsageError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

FILE_NAME: Final = "catalog.sqlite3"
_BUSY_SECONDS: Final = 5
_LOOK_SECONDS: Final = 0.05


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
        running: The ids of the jobs that run on it in this process.
        suspended: The steps of imports that keep a transaction between them; those that ``shut`` ends.
        is_closing: Whether such imports shall end at their next step.
        is_shut: Whether it refuses everything, because the knowledge base has been closed.
    """

    def __init__(self, path: Path) -> None:
        """Connect to an existing, migrated file; use ``open_catalog``."""
        self.path = path
        self.writing = WriteLock()
        self.running: set[str] = set()
        self.suspended: weakref.WeakSet[Generator[object]] = weakref.WeakSet()
        self.is_closing = False
        self.is_shut = False
        self._joined: _Joined | None = None
        self._engine = _engine(path)
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
        with translated_errors(self.path), self._engine.connect() as connection:
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
        with self.writing, translated_errors(self.path):
            self._check_open()
            with self._writer.begin() as connection:
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

    def _own(self) -> _Joined | None:
        joined = self._joined
        return joined if joined is not None and joined.thread == threading.get_ident() else None

    def _check_open(self) -> None:
        # A thread that goes on after the closing would connect anew, and write without the lock.
        if self.is_shut:
            raise UsageError("the knowledge base is closed", unchanged="nothing was done", hint="open it again")


def _engine(path: Path) -> sqlalchemy.Engine:
    url = sqlalchemy.URL.create("sqlite", database=str(path))
    # As many connections as there are threads that want one: one that waits for another's could wait for ever.
    engine = sqlalchemy.create_engine(url, connect_args={"timeout": _BUSY_SECONDS}, max_overflow=-1)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def open_catalog(path: Path, *, version: str) -> Catalog:
    """Return the open catalog, creating or migrating it first.

    A catalog from before this release is copied to ``catalog.before-REVISION.sqlite3`` beside it, then migrated.

    Args:
        path: The file; its folder must exist.
        version: The version of this release, recorded as the last writer of the schema.

    Raises:
        NewerCatalogError: A newer release wrote it; the file is untouched.
        DamagedError: It is not a readable SQLite file.
    """
    with translated_errors(path):
        found, writer = _stored_revision(path)
        if found != HEAD:
            if found is not None and found not in _known_revisions():
                raise NewerCatalogError(
                    f"{path} was written by kb {writer}, which is newer than this kb {version}",
                    unchanged="the catalog was not touched",
                    hint=f"pip install 'kb>={writer}'",
                )
            _migrate(path, found, version)
    return Catalog(path)


def _stored_revision(path: Path) -> tuple[str | None, str]:
    """Return the Alembic revision (None for a new file) and the version that wrote it, without writing anything."""
    if not path.exists() or path.stat().st_size == 0:
        return None, ""
    # Without a log nobody is writing: opened as immutable, the file gets no side files from a mere look.
    mode = "mode=ro" if path.with_name(path.name + "-wal").exists() else "immutable=1"
    connection = sqlite3.connect(f"file:{_quoted(path)}?{mode}", uri=True, timeout=_BUSY_SECONDS)
    try:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "alembic_version" not in names:
            if names:
                raise DamagedError(f"{path} is an SQLite file, but not a catalog", hint="move it away")
            return None, ""
        (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        row = connection.execute("SELECT value FROM catalog_info WHERE name = 'kb_version'").fetchone()
        return str(revision), str(row[0]) if row else "?"
    finally:
        connection.close()


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def migrations_folder() -> Path:
    """Return the folder of the Alembic scripts: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def _alembic_config(path: Path | None) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    if path is not None:
        config.attributes["path"] = path
    return config


def _known_revisions() -> set[str]:
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory.from_config(_alembic_config(None)).walk_revisions()}


def _migrate(path: Path, found: str | None, version: str) -> None:
    from alembic import command

    if found is not None:
        copy_catalog(path, path.with_name(f"catalog.before-{HEAD}.sqlite3"))
    # Built under another name: a killed first start leaves no half-made catalog under the real one.
    target = path if found is not None else path.with_suffix(".new")
    if found is None:
        target.unlink(missing_ok=True)
    engine = _engine(target)
    # A migration that copies a table and drops the old one must not take along what refers to it.
    event.listen(engine, "connect", lambda connection, _record: connection.execute("PRAGMA foreign_keys = OFF"))
    try:
        with engine.execution_options(kb_write=True).begin() as connection:
            config = _alembic_config(target)
            config.attributes["connection"] = connection
            command.upgrade(config, HEAD)
            if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall():
                raise DamagedError(f"{path} cannot be migrated: {len(broken)} rows refer to others that do not exist")
            connection.execute(catalog_info.delete().where(catalog_info.c.name == "kb_version"))
            connection.execute(catalog_info.insert().values(name="kb_version", value=version))
    finally:
        engine.dispose()
    if target is not path:
        target.replace(path)


def copy_catalog(path: Path, target: Path) -> None:
    """Copy a catalog that may be in use to a new file, consistently."""
    temporary = target.with_suffix(".part")
    temporary.unlink(missing_ok=True)
    source = sqlite3.connect(path)
    copy = sqlite3.connect(temporary)
    try:
        source.backup(copy)
    finally:
        copy.close()
        source.close()
    shutil.move(temporary, target)


def _configure(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the begin event below says BEGIN; the driver must not
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "cache_size = -65536"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("PRAGMA mmap_size = 1073741824")
    # 64 MB of log before it is copied into the file: at 4 MB, the default, an import into a large catalog copies the
    # same pages of its indexes again and again. Every commit still waits for the log to be on disk.
    connection.execute("PRAGMA wal_autocheckpoint = 16000")
    register_functions(connection)


def _begin(connection: sqlalchemy.Connection) -> None:
    # A transaction that will write says so at once: one that starts by reading can fail to become a writer later.
    write = connection.get_execution_options().get("kb_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def translated_errors(path: Path) -> Iterator[None]:
    """Turn the errors of SQLite that a user can do something about into ours."""
    try:
        yield
    except (sqlalchemy.exc.DatabaseError, sqlite3.DatabaseError) as error:
        cause = getattr(error, "orig", None) or error
        message = str(cause)
        # The second: no room even for the 32 KB that readers and writers share.
        if "full" in message or getattr(cause, "sqlite_errorname", "") == "SQLITE_IOERR_SHMSIZE":
            raise LimitError(
                f"no space left for {path}", unchanged="nothing of this write was kept", hint="free space, try again"
            ) from error
        if "locked" in message:
            raise LockedError(
                f"{path} is busy: another process has been writing for {_BUSY_SECONDS} seconds",
                unchanged="nothing of this write was kept",
                hint="try again when it has finished",
            ) from error
        if "malformed" in message or "not a database" in message:
            raise DamagedError(f"{path} is damaged: {message}", hint="restore a backup") from error
        raise


def now() -> str:
    """Return the current time as the catalog stores it: UTC, ISO 8601, microseconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
