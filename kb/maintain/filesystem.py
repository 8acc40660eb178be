"""What a folder lies on, and whether locks and fsync mean there what they must."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MOUNTS: Final = Path("/proc/self/mounts")
_NETWORK: Final = frozenset(
    (
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "ceph", "glusterfs", "lustre", "beegfs", "davfs"),
        *("virtiofs", "fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse", "fuse.glusterfs"),
    )
)
_MEMORY: Final = frozenset(("tmpfs", "ramfs"))
_LAYERS: Final = frozenset(("overlay", "aufs", "overlayfs"))
_SYNCHRONISED: Final = (
    *("dropbox", "onedrive", "google drive", "googledrive", "my drive", "nextcloud", "owncloud", "pcloud", "box sync"),
    *("icloud drive", "mobile documents", "syncthing", "seafile"),
)


@dataclass(frozen=True, slots=True)
class FileSystem:
    """The file system that a folder lies on.

    Attributes:
        type: As the kernel names it; empty where it does not tell.
        mount: Where it is mounted.
        is_read_only: Whether it was mounted so.
    """

    type: str
    mount: str
    is_read_only: bool


def file_system_of(folder: Path, mounts: Path = _MOUNTS) -> FileSystem:
    """Return the file system of a folder, or of the nearest one above that exists; looks at no more than a list.

    Args:
        folder: As a real path.
        mounts: The kernel's list of what is mounted.
    """
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return FileSystem("", "/", is_read_only=False)
    found = FileSystem("", "/", is_read_only=False)
    for line in lines:
        _, mount, kind, options, *_ = line.split(" ")
        place = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), mount)
        # The last of equals is on top.
        if folder.is_relative_to(place) and len(place) >= len(found.mount):
            found = FileSystem(kind, place, is_read_only="ro" in options.split(","))
    return found


def hazard(folder: Path, mounts: Path = _MOUNTS) -> str | None:
    """Return why locks and fsync may not keep their promises in a folder, in one sentence; None where they do.

    Args:
        folder: As a real path.
        mounts: As in ``file_system_of``.
    """
    kind = file_system_of(folder, mounts).type
    if kind in _NETWORK:
        return f"{folder} lies on a network file system ({kind}): locks and fsync cannot be relied on there"
    if name := next((part for part in folder.parts if part.lower().startswith(_SYNCHRONISED)), None):
        return f"{folder} lies in a synchronised folder ('{name}'): a file may be replaced while it is written"
    return None


def brief_life(folder: Path, mounts: Path = _MOUNTS) -> str | None:
    """Return why a folder will be gone one day, in one sentence; None where it stays; arguments as ``hazard``."""
    kind = file_system_of(folder, mounts).type
    if kind in _MEMORY:
        return f"{folder} lies in memory ({kind}): it is gone when the machine stops"
    if kind in _LAYERS:
        return f"{folder} lies in the layers of a container ({kind}): it is gone when the container is removed"
    return None
