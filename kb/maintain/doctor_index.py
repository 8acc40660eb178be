"""What the doctor sees of the folders of the indexes, and of whoever else has them open."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final

from kb import catalog as cat
from kb.index import FOLDER, LOCK_FILE, WORDS_FOLDER
from kb.maintain.finding import Fact, Finding, Severity
from kb.maintain.stats import disk_bytes
from kb.maintain.surroundings import holders

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUARANTINE: Final = "quarantine"
_DATABASE: Final = "chroma.sqlite3"
_SEGMENT: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LEFTOVERS: Final = ("*.part", "*.new", "*.incomplete")


def look(storage: Path) -> Iterator[Fact | Finding]:
    """Yield what a look at the indexes tells; Chroma is not opened.

    Args:
        storage: The folder of the knowledge base; may not exist.
    """
    size = disk_bytes(storage / FOLDER) + disk_bytes(storage / WORDS_FOLDER)
    yield Fact("indexes", f"{size / 1e6:,.1f} MB")
    yield from _segments(storage / FOLDER)
    yield from _strangers(storage)
    taken_away = [path for path in (storage / QUARANTINE).glob("*") if path.is_dir()]
    if taken_away:
        size = sum(disk_bytes(path) for path in taken_away)
        message = f"damaged indexes put aside in {storage / QUARANTINE}: {len(taken_away)}, {size / 1e6:,.1f} MB"
        yield Finding("quarantine", Severity.WARNING, message, "kb gc")
    leftovers = sorted(path.name for pattern in _LEFTOVERS for path in storage.glob(pattern))
    if leftovers:
        message = f"left behind by something that was stopped: {', '.join(leftovers)}"
        yield Finding("leftovers", Severity.NOTE, message, "kb gc")


def _segments(folder: Path) -> Iterator[Finding]:
    """Yield the folders that Chroma has left behind, if its database can be read."""
    database = folder / _DATABASE
    if not database.exists():
        if folder.exists() and any(folder.iterdir()):
            yield Finding("index", Severity.ERROR, f"{database} is missing: the index cannot be opened", "kb rebuild")
        return
    try:
        with closing(cat.connect_to_look(database)) as connection:
            known = {str(name) for (name,) in connection.execute("SELECT id FROM segments")}
    except sqlite3.DatabaseError as error:
        yield Finding("index", Severity.ERROR, f"{database} cannot be read: {error}", "kb rebuild")
        return
    lost = sorted(p for p in folder.iterdir() if p.is_dir() and _SEGMENT.fullmatch(p.name) and p.name not in known)
    if lost:
        size = sum(disk_bytes(path) for path in lost)
        message = (
            f"folders of the index that belong to nothing: {len(lost)}, {size / 1e6:,.1f} MB, such as {lost[0].name}"
        )
        yield Finding("folders", Severity.WARNING, message, "kb gc")


def _strangers(storage: Path) -> Iterator[Finding]:
    """Yield the processes that have Chroma's files open although they do not hold the lock."""
    # Who owns it has the lock's file open, and so has a server that the owner has started.
    strangers = sorted({*holders(storage / FOLDER / _DATABASE)} - {*holders(storage / LOCK_FILE)})
    if strangers:
        message = (
            f"Chroma's files are open in process {', '.join(map(str, strangers))}, past the lock of this knowledge "
            "base: two that write spoil the index for good"
        )
        yield Finding("strangers", Severity.ERROR, message, f"kill {strangers[0]}")
