"""From a backup to a knowledge base in a new folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kb import config
from kb.first_config import set_storage
from kb.maintain import restore_backup

if TYPE_CHECKING:
    import os

    from kb.maintain import Manifest


@dataclass(frozen=True, slots=True)
class Restored:
    """A knowledge base that was restored.

    Attributes:
        root: Its folder.
        storage: Where its catalog lies.
        manifest: What the backup held.
        notes: What differs from the original, in words.
    """

    root: Path
    storage: Path
    manifest: Manifest
    notes: tuple[str, ...]


def restore(backup: Path, target: str | os.PathLike[str]) -> Restored:
    """Restore a backup into a new folder; ``config.toml`` comes along.

    Where the original kept its catalog outside its own folder, the restored one keeps it inside: two knowledge bases
    never share one. The indexes are built by the first search, from the vectors in the catalog.

    Args:
        backup: Its folder; only read.
        target: The new folder.

    Raises:
        DamagedError, ConflictError, UsageError, LimitError: As ``kb.maintain.restore_backup``.
    """
    manifest = restore_backup(backup, Path(target), set_storage)
    root = Path(target).expanduser().resolve()
    settings = config.load_settings(root, {})
    notes = []
    if manifest.storage is None:
        notes.append(f"the original kept its catalog outside its folder; this one keeps it in {settings.storage}")
    return Restored(root, settings.storage, manifest, tuple(notes))
