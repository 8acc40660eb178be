"""Backups: ``STORAGE/backups/NAME`` with the catalog, ``config.toml`` and a manifest, each there whole or not at all.

The catalog holds every fact, so a backup needs nothing else; the indexes of a restored knowledge base are built anew.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from kb import __version__
from kb import catalog as cat
from kb.disk import sync
from kb.errors import (
    CatalogDamagedError,
    ConflictError,
    DamagedError,
    LimitError,
    LockedError,
    NotFoundError,
    UsageError,
    nearest,
)
from kb.failpoints import failpoint
from kb.file_lock import FileLock
from kb.maintain.manifest import MANIFEST, BackedUpFile, Manifest, file_hash, read_manifest, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BACKUPS: Final = "backups"
CONFIG: Final = "config.toml"
FILES: Final = (cat.FILE_NAME, CONFIG)
"""What a backup holds beside its manifest: exactly these."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PART: Final = ".part"


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup.

    Attributes:
        path: Its folder.
        manifest: What it says of itself; None where it cannot be used.
        problem: Why it cannot be used, or "".
    """

    path: Path
    manifest: Manifest | None
    problem: str = ""

    @property
    def bytes(self) -> int:
        """How much disk it takes."""
        return sum(path.lstat().st_size for path in self.path.iterdir()) if self.path.is_dir() else 0


def create_backup(
    root: Path, storage: Path, name: str | None = None, *, on_pages: Callable[[int, int], None] | None = None
) -> Backup:
    """Back up a knowledge base, which this or another process may be using, as it is at one moment.

    What an earlier backup that was killed has left behind is removed first.

    Args:
        root: The folder with ``config.toml``.
        storage: The folder with the catalog.
        name: Of the backup; None for the time.
        on_pages: As for ``kb.catalog.copy_catalog``.

    Raises:
        NotFoundError: There is no catalog yet.
        UsageError: The name cannot be one.
        ConflictError: There is a backup of that name.
        LockedError: Another backup is being made.
        LimitError: There is not enough space; nothing of the backup stays.
        CatalogDamagedError: The catalog is damaged; nothing of the backup stays.
    """
    if name is not None:
        _check_name(name)
    catalog = storage / cat.FILE_NAME
    if not catalog.exists():
        raise NotFoundError(f"there is nothing to back up: no catalog in {storage}", hint="kb import makes one")
    folder = storage / BACKUPS
    with _alone(folder):
        name = name or _free_name(folder)
        if (folder / name).exists():
            raise ConflictError(
                f"there is a backup '{name}' already", unchanged="it was not touched", hint="choose another name"
            )
        _check_space(catalog, folder)
        part = folder / f".{name}{_PART}"
        try:
            part.mkdir(mode=0o700)
            manifest = _fill(part, root, storage, name, on_pages)
            failpoint("backup_complete")
            part.rename(folder / name)
            sync(folder)
        except BaseException as error:  # half a backup stays behind on no account, Ctrl-C included; raised again
            shutil.rmtree(part, ignore_errors=True)
            if isinstance(error, LimitError) or getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT):
                raise _no_space(folder, "the disk is full") from error
            raise
    return Backup(folder / name, manifest)


def list_backups(storage: Path) -> list[Backup]:
    """Return the backups of a knowledge base, oldest first; also those that cannot be used, with the reason.

    The manifests are read, the files are not: ``check_backup`` does that.
    """
    folder = storage / BACKUPS
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.startswith("."):
            continue
        try:
            found.append(Backup(path, read_manifest(path)))
        except DamagedError as error:
            found.append(Backup(path, None, str(error)))
    return sorted(found, key=lambda one: ("" if one.manifest is None else one.manifest.created, one.path.name))


def find_backup(storage: Path | None, given: str | os.PathLike[str]) -> Path:
    """Return the folder of a backup.

    Args:
        storage: Whose backups a name is looked up in; None where there is no knowledge base.
        given: A name, or the path of a folder: whatever holds a ``/``, or exists.

    Raises:
        NotFoundError: There is none.
    """
    from pathlib import Path

    text = os.fspath(given)
    if storage is not None and _NAME.fullmatch(text) and (storage / BACKUPS / text).is_dir():
        return storage / BACKUPS / text
    path = Path(text).expanduser()
    if path.is_dir():
        return path.absolute()
    known = [] if storage is None else [one.path.name for one in list_backups(storage)]
    hint = nearest(text, known) or "kb backup create makes one; a backup elsewhere is named by its folder"
    raise NotFoundError(f"there is no backup '{text}'", hint=hint)


def check_backup(folder: Path) -> Manifest:
    """Return the manifest of a backup after comparing everything with it; nothing is written.

    Names, kinds, sizes and hashes of all files, then the catalog's own integrity, then its counts.

    Raises:
        DamagedError: Something differs; the message names it.
    """
    manifest = read_manifest(folder)
    if sorted(one.name for one in manifest.files) != sorted(FILES):
        raise refused(folder, f"{MANIFEST} names other files than {' and '.join(FILES)}")
    for path in sorted(folder.iterdir()):
        if path.name not in (*FILES, MANIFEST):
            raise refused(folder, f"'{path.name}' does not belong to it")
        if path.is_symlink() or not path.is_file():
            raise refused(folder, f"'{path.name}' is not an ordinary file")
    for one in manifest.files:
        _check_file(folder, one)
    catalog = folder / cat.FILE_NAME
    if problems := cat.integrity(catalog):
        raise refused(folder, f"its catalog is damaged: {problems[0]}")
    found = cat.summarise(catalog)
    if (found.collections, found.vectors, found.jobs, found.revision) != (
        *(manifest.collections, manifest.vectors, manifest.jobs, manifest.revision),
    ):
        raise refused(folder, "its catalog does not hold what the manifest says")
    return manifest


def _check_file(folder: Path, said: BackedUpFile) -> None:
    path = folder / said.name
    if not path.exists():
        raise refused(folder, f"'{said.name}' is missing")
    size = path.stat().st_size
    if size != said.bytes:
        raise refused(folder, f"'{said.name}' has {size:,} bytes, not {said.bytes:,}")
    if file_hash(path) != said.sha256:
        raise refused(folder, f"'{said.name}' is not what was backed up: its hash differs")


def _fill(part: Path, root: Path, storage: Path, name: str, on_pages: Callable[[int, int], None] | None) -> Manifest:
    """Write everything into the unfinished backup."""
    failpoint("backup_begun")
    copy = part / cat.FILE_NAME
    cat.copy_catalog(storage / cat.FILE_NAME, copy, on_pages)
    failpoint("backup_copied")
    if problems := cat.integrity(copy):
        raise CatalogDamagedError(
            f"{storage / cat.FILE_NAME} is damaged: {problems[0]}", unchanged="no backup was made", hint=cat.ADVICE
        )
    summary = cat.summarise(copy)
    (part / CONFIG).write_bytes((root / CONFIG).read_bytes())
    (part / CONFIG).chmod(0o600)
    sync(part / CONFIG)
    inside = storage.is_relative_to(root) and storage != root
    manifest = Manifest(
        name,
        cat.now(),
        __version__,
        summary.revision,
        str(storage.relative_to(root)) if inside else None,
        tuple(BackedUpFile(f, (part / f).stat().st_size, file_hash(part / f)) for f in FILES),
        summary.collections,
        summary.vectors,
        summary.jobs,
    )
    (part / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    (part / MANIFEST).chmod(0o600)
    sync(part / MANIFEST)
    sync(part)
    return manifest


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Make sure that no other backup is being made, then clear away what a killed one has left."""
    folder.mkdir(mode=0o700, exist_ok=True)
    sync(folder.parent)
    try:
        lock = FileLock(folder)
    except BlockingIOError:
        raise LockedError(
            f"another backup is being made in {folder}", unchanged="nothing was written", hint="wait for it"
        ) from None
    try:
        for left in folder.glob(f".*{_PART}"):
            shutil.rmtree(left)
        yield
    finally:
        lock.release()


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name.endswith(_PART):
        raise UsageError(
            f"'{name}' cannot name a backup",
            unchanged="nothing was written",
            hint="use letters, digits, . _ and -, a letter or digit first, 100 characters at most",
        )


def _free_name(folder: Path) -> str:
    """Return the time as a name; with a number where two backups are made in one second."""
    time = datetime.now(UTC).strftime("%Y-%m-%d-%H%M%S")
    number, name = 1, time
    while (folder / name).exists():
        number += 1
        name = f"{time}-{number}"
    return name


def _check_space(catalog: Path, folder: Path) -> None:
    log = catalog.with_name(catalog.name + "-wal")
    needed = catalog.stat().st_size
    with suppress(FileNotFoundError):
        needed += log.stat().st_size
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise _no_space(folder, f"{needed / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} MB are free")


def _no_space(folder: Path, why: str) -> LimitError:
    return LimitError(
        f"no space left for a backup in {folder}: {why}",
        unchanged="nothing of the backup stays; the knowledge base was not touched",
        hint="free space and try again",
    )
