"""Whether a catalog is as it was left: looked at when it is opened, without reading a large file each time.

A clean close notes the file's size, time and hash in ``catalog.closed``; the first write takes the note away. So

- with a note that fits, nothing is read;
- with a note that does not fit, something else has written to the file: its hash decides;
- without one, after an unclean stop, the write-ahead log and the structure of the file are looked through.

Files above ``LIMIT`` are not read; there, damage is noticed when SQLite or a fingerprint stumbles over it. What has
been noticed is noted in ``catalog.damaged``, and lasts until another file is put there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, Final

from kb.catalog.files import looking
from kb.disk import sync

if TYPE_CHECKING:
    from pathlib import Path

LIMIT: Final = 256 * 1024 * 1024
FOREIGN: Final = "something else than kb has written to it since it was closed"
"""The damage of a file that is sound as far as SQLite sees: kb verify looks through it, and takes it if it is sound."""

CLOSED: Final = "catalog.closed"
DAMAGED: Final = "catalog.damaged"
_LOG: Final = logging.getLogger("kb")
_HEADER: Final = 32
_FRAME: Final = 24
_MAGIC: Final = 0x377F0682
_BLOCK: Final = 1024 * 1024


def find_damage(path: Path, *, in_use: bool) -> str | None:
    """Return what is wrong with a catalog that is about to be opened, or None.

    Args:
        path: The file.
        in_use: Whether another process writes to it at this moment, so that its log is not a leftover.
    """
    noted = _read_note(path, DAMAGED)
    if noted is not None:
        if noted.get("file") == _identity(path):
            return str(noted.get("damage"))
        # Another file has been put there: the damage was that of the other one, unless it shows here as well.
        found = _structure(path)
        if found is None:
            path.with_name(DAMAGED).unlink(missing_ok=True)
        return found
    log = _size(_log(path))
    closed = _read_note(path, CLOSED)
    if closed is not None and not log and not in_use:
        return _compared(path, closed)
    if in_use or not log or _size(path) > LIMIT:
        return None
    return _log_damage(path) or _structure(path, "quick_check")


def look_for_damage(path: Path, *, in_use: bool) -> str | None:
    """Return what is wrong with a catalog, as ``find_damage``, without a trace: none with a log is opened."""
    noted, closed = _read_note(path, DAMAGED), _read_note(path, CLOSED)
    if noted is not None and noted.get("file") == _identity(path):
        return str(noted.get("damage"))
    return None if closed is None or _size(_log(path)) or in_use else _compared(path, closed)


def note_damage(path: Path, damage: str) -> None:
    """Note that a catalog is damaged, as far as the disk still takes it."""
    with suppress(OSError):
        _write_note(path, DAMAGED, {"damage": damage, "file": _identity(path)})


def is_noted(path: Path) -> bool:
    """Return whether some process has noted that a catalog is damaged."""
    return path.with_name(DAMAGED).exists()


def was_there(path: Path) -> bool:
    """Return whether a note tells of a catalog, though the file itself may be gone."""
    return is_noted(path) or path.with_name(CLOSED).exists()


def note_closed(path: Path) -> None:
    """Note what a catalog looks like that has been closed, if nobody else has it open.

    Whoever begins to write meanwhile has the log open before looking for the note: one of the two sees the other.
    """
    before = _identity(path)
    closed = _read_note(path, CLOSED)
    if not before or _log(path).exists() or is_noted(path) or (closed is not None and closed.get("file") == before):
        return
    with suppress(OSError):
        digest = _hash(path) if _size(path) <= LIMIT else None
        _write_note(path, CLOSED, {"file": before, "blake2b": digest})
        if _log(path).exists() or _identity(path) != before:
            forget_closed(path)


def forget_closed(path: Path) -> None:
    """Take the note of the last close away; called inside every transaction that writes, before it is committed."""
    note = path.with_name(CLOSED)
    if note.exists():
        note.unlink(missing_ok=True)
        sync(path.parent)


def accept(path: Path) -> None:
    """Forget what was noted of a catalog that has been looked through and found sound."""
    for name in (DAMAGED, CLOSED):
        path.with_name(name).unlink(missing_ok=True)
    sync(path.parent)


def _compared(path: Path, closed: dict[str, object]) -> str | None:
    if closed.get("file") == _identity(path):
        return None
    digest = closed.get("blake2b")
    if digest is None or (_size(path) <= LIMIT and _hash(path) == digest):
        return None
    found = _structure(path) if _size(path) <= LIMIT else None
    return found or FOREIGN


def _structure(path: Path, pragma: str = "integrity_check") -> str | None:
    """Return the first thing that SQLite finds wrong with the structure, or None."""
    try:
        with looking(path) as connection:
            (message,) = connection.execute(f"PRAGMA {pragma}(1)").fetchone()
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        return str(error)
    return None if message == "ok" else " ".join(str(message).removeprefix("*** in database main ***").split())


def _log_damage(path: Path) -> str | None:
    """Return what is wrong with the log that an unclean stop has left, or None.

    SQLite reads a log up to its first wrong frame: right where the last write was cut short, for nobody was told that
    it was done. Where another write follows that frame, the one before had been acknowledged, and is lost.
    """
    before = _identity(_log(path))
    try:
        found = _leftover_damage(path)
    except FileNotFoundError:
        return None
    # One that changes while it is looked at, or goes, is no leftover: somebody writes to it.
    return found if found is None or _identity(_log(path)) == before else None


def _leftover_damage(path: Path) -> str | None:
    """Return what is wrong with a log that nobody writes to, or None."""
    with _log(path).open("rb") as file:
        header = file.read(_HEADER)
        if len(header) < _HEADER:
            return None
        magic, _, page, *_ = struct.unpack(">8I", header)
        if magic & ~1 != _MAGIC or _checksum(header[:24], little=magic == _MAGIC) != struct.unpack(">2I", header[24:]):
            return "the head of its write-ahead log is damaged; what was written last cannot be read"
        if page not in {2**n for n in range(9, 17)}:
            return "the head of its write-ahead log is damaged"
        good = _readable_frames(path)
        lost = _lost_commits(file, header[16:24], page, good)
    if lost > 1:
        return f"its write-ahead log is damaged after {good} pages; what was written last cannot be read"
    if lost:
        _LOG.warning(
            "the last write to %s was cut short and is not there; it had not been acknowledged, unless the disk has"
            " failed since",
            path,
        )
    return None


def _lost_commits(file: BinaryIO, salts: bytes, page: int, good: int) -> int:
    """Return how many writes of this log end behind the frames that SQLite reads."""
    lost = 0
    file.seek(_HEADER + good * (_FRAME + page))
    while len(frame := file.read(_FRAME + page)) == _FRAME + page:
        if frame[8:16] == salts:
            lost += struct.unpack(">I", frame[4:8])[0] != 0
    return lost


def _readable_frames(path: Path) -> int:
    """Return how many frames of the log SQLite reads."""
    try:
        with looking(path) as connection:
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            # In the index of the log that SQLite has just made; its "WAL-mode File Format" says where.
            return int(struct.unpack_from("=I", path.with_name(path.name + "-shm").read_bytes(), 16)[0])
    except (sqlite3.DatabaseError, UnicodeDecodeError, OSError, struct.error):
        return 0


def _checksum(data: bytes, *, little: bool) -> tuple[int, int]:
    first = second = 0
    words = struct.unpack(f"{'<' if little else '>'}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second


def _log(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _identity(path: Path) -> list[int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return []
    return [found.st_size, found.st_mtime_ns]


def _hash(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=32)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _read_note(path: Path, name: str) -> dict[str, object] | None:
    try:
        found = json.loads(path.with_name(name).read_bytes())
    except OSError:
        return None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _write_note(path: Path, name: str, content: dict[str, object]) -> None:
    part = path.with_name(f"{name}.part")
    try:
        part.write_text(json.dumps(content))
        sync(part)
        part.replace(path.with_name(name))
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    sync(path.parent)
