"""Restoring a backup into a new folder, which says that it is incomplete until it no longer is."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kb import catalog as cat
from kb.config import DEFAULT_STORAGE, INCOMPLETE
from kb.disk import sync
from kb.errors import ConflictError, LimitError, UsageError
from kb.failpoints import failpoint
from kb.maintain.backup import CONFIG, check_backup
from kb.maintain.manifest import file_hash, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kb.maintain.manifest import Manifest

_SUFFIX: Final = ".incomplete"
_SAYS: Final = """\
A backup was being restored here, and that did not come to its end: nothing here can be used.
Delete this folder and restore the backup again; the backup itself was only read.
"""


def restore_backup(backup: Path, target: Path, adapt: Callable[[Path, str], None]) -> Manifest:
    """Restore a backup into a new folder and return what it held.

    Everything is checked, then copied to ``TARGET.incomplete``, checked again and renamed. A folder that a killed
    restore has left is not usable and says so; the next restore to the same place clears it away.

    Args:
        backup: Its folder; only read.
        target: The new folder; one that is there must be empty.
        adapt: Given the folder with the copied ``config.toml`` and where the catalog lies in it, makes the file say so.

    Raises:
        DamagedError: The backup is not as it was made; see ``check_backup``.
        ConflictError: The target is there already.
        UsageError: The target is inside the backup.
        LimitError: There is not enough space; nothing of the target stays.
    """
    target, backup = _real(target), _real(backup)
    if target == backup or target.is_relative_to(backup):
        raise UsageError(f"{target} is inside the backup", unchanged="nothing was restored", hint="name another folder")
    manifest = check_backup(backup)
    storage = _storage(manifest)
    part = target.with_name(target.name + _SUFFIX)
    _clear(target, part)
    _check_space(manifest, target)
    with _removed_on_failure(part, target):
        part.mkdir(mode=0o700, parents=True)
        (part / INCOMPLETE).write_text(_SAYS)
        sync(part)
        failpoint("restore_begun")
        _copy(backup, part, storage, manifest)
        failpoint("restore_copied")
        cat.move_rejects(part / storage / cat.FILE_NAME, target / storage / "rejects")
        cat.become_another(part / storage / cat.FILE_NAME)
        adapt(part, storage)
        for path in (part / storage / cat.FILE_NAME, part / CONFIG, part / storage, part):
            sync(path)
        failpoint("restore_complete")
        part.rename(target)
        sync(target.parent)
    failpoint("restore_renamed")
    (target / INCOMPLETE).unlink()
    sync(target)
    return manifest


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path.expanduser()))


def _storage(manifest: Manifest) -> str:
    """Return where the catalog goes, relative to the new folder; never outside of it, whatever the manifest says."""
    said = manifest.storage
    if said is None or Path(said).is_absolute() or "\\" in said or not said.isprintable():
        return DEFAULT_STORAGE
    inside = os.path.normpath(said)
    return DEFAULT_STORAGE if inside.startswith("..") or inside in (".", CONFIG, INCOMPLETE) else inside


def _clear(target: Path, part: Path) -> None:
    """Remove what a killed restore has left; whatever else is there is left alone.

    Raises:
        ConflictError: Something else is there.
    """
    for path in (part, target):
        if (path / INCOMPLETE).is_file() and not path.is_symlink():
            shutil.rmtree(path)
        elif os.path.lexists(path) and not (path == target and path.is_dir() and not any(path.iterdir())):
            raise ConflictError(
                f"{path} exists already",
                unchanged="it was not touched; nothing was restored",
                hint="a backup is restored into a new folder: name one that does not exist",
            )


def _copy(backup: Path, part: Path, storage: str, manifest: Manifest) -> None:
    """Copy the files, and compare the copies: what is restored is what was checked."""
    (part / storage).mkdir(mode=0o700, parents=True)
    places = {cat.FILE_NAME: part / storage / cat.FILE_NAME, CONFIG: part / CONFIG}
    for one in manifest.files:
        place = places[one.name]
        shutil.copyfile(backup / one.name, place, follow_symlinks=False)
        place.chmod(0o600)
        if place.is_symlink() or file_hash(place) != one.sha256:
            raise refused(backup, f"'{one.name}' changed while it was restored")


def _check_space(manifest: Manifest, target: Path) -> None:
    existing = next(path for path in (target, *target.parents) if path.exists())
    needed = sum(one.bytes for one in manifest.files)
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise _no_space(target, f"{needed / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} MB are free")


@contextmanager
def _removed_on_failure(part: Path, target: Path) -> Iterator[None]:
    try:
        yield
    except BaseException as error:  # half a knowledge base stays behind on no account, Ctrl-C included; raised again
        shutil.rmtree(part, ignore_errors=True)
        number = getattr(error, "errno", 0)
        if isinstance(error, LimitError) or number in (errno.ENOSPC, errno.EDQUOT):
            raise _no_space(target, "the disk is full") from error
        if number in (errno.ENOTEMPTY, errno.EEXIST):
            raise ConflictError(f"{target} exists already", unchanged="it was not touched") from error
        raise


def _no_space(target: Path, why: str) -> LimitError:
    return LimitError(
        f"no space left to restore into {target}: {why}",
        unchanged="nothing of it stays; the backup was only read",
        hint="free space, or name a folder on another disk",
    )
