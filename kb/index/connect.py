"""Clients of Chroma: of a folder, of a server, of Chroma Cloud; what each takes, and for how long it is waited for."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kb.errors import UnreachableError
from kb.index_config import IndexMode

if TYPE_CHECKING:
    from pathlib import Path

    from kb.index_config import IndexSettings

TOKEN: Final = "KB_INDEX_TOKEN"  # noqa: S105 - its name, not its value
CLOUD_KEY: Final = "CHROMA_API_KEY"
CLOUD_HOST: Final = "api.trychroma.com"
SERVER_PORT: Final = 8000
CLOUD_PORT: Final = 443
CONNECT_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What one Chroma takes and gives in one call; None where it has no limit that matters.

    Attributes:
        records: The most records of a write.
        results: The most records of an answer.
        id_bytes: The longest id.
        text_bytes: The longest text of a record.
        metadata_keys: The most metadata values of a record.
    """

    records: int = 5_000
    results: int = 10_000
    id_bytes: int | None = None
    text_bytes: int | None = None
    metadata_keys: int | None = None


OWN: Final = Limits()
"""Of a Chroma that runs here, embedded or as a server: below what it refuses."""

CLOUD: Final = Limits(records=300, results=300, id_bytes=128, text_bytes=16_384, metadata_keys=32)
"""The quotas of Chroma Cloud."""


OWN_KEYS: Final = 2
"""How many metadata values of a record are not fields: the document's id and the chunk's number."""


def limits_of(settings: IndexSettings) -> Limits:
    """Return what the configured Chroma takes."""
    return CLOUD if settings.mode is IndexMode.CLOUD else OWN


@dataclass(frozen=True, slots=True)
class Address:
    """Where a Chroma is asked.

    Attributes:
        settings: How a server is spoken to.
        host: The server; None for a folder.
        port: Its port.
        is_foreign: Whether others may have collections there, so that ours are told apart from theirs.
    """

    settings: IndexSettings
    host: str | None = None
    port: int = 0
    is_foreign: bool = False

    @property
    def limits(self) -> Limits:
        """What it takes."""
        return limits_of(self.settings)

    @property
    def place(self) -> str:
        """Which index this is, whoever has it open: what one of them holds says nothing about another."""
        if not self.is_foreign:
            return "folder"
        return f"{self.host}:{self.port}/{self.settings.tenant or ''}/{self.settings.database or ''}"

    def __str__(self) -> str:
        """Return what people call it."""
        return f"the Chroma server at {self.host}:{self.port}"


def address_of(settings: IndexSettings) -> Address:
    """Return the address of a server that the configuration names; see ``IndexSettings.is_elsewhere``."""
    if settings.mode is IndexMode.CLOUD:
        return Address(settings, settings.host or CLOUD_HOST, settings.port or CLOUD_PORT, is_foreign=True)
    return Address(settings, settings.host, settings.port or SERVER_PORT, is_foreign=True)


def open_folder(path: Path) -> Any:
    """Return a client of the Chroma in a folder; the caller holds its lock."""
    os.environ.setdefault("ANONYMIZED_TELEMETRY", "False")
    import chromadb
    from chromadb.config import Settings

    return chromadb.PersistentClient(str(path), Settings(anonymized_telemetry=False))


def open_server(address: Address) -> Any:
    """Return a client of a server that has answered; every later call ends in time as well.

    Raises:
        UnreachableError: It does not answer, or refuses; or the environment has no key for it.
    """
    os.environ.setdefault("ANONYMIZED_TELEMETRY", "False")
    key = _key(address)
    import chromadb

    from kb.index.http_clock import clock, note_away

    said = address.settings
    settings = clock(said.timeout, CONNECT_SECONDS)
    try:
        if said.mode is IndexMode.CLOUD:
            return chromadb.CloudClient(
                said.tenant,
                said.database,
                key,
                settings,
                cloud_host=str(address.host),
                cloud_port=address.port,
                enable_ssl=said.ssl,
            )
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        defaults = {"tenant": said.tenant, "database": said.database}
        return chromadb.HttpClient(
            str(address.host),
            address.port,
            said.ssl,
            headers,
            settings,
            **{name: value for name, value in defaults.items() if value is not None},
        )
    except Exception as error:  # chromadb wraps what went wrong in errors of all kinds
        note_away(f"{address.host}:{address.port}", error)
        raise _unreachable(str(address), error, key) from None


def reach(address: Address) -> None:
    """Ask a server whether it is there, and for us.

    Raises:
        UnreachableError: It does not answer, or refuses; or the environment has no key for it.
    """
    open_server(address).close()


def _unreachable(server: str, error: BaseException, key: str | None) -> UnreachableError:
    cause = f"{type(error).__name__}: {error}".partition("\n")[0].rstrip(": ")[:300]
    if key:
        cause = cause.replace(key, "…")
    return UnreachableError(
        f"{server} does not answer: {cause}",
        unchanged="the catalog, which holds every document and vector, is untouched",
        hint="kb index status shows how it is reached; writes are kept, and the index follows when it answers again",
    )


def away(error: BaseException) -> UnreachableError | None:
    """Return the error to raise for one that says that a server cannot be asked; None for any other."""
    clock = sys.modules.get("kb.index.http_clock")
    where = None if clock is None else clock.where_away(error)
    if where is None:
        return None
    return _unreachable(f"the Chroma server at {where}", error, os.environ.get(TOKEN) or os.environ.get(CLOUD_KEY))


def _key(address: Address) -> str | None:
    if address.settings.mode is IndexMode.CLOUD:
        key = os.environ.get(CLOUD_KEY)
        if not key:
            raise UnreachableError(
                f"Chroma Cloud wants a key, and the environment has no {CLOUD_KEY}",
                unchanged="the catalog, which holds every document and vector, is untouched",
                hint=f"export {CLOUD_KEY}=…",
            )
        return key
    # Not to the server that this machine started itself: it asks for none.
    return os.environ.get(TOKEN) if address.is_foreign else None
