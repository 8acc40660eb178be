"""What can be said of Chroma's files without Chroma: its native code crashes on some of what it does not check.

The graph is that of hnswlib: ``header.bin`` says how many elements there are and how they lie in ``data_level0.bin``;
``link_lists.bin`` holds the links of the upper levels, ``index_metadata.pickle`` which record is which element.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from contextlib import closing
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

DATABASE: Final = "chroma.sqlite3"
_HEADER: Final = struct.Struct("<i6QiI3QdQ")
_PERSISTENCE: Final = 1
_MAX_LEVEL: Final = 64
_ROWS: Final = 10_000
_AT_ONCE: Final = 1 << 20


class _Header(NamedTuple):
    version: int
    offset_level0: int
    room: int
    elements: int
    element_bytes: int
    label_offset: int
    vector_offset: int
    top_level: int
    entry: int
    links_above: int
    links_below: int
    links: int
    factor: float
    construction: int


def damage_of(folder: Path) -> str | None:
    """Return what is wrong with the files of an index, or None where nothing is to be seen from outside.

    Raises:
        OSError, sqlite3.OperationalError: They cannot be read now; that says nothing about them.
    """
    if not folder.is_dir():
        return "it is not a folder"
    database = folder / DATABASE
    if not database.is_file():
        return f"{DATABASE} is missing"
    with database.open("rb") as file:
        if file.read(16) != b"SQLite format 3\x00":
            return f"{DATABASE} is not a database"
    try:
        with closing(sqlite3.connect(database, timeout=5)) as connection:
            segments = _segments(connection)
            if isinstance(segments, str):
                return segments
    except sqlite3.DatabaseError as error:
        if is_passing(error):
            raise
        return f"{DATABASE}: {error}"
    for segment, is_persisted in segments.items():
        if is_persisted and (wrong := _graph_damage(folder / segment)) is not None:
            return f"{segment}/{wrong}"
    return None


def blank_spare(folder: Path) -> None:
    """Overwrite what the files of the graphs hold beyond their elements; nobody has the index open.

    hnswlib writes all the memory that it has set aside, as it got it: with whatever the process had there before.
    """
    for path in sorted(folder.glob("*/header.bin")):
        raw = path.read_bytes()
        if len(raw) != _HEADER.size:
            continue
        header = _Header(*_HEADER.unpack(raw))
        for name, one in (("data_level0.bin", header.element_bytes), ("length.bin", 4)):
            _blank(path.with_name(name), header.elements * one)


def _blank(path: Path, start: int) -> None:
    """Overwrite a file with zeros from a place on, on the disk before this returns."""
    with path.open("r+b") as file:
        left = file.seek(0, os.SEEK_END) - start
        file.seek(start)
        while left > 0:
            left -= file.write(bytes(min(left, _AT_ONCE)))
        file.flush()
        os.fsync(file.fileno())


def is_passing(error: BaseException) -> bool:
    """Return whether an error tells of the disk, of rights or of limits, and nothing of the files themselves."""
    if isinstance(error, (sqlite3.NotSupportedError, sqlite3.OperationalError)) and (
        getattr(error, "sqlite_errorname", "").partition("_IOERR")[0] in _PASSING
    ):
        return True
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
        return True
    message = str(error).lower()
    return any(phrase in message for phrase in _PASSING_PHRASES)


_PASSING: Final = frozenset(
    {"SQLITE_FULL", "SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM", "SQLITE_NOMEM", "SQLITE_BUSY", "SQLITE_LOCKED"}
)
_PASSING_PHRASES: Final = (
    *("disk is full", "no space left", "too many open files", "readonly database", "permission denied"),
    *("database is locked", "cannot allocate memory", "read-only file system"),
)


def _segments(connection: sqlite3.Connection) -> dict[str, bool] | str:
    """Return the segments of vectors and whether their graph is on the disk, or what is wrong with the database."""
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        return f"{DATABASE}: {found}"
    blobs = "SELECT 1 FROM {} WHERE typeof(seq_id) = 'blob' LIMIT 1"
    if any(connection.execute(blobs.format(table)).fetchone() for table in ("max_seq_id", "embeddings")):
        return f"{DATABASE} has the format of an older chromadb"
    rows = connection.execute(
        "SELECT s.id, m.seq_id FROM segments s LEFT JOIN max_seq_id m ON m.segment_id = s.id WHERE s.scope = 'VECTOR'"
    )
    return {str(segment): last is not None for segment, last in rows}


def _graph_damage(folder: Path) -> str | None:
    names = ("header.bin", "data_level0.bin", "length.bin", "link_lists.bin", "index_metadata.pickle")
    for name in names:
        if not (folder / name).is_file():
            return f"{name} is missing"
    raw = (folder / "header.bin").read_bytes()
    if len(raw) != _HEADER.size:
        return f"header.bin has {len(raw):,} bytes instead of {_HEADER.size}"
    header = _Header(*_HEADER.unpack(raw))
    if header.version != _PERSISTENCE:
        return "header.bin is of an unknown format"
    # Whether it can be: a wild number would make native code reach for memory that is not there.
    element = header.vector_offset + 8
    sound = (
        header.elements <= header.room
        and header.offset_level0 == 0
        and header.vector_offset == 4 + 4 * header.links_below
        and element < header.element_bytes == header.label_offset + 8
        and -1 <= header.top_level < _MAX_LEVEL
        and (header.entry < header.elements if header.elements else header.top_level == -1)
        and header.links == header.links_above
        and header.links_below == 2 * header.links
    )
    if not sound:
        return "header.bin contradicts itself"
    return _pickle_damage(folder) or _level0_damage(folder, header) or _links_damage(folder, header)


def _pickle_damage(folder: Path) -> str | None:
    # Never unpickled here: that would run whatever it says.
    with (folder / "index_metadata.pickle").open("rb") as file:
        first = file.read(1)
        size = file.seek(0, 2)
        file.seek(max(0, size - 1))
        last = file.read(1)
    return None if (first, last) == (b"\x80", b".") else "index_metadata.pickle is cut off"


def _level0_damage(folder: Path, header: _Header) -> str | None:
    path = folder / "data_level0.bin"
    for name, one in (("data_level0.bin", header.element_bytes), ("length.bin", 4)):
        size = (folder / name).stat().st_size
        # Room that was made beforehand stays in the file; what is added later is as long as it must be.
        if size % one or not header.elements <= size // one <= header.room:
            return f"{name} has the wrong size"
    if header.elements == 0:
        return None
    rows = np.memmap(path, dtype=np.uint8, mode="r", shape=(header.elements, header.element_bytes))
    for start in range(0, header.elements, _ROWS):
        links = np.ascontiguousarray(rows[start : min(start + _ROWS, header.elements), : header.vector_offset])
        counts = links[:, :2].copy().view("<u2")[:, 0]
        targets = links[:, 4:].copy().view("<u4")
        used = np.arange(header.links_below) < counts[:, None]
        if counts.max() > header.links_below or (targets[used] >= header.elements).any():
            return "data_level0.bin has links to elements that do not exist"
    return None


def _links_damage(folder: Path, header: _Header) -> str | None:
    path = folder / "link_lists.bin"
    level = 4 + 4 * header.links_above
    size = path.stat().st_size
    wrong = "link_lists.bin has links to elements that do not exist"
    if not 4 * header.elements <= size <= header.elements * (4 + level * (header.top_level + 1)):
        return "link_lists.bin has the wrong size"
    with path.open("rb") as file:
        for _ in range(header.elements):
            raw = file.read(4)
            length = int.from_bytes(raw, "little")
            if len(raw) < 4 or length % level or length > level * max(0, header.top_level):
                return "link_lists.bin is cut off or disordered"
            for _ in range(length // level):
                links = np.frombuffer(file.read(level), dtype="<u4")
                if len(links) * 4 != level:
                    return "link_lists.bin is cut off or disordered"
                count = int(links[0]) & 0xFFFF
                if count > header.links_above or (links[1 : count + 1] >= header.elements).any():
                    return wrong
    return None
