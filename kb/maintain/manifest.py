"""What a backup says of itself: ``manifest.json``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from kb.catalog import CollectionCounts
from kb.errors import DamagedError

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST: Final = "manifest.json"
MAX_BYTES: Final = 1024 * 1024
_FORMAT: Final = 1
_BLOCK: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class BackedUpFile:
    """One file of a backup."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds.

    Attributes:
        name: Of the backup.
        created: When, in UTC.
        kb: The release that made it.
        revision: Of the catalog's schema.
        storage: Where the catalog lay, relative to ``config.toml``; None where that was outside its folder.
        files: All files of the backup but the manifest.
        collections: How much there is of each.
        vectors: How many vectors the catalog holds.
        jobs: How many jobs it records.
    """

    name: str
    created: str
    kb: str
    revision: str
    storage: str | None
    files: tuple[BackedUpFile, ...]
    collections: tuple[CollectionCounts, ...]
    vectors: int
    jobs: int

    def to_json(self) -> str:
        """Return the text of ``manifest.json``; it carries a hash of itself."""
        raw = {"format": _FORMAT, **asdict(self)}
        return json.dumps({**raw, "sha256": _hash_of(raw)}, indent=2, ensure_ascii=False) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a backup.

    Raises:
        DamagedError: There is none, it has been edited, or a newer release wrote it.
    """
    path = folder / MANIFEST
    try:
        if path.is_symlink() or path.stat().st_size > MAX_BYTES:
            raise refused(folder, f"{MANIFEST} is not what a backup has there")
        raw = json.loads(path.read_bytes())
        found = raw.pop("sha256")
        if raw["format"] != _FORMAT:
            raise DamagedError(
                f"{folder} has the format {raw['format']}; this kb reads {_FORMAT}", hint="use a newer kb to read it"
            )
        if found != _hash_of(raw):
            raise refused(folder, f"{MANIFEST} has been changed since it was made")
        return _manifest(raw)
    except OSError as error:
        raise refused(folder, f"{MANIFEST} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise refused(folder, f"{MANIFEST} is no manifest: {type(error).__name__}: {error}") from None


def refused(folder: Path, why: str) -> DamagedError:
    """Return the error of a backup that is not used."""
    return DamagedError(
        f"the backup {folder} cannot be used: {why}",
        unchanged="nothing was restored from it",
        hint="kb backup list shows the others; make a new one with kb backup create",
    )


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _hash_of(raw: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(raw, sort_keys=True).encode()).hexdigest()


def _manifest(raw: dict[str, Any]) -> Manifest:
    del raw["format"]
    files = tuple(BackedUpFile(**one) for one in raw.pop("files"))
    collections = tuple(CollectionCounts(**one) for one in raw.pop("collections"))
    return Manifest(files=files, collections=collections, **raw)
