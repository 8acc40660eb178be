"""The seal of the vector index: what its files were when it was last closed in order.

Chroma writes its graph in place and without waiting for the disk. An index whose owner was killed, or that somebody
has touched since, may raise, crash the process or lack records without a word; so it is not opened before it is looked
at. The seal is broken before Chroma is opened, and made when it is closed.
"""

from __future__ import annotations

import json
import os
import re
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from kb.disk import sync

if TYPE_CHECKING:
    from pathlib import Path

FOLDER: Final = "chroma"
"""The folder of the vector index below that of the knowledge base."""

SEAL: Final = "index.seal"
STOPS: Final = "index.stops"

_AGAIN: Final = "was stopped without being closed"


def why_unsafe(storage: Path) -> str | None:
    """Return why the index cannot be opened as it is, or None where it was closed in order or there is none."""
    folder = storage / FOLDER
    if not os.path.lexists(folder):
        return None
    try:
        sealed = json.loads((storage / SEAL).read_text())
    except FileNotFoundError:
        return _AGAIN
    except (OSError, ValueError):
        return "has a seal that cannot be read"
    if not isinstance(sealed, dict):
        return "has a seal that cannot be read"
    if (writer := sealed.get("chromadb")) != version("chromadb"):
        return f"was written by chromadb {writer}"
    if sealed.get("files") != _files(folder):
        return "has been changed since it was closed"
    return None


def is_newer(storage: Path) -> bool:
    """Return whether a later chromadb than this one sealed the index: it would be accepted in silence, and misread."""
    try:
        writer = json.loads((storage / SEAL).read_text())["chromadb"]
        return _numbers(writer) > _numbers(version("chromadb"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def put_seal(storage: Path) -> None:
    """Note what the files of the index are: nobody has them open any more, and all of it was in order.

    Chroma does not wait for the disk. A seal that outlived a power cut in which its files lost their content would
    vouch for them, so they are on the disk before it is.
    """
    for path in (storage / FOLDER).rglob("*"):
        sync(path)
    text = json.dumps({"chromadb": version("chromadb"), "files": _files(storage / FOLDER)}, indent=0, sort_keys=True)
    temporary = storage / f"{SEAL}.part"
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(storage / SEAL)
    sync(storage)


def break_seal(storage: Path) -> None:
    """Note that the index is going to be written to; on the disk before this returns."""
    (storage / SEAL).unlink(missing_ok=True)
    sync(storage)


def count_stop(storage: Path) -> int:
    """Count one more stop without closing, and return how many there have been in a row."""
    try:
        stops = int((storage / STOPS).read_text())
    except (OSError, ValueError):
        stops = 0
    (storage / STOPS).write_text(str(stops + 1))
    return stops + 1


def forget_stops(storage: Path) -> None:
    """Begin counting anew."""
    (storage / STOPS).unlink(missing_ok=True)


def _files(folder: Path) -> dict[str, list[int]]:
    """Return size and time of every file below a folder."""
    found: dict[str, list[int]] = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_dir():
            state = path.lstat()
            found[path.relative_to(folder).as_posix()] = [state.st_size, state.st_mtime_ns]
    return found
