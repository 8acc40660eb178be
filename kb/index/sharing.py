"""The vector index behind a server, which several processes ask at once: where it is now, and its open collections."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from kb.errors import UnreachableError
from kb.file_lock import is_held
from kb.index.connect import Address, address_of
from kb.index.lock import LOCK_FILE, SERVER_FILE
from kb.index_config import IndexMode

if TYPE_CHECKING:
    from pathlib import Path

    from kb.index.chroma import Generation, VectorIndex
    from kb.index_config import IndexSettings

FRESH_SECONDS: Final = 2.0
"""For how long a collection of a server is taken to be the one that was asked for: others may have made it anew."""


@dataclass(frozen=True, slots=True)
class ServerNote:
    """What ``kb index serve`` notes beside the lock that it holds: without that lock it means nothing.

    Attributes:
        host, port: Where its Chroma is asked.
        pid: Of ``kb index serve``.
        since: When that began, in UTC.
    """

    host: str
    port: int
    pid: int
    since: str


def write_note(storage: Path, note: ServerNote) -> None:
    """Let other processes find the server; the caller holds the lock."""
    temporary = storage / f"{SERVER_FILE}.part"
    temporary.write_text(json.dumps(asdict(note)))
    temporary.replace(storage / SERVER_FILE)


def read_note(storage: Path) -> ServerNote | None:
    """Return where the server of a folder is asked, or None when none holds its lock."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        note = ServerNote(**json.loads((storage / SERVER_FILE).read_text()))
        if isinstance(note.port, int) and isinstance(note.host, str) and is_held(storage / LOCK_FILE):
            return note
    return None


class Sharing:
    """What one process has open of an index that it shares with others."""

    def __init__(self, storage: Path, settings: IndexSettings) -> None:
        """Ask nobody yet."""
        self._storage = storage
        self._settings = settings
        self._guard = threading.RLock()
        self._address: Address | None = None
        self._index: VectorIndex | None = None
        self._generations: dict[str, tuple[float, Generation]] = {}

    @property
    def is_shared(self) -> bool:
        """Whether several processes may write at this moment; False also where another one has all to itself."""
        if read_note(self._storage) is not None:
            return True
        return self._settings.mode is not IndexMode.EMBEDDED and not is_held(self._storage / LOCK_FILE)

    def address(self) -> Address | None:
        """Return where the index is asked, or None when its server is not running."""
        if self._settings.is_elsewhere:
            return address_of(self._settings)
        note = read_note(self._storage)
        return None if note is None else Address(self._settings, note.host, note.port)

    @property
    def is_foreign(self) -> bool:
        """Whether others may have collections beside ours."""
        return self._settings.is_elsewhere

    @property
    def place(self) -> str | None:
        """Which index this is, where it does not lie in the folder of the knowledge base."""
        return address_of(self._settings).place if self._settings.is_elsewhere else None

    def existing(self, name: str, *, base: str | None) -> Generation | None:
        """Return an open generation, or None where there is none; as ``VectorIndex.existing``.

        Raises:
            UnreachableError: The server is not running, does not answer or refuses.
        """
        with self._guard:
            index = self._connected()
            opened = self._generations.get(name)
            if opened is not None and time.monotonic() - opened[0] < FRESH_SECONDS:
                return opened[1]
            found = index.existing(name, base=base)
            return None if found is None else self._kept(name, found)

    def generation(self, name: str, *, created_by: dict[str, str], anew: bool) -> tuple[Generation, bool]:
        """Return an open generation and whether it is new and empty; as ``VectorIndex.generation``.

        Raises:
            UnreachableError: As ``existing``.
        """
        with self._guard:
            found, is_new = self._connected().generation(name, created_by=created_by, anew=anew)
            return self._kept(name, found), is_new

    def drop(self, name: str, *, base: str | None) -> None:
        """Delete a generation that is ours; harmless where there is none. Raises as ``existing``."""
        with self._guard:
            index = self._connected()
            self._generations.pop(name, None)
            if index.existing(name, base=base) is not None:
                index.drop(name)

    def _kept(self, name: str, generation: Generation) -> Generation:
        generation.is_shared = True
        self._generations[name] = (time.monotonic(), generation)
        return generation

    def _connected(self) -> VectorIndex:
        address = self.address()
        if address is None:
            raise UnreachableError(
                "the Chroma server of this knowledge base is not running",
                unchanged="the catalog, which holds every document and vector, is untouched",
                hint="kb index serve starts it; writes are kept, and the index follows then",
            )
        if self._index is None or address != self._address:
            self.close()
            from kb.index.chroma import VectorIndex

            self._index = VectorIndex(self._storage, address)
            self._address = address
        return self._index

    def close(self) -> None:
        """Close what is open; the server goes on."""
        with self._guard:
            self._generations.clear()
            index, self._index, self._address = self._index, None, None
            if index is not None:
                index.close()
