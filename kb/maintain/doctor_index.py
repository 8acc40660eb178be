"""What the doctor sees of the folders of the indexes, and of whoever else has them open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kb.index import DATABASE, FOLDER, LOCK_FILE, QUARANTINE, WORDS_FOLDER, orphan_segments, why_unreadable
from kb.maintain.finding import Fact, Finding, Severity
from kb.maintain.stats import disk_bytes
from kb.maintain.storage import left_behind, quarantined
from kb.maintain.surroundings import holders

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def look(storage: Path) -> Iterator[Fact | Finding]:
    """Yield what a look at the indexes tells; Chroma is not opened.

    Args:
        storage: The folder of the knowledge base; may not exist.
    """
    size = disk_bytes(storage / FOLDER) + disk_bytes(storage / WORDS_FOLDER)
    yield Fact("indexes", f"{size / 1e6:,.1f} MB")
    yield from _segments(storage)
    yield from _strangers(storage)
    taken_away = quarantined(storage)
    if taken_away:
        size = sum(disk_bytes(path) for path in taken_away)
        message = f"damaged indexes put aside in {storage / QUARANTINE}: {len(taken_away)}, {size / 1e6:,.1f} MB"
        yield Finding("quarantine", Severity.WARNING, message, "kb gc")
    leftovers = left_behind(storage)
    if leftovers:
        names = ", ".join(path.relative_to(storage).as_posix() for path in leftovers)
        message = f"left behind by something that was stopped: {names}"
        yield Finding("leftovers", Severity.NOTE, message, "kb gc")


def _segments(storage: Path) -> Iterator[Finding]:
    """Yield the folders that Chroma has left behind, if its database can be read."""
    if (why := why_unreadable(storage)) is not None:
        yield Finding("index", Severity.ERROR, why, "kb rebuild")
        return
    lost = orphan_segments(storage)
    if lost:
        size = sum(disk_bytes(path) for path in lost)
        message = (
            f"folders of the index that belong to nothing: {len(lost)}, {size / 1e6:,.1f} MB, such as {lost[0].name}"
        )
        yield Finding("folders", Severity.WARNING, message, "kb gc")


def _strangers(storage: Path) -> Iterator[Finding]:
    """Yield the processes that have Chroma's files open although they do not hold the lock."""
    # Who owns it has the lock's file open, and so has a server that the owner has started.
    strangers = sorted({*holders(storage / FOLDER / DATABASE)} - {*holders(storage / LOCK_FILE)})
    if strangers:
        message = (
            f"Chroma's files are open in process {', '.join(map(str, strangers))}, past the lock of this knowledge "
            "base: two that write spoil the index for good"
        )
        yield Finding("strangers", Severity.ERROR, message, f"kill {strangers[0]}")
