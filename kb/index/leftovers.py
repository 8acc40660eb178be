"""The files of the index seen from outside: which are nobody's any more, and how worn Chroma's are.

Nothing here opens Chroma: its SQLite file is read, and never written.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final

from kb.index.chroma_files import DATABASE
from kb.index.seal import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_SEGMENT: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def orphan_segments(storage: Path) -> list[Path]:
    """Return the folders of Chroma's that none of its collections has: Chroma leaves one behind for each it deletes."""
    folders = [path for path in (storage / FOLDER).glob("*-*") if path.is_dir() and _SEGMENT.fullmatch(path.name)]
    if not folders:
        return []
    known = {str(row[0]) for row in _rows(storage, "SELECT id FROM segments") or ()}
    # Nothing known at all: not a file to judge folders by.
    return sorted(folder for folder in folders if known and folder.name not in known)


def stray_generations(storage: Path, known: Iterable[str]) -> list[str]:
    """Return the names of the Chroma collections that kb has made and the catalog does not know any more."""
    query = (
        "SELECT name FROM collections JOIN collection_metadata AS m ON m.collection_id = collections.id"
        " WHERE m.key = 'kb:collection' ORDER BY name"
    )
    names = set(known)
    return [str(row[0]) for row in _rows(storage, query) or () if row[0] not in names]


def operations(storage: Path) -> int:
    """Return how many records have been written to Chroma or deleted from it since its folder was made.

    Its files of vectors keep what was deleted, so that they grow with this number; 0 where it cannot be told.
    """
    numbers = [
        int(row[0])
        for table in ("embeddings_queue", "max_seq_id")
        for row in _rows(storage, f"SELECT max(seq_id) FROM {table}") or ()
        if isinstance(row[0], int)
    ]
    return max(numbers, default=0)


def orphan_words(storage: Path, wanted: Iterable[Path]) -> list[Path]:
    """Return the folders of the indexes of words that are not among those that are wanted."""
    from kb.index.word_records import FOLDER as WORDS

    known = set(wanted)
    return sorted(path for path in (storage / WORDS).glob("*") if path.is_dir() and path not in known)


def why_unreadable(storage: Path) -> str | None:
    """Return why Chroma's SQLite file cannot be read, or None where it can be, or there is no index at all."""
    path = storage / FOLDER / DATABASE
    if not path.exists():
        return f"{path} is missing: the index cannot be opened" if any((storage / FOLDER).glob("*")) else None
    try:
        _select(path, "SELECT id FROM segments")
    except sqlite3.DatabaseError as error:
        return f"{path} cannot be read: {error}"
    return None


def _rows(storage: Path, query: str) -> list[tuple[object, ...]] | None:
    """Return what Chroma's SQLite file answers, or None where it does not."""
    try:
        return _select(storage / FOLDER / DATABASE, query)
    except sqlite3.DatabaseError:
        return None


def _select(path: Path, query: str) -> list[tuple[object, ...]]:
    # Locked against whoever writes to it; without a file there is none made.
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()
