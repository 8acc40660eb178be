"""What SQLite fails with, as errors that say what is unchanged and what to do next."""

from __future__ import annotations

import re
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import sqlalchemy

from kb.errors import CatalogDamagedError, LimitError, LockedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RESTORE: Final = "kb backup list shows the backups, and kb backup restore NAME NEWDIR brings one back"
"""What to do about a catalog that cannot be read at all."""

ADVICE: Final = f"kb verify says what can still be read, and kb export saves it; {RESTORE}"
"""What to do about a damaged catalog."""

_DAMAGED: Final = re.compile(
    "malformed|not a database|unsupported file format|file format|no such (table|column|index)|decode to UTF-8|orphan"
)


@contextmanager
def translated_errors(path: Path) -> Iterator[None]:
    """Turn the errors of SQLite that a user can do something about into ours."""
    try:
        yield
    except (sqlalchemy.exc.DatabaseError, sqlite3.DatabaseError) as error:
        cause = getattr(error, "orig", None) or error
        message = str(cause)
        name = getattr(cause, "sqlite_errorname", "")
        # The second: no room even for the 32 KB that readers and writers share.
        if "full" in message or name == "SQLITE_IOERR_SHMSIZE":
            raise LimitError(
                f"no space left for {path}", unchanged="nothing of this write was kept", hint="free space, try again"
            ) from error
        if "locked" in message:
            raise LockedError(
                f"{path} is busy: another process has been writing for 5 seconds",
                unchanged="nothing of this write was kept",
                hint="try again when it has finished",
            ) from error
        if name.startswith("SQLITE_IOERR"):
            raise CatalogDamagedError(
                f"the disk failed at {path}: {message} ({name})",
                unchanged="nothing of this write was acknowledged",
                hint="look after the disk, then open the knowledge base again: until then it is read-only",
                is_lasting=False,
            ) from error
        if _DAMAGED.search(message):
            what = message.partition("\n")[0]
            raise CatalogDamagedError(f"{path} is damaged: {what}", hint=ADVICE) from error
        raise
