"""How the catalog's file is connected to: for writing, with WAL and full fsync, or only for reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy
from sqlalchemy import event

from kb.catalog.files import BUSY_SECONDS, connect_to_read
from kb.catalog.filter_sql import register_functions

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path


def reading_engine(path: Path) -> sqlalchemy.Engine:
    """Return what reads a file that nothing may write to any more, not even a log that waits beside it."""
    engine = sqlalchemy.create_engine(
        "sqlite://", creator=lambda: connect_to_read(path), poolclass=sqlalchemy.QueuePool, max_overflow=-1
    )
    event.listen(engine, "connect", _configure_reading)
    event.listen(engine, "begin", _begin)
    return engine


def writing_engine(path: Path) -> sqlalchemy.Engine:
    """Return what reads and writes a file; every commit waits for the disk."""
    url = sqlalchemy.URL.create("sqlite", database=str(path))
    # As many connections as there are threads that want one: one that waits for another's could wait for ever.
    engine = sqlalchemy.create_engine(url, connect_args={"timeout": BUSY_SECONDS}, max_overflow=-1)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def _configure(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the begin event below says BEGIN; the driver must not
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "cache_size = -65536"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("PRAGMA mmap_size = 1073741824")
    # 64 MB of log before it is copied into the file: at 4 MB, the default, an import into a large catalog copies the
    # same pages of its indexes again and again. Every commit still waits for the log to be on disk.
    connection.execute("PRAGMA wal_autocheckpoint = 16000")
    register_functions(connection)


def _configure_reading(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA query_only = ON")
    register_functions(connection)


def _begin(connection: sqlalchemy.Connection) -> None:
    # A transaction that will write says so at once: one that starts by reading can fail to become a writer later.
    write = connection.get_execution_options().get("kb_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
