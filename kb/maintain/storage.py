"""What lies in a storage folder beside the catalog and the indexes, and how much all of it takes."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from kb.index import QUARANTINE
from kb.maintain.backup import BACKUPS

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

REJECTS: Final = "rejects"
RECOVERING: Final = ".kb-recover-"
"""What the names of folders with a copy of the index begin with, which is there while something is read from it."""

_UNTOUCHED: Final = 3600.0
"""For how many seconds nothing may have changed in what is taken for left behind by a process that has died."""


def size_of(path: Path) -> int:
    """Return how many bytes a file takes, or the files below a folder; 0 where there is none."""
    if path.is_dir():
        return sum(size_of(each) for each in path.iterdir())
    with suppress(FileNotFoundError):  # another process may delete it at this moment
        return path.stat().st_size
    return 0


def live_bytes(storage: Path) -> int:
    """Return how many bytes a storage folder takes, its backups excepted."""
    return sum(size_of(path) for path in storage.glob("*") if path.name != BACKUPS)


def pre_upgrade_copies(storage: Path) -> list[Path]:
    """Return the copies of the catalog from before a migration, by name."""
    return sorted(storage.glob("catalog.before-*.sqlite3"))


def left_behind(storage: Path) -> list[Path]:
    """Return what processes that have died left half made: ``*.part``, ``*.new``, copies to recover from.

    Nothing that has changed within the last hour: somebody may be making it, a backup needs no lock.
    """
    found = [
        path
        for folder in (storage, storage / BACKUPS, storage / REJECTS)
        for pattern in ("*.part", "*.new", f"{RECOVERING}*")
        for path in folder.glob(pattern)
        if time.time() - _touched(path) > _UNTOUCHED
    ]
    return sorted(found)


def quarantined(storage: Path) -> list[Path]:
    """Return what lies in quarantine, by name."""
    return sorted((storage / QUARANTINE).glob("*"))


def delete(path: Path) -> None:
    """Delete a file, or a folder with all that is in it; harmless where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def older_than(paths: list[Path], age: timedelta) -> list[Path]:
    """Return those of the files and folders that were made, or renamed to what they are, so long ago."""
    return [path for path in paths if time.time() - path.lstat().st_ctime >= age.total_seconds()]


def _touched(path: Path) -> float:
    """Return when a file, or one below a folder, was last changed, in seconds since 1970; now for what has gone."""
    inside = path.rglob("*") if path.is_dir() else ()
    try:
        return float(max(each.lstat().st_mtime for each in (path, *inside)))
    except FileNotFoundError:
        return time.time()
