"""The folder for what can always be made again: unpacked weights, exported models, checksums already computed.

Nothing in it is a fact. Losing it costs time, never data; several processes may use it at once.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kb.errors import ConfigError, LimitError

if TYPE_CHECKING:
    from collections.abc import Callable

_CHECKSUMS = "checksums.json"
_READ_SIZE = 1 << 20


def cache_dir() -> Path:
    """Return the cache folder, made if needed.

    ``KB_CACHE`` decides alone when it is set; otherwise the first that can be written of ``$XDG_CACHE_HOME/kb``,
    ``~/.cache/kb`` and a private folder among the temporary files.

    Raises:
        ConfigError: None of them can be written.
    """
    explicit = os.environ.get("KB_CACHE")
    if explicit:
        path = Path(explicit).expanduser()
        if not _usable(path):
            raise ConfigError(f"the cache folder KB_CACHE={explicit} cannot be written", hint="set KB_CACHE to another")
        return path
    tried = []
    for find in (_xdg, _home, _temporary):
        found = find()
        if found is not None:
            if _usable(found):
                return found
            tried.append(str(found))
    what = "no cache folder can be written: " + (", ".join(tried) or "there is no home and no temporary folder")
    raise ConfigError(what, hint="set KB_CACHE to a folder that can be written")


def _xdg() -> Path | None:
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(base) / "kb" if base else None


def _home() -> Path | None:
    try:
        return Path.home() / ".cache" / "kb"
    except RuntimeError:
        return None


def _temporary() -> Path | None:
    try:
        return Path(tempfile.gettempdir()) / f"kb-cache-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
    except FileNotFoundError:
        return None


def _usable(path: Path) -> bool:
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Models are loaded from here: a folder that somebody else made is not ours to trust.
        mine = not hasattr(os, "getuid") or path.stat().st_uid == os.getuid()
    except OSError:
        return False
    return mine and os.access(path, os.W_OK | os.X_OK)


def make_once(target: Path, make: Callable[[Path], None]) -> Path:
    """Make a folder completely or not at all; when another process was faster, take what it made.

    Args:
        target: The folder to make; returned at once when it exists.
        make: Fills the empty folder that it is given.

    Raises:
        LimitError: The disk is full.
    """
    if target.is_dir():
        return target
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        draft.mkdir(parents=True)
        make(draft)
        for file in draft.rglob("*"):
            if file.is_file():
                _sync(file)
        draft.rename(target)
    except OSError as error:
        if error.errno in {errno.EEXIST, errno.ENOTEMPTY} and target.is_dir():
            return target
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            what = f"no space left to write {target}"
            raise LimitError(what, unchanged="nothing was kept", hint="free space, or set KB_CACHE") from error
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _sync(file: Path) -> None:
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())


def read_json(path: Path) -> dict[str, object]:
    """Return the object in a JSON file; empty when the file is missing, unreadable or something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def remember(name: str, key: str, value: object) -> None:
    """Store one entry in the JSON file ``name`` of the cache; failing to is harmless and silent."""
    try:
        path = cache_dir() / name
        draft = path.with_name(f".{name}.{secrets.token_hex(4)}")
        draft.write_text(json.dumps({**read_json(path), key: value}, indent=1), encoding="utf-8")
        draft.replace(path)
    except (OSError, ConfigError):
        return


def recall(name: str, key: str) -> object:
    """Return the entry that ``remember`` stored, or None."""
    try:
        return read_json(cache_dir() / name).get(key)
    except ConfigError:
        return None


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, computed once per path, size and time of change."""
    status = path.stat()
    key = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"
    known = recall(_CHECKSUMS, key)
    if isinstance(known, str):
        return known
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_READ_SIZE):
            digest.update(block)
    remember(_CHECKSUMS, key, digest.hexdigest())
    return digest.hexdigest()
