"""Damaged files of an index are put aside, never deleted: the catalog replaces them, and a person may look at them."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from kb.errors import DamagedError
from kb.index.seal import sync_folder

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
    folder = storage / QUARANTINE
    name = f"{path.name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        target, number = folder / name, 1
        while os.path.lexists(target):
            number += 1
            target = folder / f"{name}-{number}"
        path.rename(target)
        sync_folder(folder)
        sync_folder(storage)
    except OSError as error:
        raise DamagedError(
            f"{path} is damaged and cannot be moved to {folder}: {error.strerror}",
            unchanged="the catalog, which holds every document and vector, is untouched",
            hint="move it away yourself, then: kb rebuild",
        ) from error
    return target
