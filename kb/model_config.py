"""``[models.NAME]``: where a model is, how it is asked, and what an embedding server wants."""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from kb.errors import ConfigError
from kb.toml_tables import only, wrong

if TYPE_CHECKING:
    from collections.abc import Mapping

_TEXTS: Final = ("path", "revision", "query_prompt", "document_prompt")
_COUNTS: Final = ("dimension", "window", "batch_texts", "batch_characters", "tries")
_AMOUNTS: Final = ("timeout", "requests_per_minute", "tokens_per_minute", "price_per_million_tokens")
_SERVER_KEYS: Final = ("url", "model", "key_env", "send_dimension", *_COUNTS, *_AMOUNTS)
MODEL_KEYS: Final = (*_TEXTS, *_SERVER_KEYS)
_SECRETS: Final = ("key", "api_key", "apikey", "token", "secret", "password", "authorization")
_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """A model behind an HTTP server that speaks OpenAI's protocol.

    Attributes:
        url: Where the protocol begins: texts are posted to ``URL/embeddings``.
        model: The model's name on the server.
        dimension: The length of its vectors.
        window: The most tokens of one text.
        key_env: The environment variable that holds the key; None where the server wants none.
        send_dimension: Whether the server is asked for vectors of that length; for models that can shorten theirs.
        batch_texts: The most texts of one request.
        batch_characters: The most characters of one request; a longer text is a request of its own.
        timeout: Seconds that one request may take.
        tries: How often one request is tried in all.
        requests_per_minute: The most requests in a minute; None for no limit.
        tokens_per_minute: The most tokens in a minute, as estimated; None for no limit.
        price_per_million_tokens: In dollars; None where embedding costs nothing.
    """

    url: str
    model: str
    dimension: int
    window: int = 512
    key_env: str | None = None
    send_dimension: bool = False
    batch_texts: int = 128
    batch_characters: int = 100_000
    timeout: float = 60.0
    tries: int = 6
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    price_per_million_tokens: float | None = None


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What ``[models.NAME]`` says: where the model is, and prompts that replace its own.

    Attributes:
        path: The folder with the weights.
        revision: The commit on the hub.
        query_prompt: What is put before every query; None for the model's own.
        document_prompt: What is put before every document; None for the model's own.
        server: Where the model is behind a server; then there are no weights.
    """

    path: Path | None = None
    revision: str | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    server: ServerSettings | None = None


def read_model(name: str, raw: Mapping[str, Any], path: Path) -> ModelSettings:
    """Return what the table of a model says.

    Args:
        name: Of the model.
        raw: The table.
        path: Of ``config.toml``.

    Raises:
        ConfigError: A key is unknown, or its value cannot be; a secret is refused without being repeated.
    """
    where = f"models.{name}"
    for key in raw:
        if key.lower() in _SECRETS:
            raise ConfigError(
                f"{path}: [{where}] holds a secret, '{key}': the file may be read and copied by others",
                unchanged="the secret was not used",
                hint='take it out, put it into an environment variable, and name that: key_env = "OPENAI_API_KEY"',
            )
    only(raw, MODEL_KEYS, path, where)
    for key in _TEXTS:
        if key in raw and not isinstance(raw[key], str):
            raise wrong(path, f"{where}.{key}", "a string", raw[key])
    server = _server(name, raw, path)
    return ModelSettings(
        path=None if "path" not in raw else settled(path.parent / _folder(raw["path"], f"{path}: {where}.path")),
        revision=raw.get("revision"),
        query_prompt=raw.get("query_prompt"),
        document_prompt=raw.get("document_prompt"),
        server=server,
    )


def model_id(given: str, where: str, *, folder: Path | None = None) -> str:
    """Return the id under which a model is known: itself, or the absolute path when it is one.

    Args:
        given: As it was written.
        where: Who says it, for the message.
        folder: What a relative path is relative to; default: the current folder.

    Raises:
        ConfigError: It looks like a path, and can be none.
    """
    if not given.startswith(("./", "../", "~", "/")):
        return given
    path = _folder(given, where)
    return str(settled(path.absolute() if folder is None else folder / path))


def settled(path: Path) -> Path:
    """Return a path without ``..``; links before the last of them are followed, as opening it would, others stay."""
    parts = path.parts
    if ".." not in parts:
        return path
    after = len(parts) - parts[::-1].index("..")
    return Path(*parts[:after]).resolve().joinpath(*parts[after:])


def _folder(raw: str, where: str) -> Path:
    try:
        if raw and "\0" not in raw:
            return Path(raw).expanduser()
    except RuntimeError:  # the home folder of a user that does not exist
        pass
    raise ConfigError(f"{where} must be a path, not {raw!r}")


def _server(name: str, raw: Mapping[str, Any], path: Path) -> ServerSettings | None:
    where = f"models.{name}"
    given = [key for key in _SERVER_KEYS if key in raw]
    if "url" not in raw:
        if given:
            raise ConfigError(
                f"{path}: [{where}] sets {given[0]}, which is for a model behind a server, but no url",
                hint='add url = "https://…/v1", or take the key out',
            )
        return None
    for key in ("path", "revision"):
        if key in raw:
            raise ConfigError(f"{path}: [{where}] sets both url and {key}", hint="a model is here or behind a server")
    if "dimension" not in raw:
        raise ConfigError(
            f"{path}: [{where}] does not say the dimension of its vectors",
            hint="add it as the provider states it, such as dimension = 1536",
        )
    model = raw.get("model", name)
    if not isinstance(model, str) or not model:
        raise wrong(path, f"{where}.model", "a string", model)
    send = raw.get("send_dimension", False)
    if not isinstance(send, bool):
        raise wrong(path, f"{where}.send_dimension", "true or false", send)
    key_env = _key_env(raw.get("key_env"), f"{path}: {where}.key_env")
    url = _url(raw["url"], f"{path}: {where}.url", with_key=key_env is not None)
    numbers: dict[str, Any] = {key: _count(raw[key], path, f"{where}.{key}") for key in _COUNTS if key in raw}
    amounts: dict[str, Any] = {key: _amount(raw[key], path, f"{where}.{key}") for key in _AMOUNTS if key in raw}
    return ServerSettings(url=url, model=model, key_env=key_env, send_dimension=send, **numbers, **amounts)


def _url(raw: object, where: str, *, with_key: bool) -> str:
    """Return the address without a slash at its end; it is never repeated in a message, as it may hold a password."""
    try:
        parts = urlsplit(raw) if isinstance(raw, str) else None
        host = parts.hostname if parts is not None else None
    except ValueError:
        parts, host = None, None
    if parts is None or parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise ConfigError(f"{where} must be an address", hint='such as "https://api.openai.com/v1"')
    if parts.username is not None or parts.password is not None:
        hint = "take them out, and name an environment variable that holds the key: key_env"
        raise ConfigError(f"{where} holds a name or a password", hint=hint)
    if with_key and parts.scheme == "http" and not _is_here(host):
        raise ConfigError(f"{where} would send the key over the network unencrypted", hint="use https")
    return parts.geturl().rstrip("/")


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _key_env(raw: object, where: str) -> str | None:
    if raw is None:
        return None
    if not isinstance(raw, str) or not _VARIABLE.fullmatch(raw):
        # Whatever stands there may be the key itself: it is not repeated.
        raise ConfigError(
            f"{where} must be the name of an environment variable, in capitals",
            unchanged="its value was not used",
            hint='write key_env = "OPENAI_API_KEY", and put the key itself into that variable',
        )
    return raw


def _count(value: object, path: Path, key: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise wrong(path, key, "a whole number from 1", value)
    return value


def _amount(value: object, path: Path, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise wrong(path, key, "a number above 0", value)
    return float(value)
