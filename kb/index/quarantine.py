"""Damaged files of an index are put aside, never deleted: the catalog replaces them, and a person may look at them."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from kb.disk import sync
from kb.errors import DamagedError

if TYPE_CHECKING:
    from pathlib import Path

QUARANTINE: Final = "quarantine"


def quarantine(storage: Path, path: Path) -> Path:
    """Move a file or folder of an index into ``quarantine/`` and return where it lies now.

    Args:
        storage: The folder of the knowledge base.
        path: Below it; whatever it is.

    Raises:
        DamagedError: It cannot be moved.
    """
    try:
        target = _target(storage, path)
        path.rename(target)
        sync(target.parent)
        sync(path.parent)
    except OSError as error:
        raise DamagedError(
            f"{path} cannot be moved to {storage / QUARANTINE}: {error.strerror}",
            unchanged="the catalog, which holds every document and vector, is untouched",
            hint="move it away yourself, then: kb rebuild",
        ) from error
    return target


def copy_aside(storage: Path, path: Path) -> Path:
    """Copy a folder of an index into ``quarantine/`` and return where the copy lies; raises as ``quarantine``."""
    try:
        target = _target(storage, path)
        shutil.copytree(path, target)
    except (OSError, shutil.Error) as error:
        raise DamagedError(
            f"{path} cannot be copied to {storage / QUARANTINE}: {error}",
            unchanged="the index was left as it is",
            hint="free space, or build all of it again: kb rebuild",
        ) from error
    return target


def _target(storage: Path, path: Path) -> Path:
    folder = storage / QUARANTINE
    folder.mkdir(mode=0o700, exist_ok=True)
    name = f"{'-'.join(path.relative_to(storage).parts)}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    number, target = 1, folder / name
    while os.path.lexists(target):
        number += 1
        target = folder / f"{name}-{number}"
    return target
