"""One owner per knowledge base, by a lock of the operating system that ends with the process, however it ends."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from kb import file_lock
from kb.errors import LockedError, ReadOnlyError

LOCK_FILE: Final = "lock"
OWNER_FILE: Final = "owner.json"
SERVER_FILE: Final = "server.json"


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds the lock; for people to read, never a proof: the proof is the lock."""

    pid: int
    host: str
    command: str
    since: str

    def __str__(self) -> str:
        """Return the owner in one phrase."""
        return f"process {self.pid} on {self.host} ({self.command}) since {self.since}"


class Lock:
    """The lock of one storage folder, held until ``release`` or the end of the process."""

    def __init__(self, storage: Path, held: file_lock.FileLock) -> None:
        """Wrap a held lock; use ``acquire``."""
        self._storage = storage
        self._held = held
        self._pid = os.getpid()

    @property
    def descriptor(self) -> int:
        """What holds the lock, for a child that is to hold it as well."""
        return self._held.descriptor

    def release(self) -> None:
        """Give the lock up. A forked child has none, and leaves its parent's alone."""
        if os.getpid() == self._pid:
            (self._storage / SERVER_FILE).unlink(missing_ok=True)
            (self._storage / OWNER_FILE).unlink(missing_ok=True)
        self._held.release()


def acquire(storage: Path) -> Lock:
    """Take the lock without waiting.

    Args:
        storage: An existing folder, as a real path.

    Raises:
        LockedError: Somebody else holds it; the message names the owner.
    """
    try:
        held = file_lock.FileLock(storage / LOCK_FILE)
    except BlockingIOError:
        raise locked(storage) from None
    (storage / SERVER_FILE).unlink(missing_ok=True)  # of a server that was killed
    owner = Owner(
        os.getpid(),
        socket.gethostname(),
        _command(),
        datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    )
    temporary = storage / f"{OWNER_FILE}.part"
    temporary.write_text(json.dumps(asdict(owner)))
    temporary.replace(storage / OWNER_FILE)
    return Lock(storage, held)


def check_writable(storage: Path) -> None:
    """Look whether this user may write to the folder and to the lock in it.

    Raises:
        ReadOnlyError: It is mounted read-only, or the rights are missing; the message names the path.
    """
    for path in (storage, storage / LOCK_FILE):
        if path.exists() and not os.access(path, os.W_OK):
            raise ReadOnlyError(
                f"{path} cannot be written by this user",
                unchanged="nothing was written; searching and reading work",
                hint=f"chmod u+w {path}, or mount its file system writable",
            )


def is_held(storage: Path) -> bool:
    """Return whether somebody holds the lock at this moment. Looking disturbs nobody: it writes nothing."""
    return file_lock.is_held(storage / LOCK_FILE)


def read_owner(storage: Path) -> Owner | None:
    """Return what the last owner wrote about itself, or None."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Owner(**json.loads((storage / OWNER_FILE).read_text()))
    return None


def locked(storage: Path) -> LockedError:
    """Return the error that names the present owner."""
    owner = read_owner(storage)
    return LockedError(
        f"the knowledge base in {storage} is owned by {owner or 'another process'}",
        unchanged="nothing was written",
        hint="wait until it has finished, or stop it; searching and reading work meanwhile",
    )


def _command() -> str:
    # Only the program and its verb: the rest of the command line may carry what people search for.
    program = Path(sys.argv[0])
    name = "kb" if program.parts[-2:] == ("kb", "__main__.py") else program.name or "python"
    verb = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    return f"{name} {verb}".strip()[:60] if name == "kb" else name[:60]
