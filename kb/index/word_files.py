"""What can be said of tantivy's files without tantivy, which believes what it reads: each but one ends in a checksum.

Files are written once and never changed, so one that was sound stays so while its size and time are the same; those
that are known are noted in ``words.seal``.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING, Final

from kb.index.word_records import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEAL: Final = "words.seal"
_META: Final = "meta.json"
_ENDING: Final = struct.Struct("<II")
_MAGIC: Final = 1337
_PARTS: Final = ("fast", "fieldnorm", "idx", "pos", "store", "term")
_AT_ONCE: Final = 1 << 20


def word_damage(storage: Path, folder: Path) -> str | None:
    """Return what is wrong with the files of an index of words, or None; those that are known are not read."""
    known = _read_seal(storage)
    try:
        for path in (folder / _META, *_files(folder)):
            if known.get(_name(storage, path)) == _state(path):
                continue
            if path.name != _META and (wrong := _file_damage(path)) is not None:
                return f"{path.name} {wrong}"
    except OSError as error:
        return f"{str(error.filename).rpartition('/')[2]}: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{_META} cannot be read"
    return None


def is_known(storage: Path, folder: Path) -> bool:
    """Return whether nothing has changed since the index was last found sound."""
    try:
        known = _read_seal(storage)
        return all(known.get(_name(storage, path)) == _state(path) for path in (folder / _META, *_files(folder)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def seal_words(storage: Path) -> None:
    """Note the files of all sound indexes of words; nobody is writing to them."""
    states: dict[str, list[int]] = {}
    for folder in sorted((storage / FOLDER).glob("*")):
        if folder.is_dir() and word_damage(storage, folder) is None:
            states.update((_name(storage, path), _state(path)) for path in (folder / _META, *_files(folder)))
    if states != _read_seal(storage):
        temporary = storage / f"{SEAL}.part"
        temporary.write_text(json.dumps(states, indent=0, sort_keys=True))
        temporary.replace(storage / SEAL)


def _read_seal(storage: Path) -> dict[str, list[int]]:
    try:
        found = json.loads((storage / SEAL).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _name(storage: Path, path: Path) -> str:
    return path.relative_to(storage / FOLDER).as_posix()


def _state(path: Path) -> list[int]:
    state = path.stat()
    return [state.st_size, state.st_mtime_ns]


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files that the last commit names; others are left over or half written."""
    for segment in json.loads((folder / _META).read_text())["segments"]:
        name = segment["segment_id"].replace("-", "")
        yield from (folder / f"{name}.{part}" for part in _PARTS)
        if segment["deletes"] is not None:
            yield folder / f"{name}.{segment['deletes']['opstamp']}.del"


def _file_damage(path: Path) -> str | None:
    size = path.stat().st_size
    if size < _ENDING.size:
        return "is cut off"
    with path.open("rb") as file:
        file.seek(size - _ENDING.size)
        length, magic = _ENDING.unpack(file.read())
        body = size - _ENDING.size - length
        if magic != _MAGIC or body < 0:
            return "is cut off"
        file.seek(body)
        expected = json.loads(file.read(length))["crc"]
        file.seek(0)
        found = 0
        for start in range(0, body, _AT_ONCE):
            found = zlib.crc32(file.read(min(_AT_ONCE, body - start)), found)
    return None if found == expected else "differs from its checksum"
