"""Writing the catalog's file anew, without what has been deleted from it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final

from kb.catalog.failures import translated_errors
from kb.catalog.soundness import forget_closed
from kb.errors import LockedError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from kb.catalog.engine import Catalog

_BUSY_SECONDS: Final = 5


def free_bytes(connection: Connection) -> int:
    """Return how many bytes of the file hold nothing; new documents fill them, ``rewrite`` gives them back."""
    pages = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
    return int(pages) * int(connection.exec_driver_sql("PRAGMA page_size").scalar_one())


def rewrite(catalog: Catalog) -> None:
    """Write the file anew, and empty its log: no byte of a deleted row is left in either.

    As SQLite does it: through the log, so that a kill leaves the one file or the other, whole.

    Raises:
        LimitError: There is no room for a second copy.
        LockedError: Another process keeps reading what was there before; the file is new, the log is not empty.
    """
    with catalog.writing, translated_errors(catalog.path):
        forget_closed(catalog.path)
        with closing(sqlite3.connect(catalog.path, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
            for pragma in ("synchronous = FULL", "secure_delete = ON", "foreign_keys = ON"):
                connection.execute(f"PRAGMA {pragma}")
            connection.execute("VACUUM")
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise LockedError(
                f"another process has been reading {catalog.path} for {_BUSY_SECONDS} seconds",
                unchanged=f"the catalog is complete, but {catalog.path.name}-wal still holds what was deleted",
                hint="do it again when the other process has finished",
            )
