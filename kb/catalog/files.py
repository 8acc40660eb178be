"""Catalog files that are looked at, copied or counted without being opened for writing."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from kb.catalog.failures import RESTORE, translated_errors
from kb.disk import sync
from kb.errors import CatalogDamagedError, DamagedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FILE_NAME: Final = "catalog.sqlite3"
BUSY_SECONDS: Final = 5
_PAGES: Final = 2_000
"""How many pages are copied between two looks at whether to go on: 8 MB."""


@dataclass(frozen=True, slots=True)
class CollectionCounts:
    """How much a catalog holds of one collection."""

    name: str
    documents: int
    chunks: int
    revisions: int


@dataclass(frozen=True, slots=True)
class CatalogSummary:
    """What a catalog says of itself.

    Attributes:
        revision: Of its schema.
        writer: The release of kb that wrote the schema.
        collections: By name.
        vectors: How many vectors it holds.
        jobs: How many jobs it records.
    """

    revision: str
    writer: str
    collections: tuple[CollectionCounts, ...]
    vectors: int
    jobs: int


@contextmanager
def looking(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection that cannot write; a file without a log gets no side files from a mere look."""
    with closing(connect_to_read(path)) as connection:
        yield connection


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Return a connection that cannot write; any thread may use it."""
    # Without a log nobody is writing.
    mode = "mode=ro" if path.with_name(path.name + "-wal").exists() else "immutable=1"
    return sqlite3.connect(f"file:{_quoted(path)}?{mode}", uri=True, timeout=BUSY_SECONDS, check_same_thread=False)


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def stored_revision(path: Path) -> tuple[str | None, str]:
    """Return the revision of the schema (None for a new file) and the release that wrote it, without writing anything.

    Raises:
        DamagedError: It is a database of something else.
        CatalogDamagedError: The tables are there, but do not say.
    """
    if not path.exists() or path.stat().st_size == 0:
        return None, ""
    with translated_errors(path), looking(path) as connection:
        try:
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        except UnicodeDecodeError as error:  # in place of SQLite's own error, when its message cannot be read, either
            raise CatalogDamagedError(
                f"{path} is damaged: the names of its tables cannot be read", hint=RESTORE
            ) from error
        if "alembic_version" not in names:
            if names:
                raise DamagedError(f"{path} is an SQLite file, but not a catalog", hint="move it away")
            return None, ""
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        if row is None:
            raise CatalogDamagedError(f"{path} is damaged: it does not say which release wrote it")
        writer = connection.execute("SELECT value FROM catalog_info WHERE name = 'kb_version'").fetchone()
        return str(row[0]), str(writer[0]) if writer else "?"


def has_tables(path: Path) -> bool:
    """Return whether SQLite can still read which tables there are."""
    try:
        with looking(path) as connection:
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        return False
    return {"collections", "documents", "chunks", "vectors"} <= names


def summarise(path: Path) -> CatalogSummary:
    """Return what a catalog of any release says of itself.

    Raises:
        CatalogDamagedError: It cannot be read.
    """
    with translated_errors(path):
        revision, writer = stored_revision(path)
        with looking(path) as connection:
            found = connection.execute(
                "SELECT name, (SELECT count(*) FROM documents WHERE collection_id = c.id),"
                " (SELECT count(*) FROM chunks JOIN documents ON seq = document_seq WHERE collection_id = c.id),"
                " (SELECT count(*) FROM revisions WHERE collection_id = c.id) FROM collections c ORDER BY name"
            ).fetchall()
            vectors, jobs = (
                int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]) for table in ("vectors", "jobs")
            )
    return CatalogSummary(str(revision), writer, tuple(CollectionCounts(*row) for row in found), vectors, jobs)


def integrity(path: Path) -> list[str]:
    """Return what SQLite finds wrong with a file that nobody writes to; an empty list when it is sound."""
    try:
        with looking(path) as connection:
            found = [str(message) for (message,) in connection.execute("PRAGMA integrity_check")]
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        return [str(error)]
    return [] if found == ["ok"] else found


def copy_catalog(path: Path, target: Path, on_pages: Callable[[int, int], None] | None = None) -> None:
    """Copy a catalog that may be in use to a file that is there whole or not at all: one state of it, on the disk.

    Args:
        path: The catalog; others go on writing to it.
        target: Where to; replaced if it is there.
        on_pages: Called now and then with the pages that are left and all pages; what it raises ends the copying.

    Raises:
        LimitError: There is no space left.
        CatalogDamagedError: The catalog cannot be read.
    """
    temporary = target.with_name(target.name + ".part")
    temporary.unlink(missing_ok=True)
    try:
        # Only read: closing it must not fold in a log that the next opening is to look at.
        address = f"file:{_quoted(path)}?mode=ro"
        with translated_errors(path), closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as source:
            # A reading transaction around all steps: without it, every commit of another would make it begin anew.
            source.isolation_level = None
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()
            with closing(sqlite3.connect(temporary)) as copy:
                report = None if on_pages is None else lambda _status, left, pages: on_pages(left, pages)
                source.backup(copy, pages=_PAGES, progress=report)
        temporary.chmod(0o600)
        sync(temporary)
        temporary.replace(target)
    except BaseException:  # half a copy stays behind on no account, Ctrl-C included; raised again
        temporary.unlink(missing_ok=True)
        raise
    sync(target.parent)


def move_rejects(path: Path, folder: Path) -> None:
    """Let the jobs of a catalog that has been copied elsewhere no longer point at the reject files of the original.

    Args:
        path: The copy; nobody else has it open.
        folder: Where the copy's reject files would lie.
    """
    with translated_errors(path), closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT id, rejects_path FROM jobs WHERE rejects_path IS NOT NULL").fetchall()
        moved = [(str(folder / PurePath(old).name), job) for job, old in found]
        connection.executemany("UPDATE jobs SET rejects_path = ? WHERE id = ?", moved)
        connection.commit()


def become_another(path: Path) -> None:
    """Let a catalog that has been copied elsewhere be a knowledge base of its own: no index was fed by it yet.

    Otherwise it would take the collections of the original on a server for its own.

    Args:
        path: The copy; nobody else has it open.
    """
    with translated_errors(path), closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "DELETE FROM catalog_info WHERE name IN ('base', 'last_verify')"
            " OR name LIKE 'place:%' OR name LIKE 'sent:%'"
        )
        connection.commit()
