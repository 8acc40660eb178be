"""``[index]``: where the vector index is, and how it is reached. Keys to servers come from the environment only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from kb.errors import ConfigError, nearest
from kb.toml_tables import only, wrong

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

INDEX_KEYS: Final = ("store_text", "mode", "host", "port", "ssl", "timeout", "tenant", "database")
_SECRETS: Final = ("key", "api_key", "apikey", "token", "secret", "password", "authorization")
_SERVER_ONLY: Final = ("host", "port", "ssl", "timeout", "tenant", "database")


class IndexMode(StrEnum):
    """Who has the files of the vector index open."""

    EMBEDDED = "embedded"  # the process that owns the knowledge base
    SERVER = "server"  # a Chroma server that all processes talk to
    CLOUD = "cloud"  # Chroma Cloud


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """What ``[index]`` says of the vector index.

    Attributes:
        mode: Who has its files open.
        host: Where the server is; None for the one that ``kb index serve`` starts, or for Chroma Cloud's own.
        port: Its port; None for the usual one, and for ``kb index serve`` one that is free.
        ssl: Whether it is spoken to by TLS.
        timeout: The seconds that it may take to answer one request.
        tenant: Whose database; None for the server's only one, or for what the key says.
        database: Which; None as ``tenant``.
    """

    mode: IndexMode = IndexMode.EMBEDDED
    host: str | None = None
    port: int | None = None
    ssl: bool = False
    timeout: float = 10.0
    tenant: str | None = None
    database: str | None = None

    @property
    def is_elsewhere(self) -> bool:
        """Whether the index does not lie in the folder of the knowledge base."""
        return self.mode is IndexMode.CLOUD or (self.mode is IndexMode.SERVER and self.host is not None)

    @property
    def place_in_words(self) -> str:
        """The mode, with where the server is when that is said."""
        port = "" if self.port is None else f":{self.port}"
        return str(self.mode) if self.host is None else f"{self.mode} at {self.host}{port}"


def read_index(raw: Mapping[str, Any], path: Path, environment: Mapping[str, str]) -> IndexSettings:
    """Return what ``[index]`` and the variables ``KB_INDEX_*`` say; a variable wins.

    Args:
        raw: The table.
        path: Of ``config.toml``.
        environment: The variables.

    Raises:
        ConfigError: A key is unknown, or its value cannot be; a secret is refused without being repeated.
    """
    for key in raw:
        if key.lower() in _SECRETS:
            raise ConfigError(
                f"{path}: [index] holds a secret, '{key}': the file may be read and copied by others",
                unchanged="the secret was not used",
                hint="take it out, and put it into the environment: CHROMA_API_KEY for the cloud, "
                "KB_INDEX_TOKEN for a server",
            )
    only(raw, INDEX_KEYS, path, "index")
    said = {key: (raw[key], f"{path}: index.{key}") for key in INDEX_KEYS if key in raw}
    for key in INDEX_KEYS:
        variable = f"KB_INDEX_{key.upper()}"
        if key != "store_text" and environment.get(variable):
            said[key] = (_typed(key, environment[variable]), variable)
    mode = _mode(*said.get("mode", ("embedded", "")))
    for key in _SERVER_ONLY:
        if key in said and mode is IndexMode.EMBEDDED:
            raise ConfigError(
                f'{said[key][1]} is about a server, but the mode is "embedded"',
                hint='put mode = "server" or mode = "cloud" into [index], or take it out',
            )
    return IndexSettings(
        mode,
        host=_text(said, "host", path),
        port=_port(said, path),
        ssl=_ssl(said, path, default=mode is IndexMode.CLOUD),
        timeout=_timeout(said, path),
        tenant=_text(said, "tenant", path),
        database=_text(said, "database", path),
    )


_Said = dict[str, tuple[object, str]]


def _typed(key: str, text: str) -> object:
    """Return the value that a variable spells, or the text where it spells none of that type."""
    try:
        if key == "port":
            return int(text)
        if key == "timeout":
            return float(text)
    except ValueError:
        return text
    if key == "ssl":
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    return text


def _mode(value: object, where: str) -> IndexMode:
    try:
        return IndexMode(str(value))
    except ValueError:
        raise ConfigError(f"{where} cannot be {value!r}", hint=nearest(str(value), list(IndexMode))) from None


def _text(said: _Said, key: str, path: Path) -> str | None:
    if key not in said:
        return None
    value, where = said[key]
    if not isinstance(value, str) or not value or any(c.isspace() or c in "/?#@" for c in value):
        raise _wrong(where, path, "a name without spaces and slashes", value)
    return value


def _port(said: _Said, path: Path) -> int | None:
    if "port" not in said:
        return None
    value, where = said["port"]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 65_536:
        raise _wrong(where, path, "a whole number from 1 to 65535", value)
    return value


def _ssl(said: _Said, path: Path, *, default: bool) -> bool:
    value, where = said.get("ssl", (default, ""))
    if not isinstance(value, bool):
        raise _wrong(where, path, "true or false", value)
    return value


def _timeout(said: _Said, path: Path) -> float:
    value, where = said.get("timeout", (10.0, ""))
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise _wrong(where, path, "a number of seconds above 0", value)
    return float(value)


def _wrong(where: str, path: Path, expected: str, value: object) -> ConfigError:
    prefix = f"{path}: "
    if where.startswith(prefix):
        return wrong(path, where.removeprefix(prefix), expected, value)
    return ConfigError(f"{where} must be {expected}, not {value!r}")
