"""Checks that every reader of a table of ``config.toml`` makes; each error names the file and the key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kb.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def table(raw: Mapping[str, Any], name: str, path: Path, keys: Iterable[str]) -> dict[str, Any]:
    """Return a table that may hold certain keys only; an empty one where there is none."""
    value = raw.get(name, {})
    if not isinstance(value, dict):
        raise wrong(path, name, "a table", value)
    only(value, keys, path, name)
    return value


def tables(raw: Mapping[str, Any], name: str, path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return the tables inside a table, by name."""
    value = raw.get(name, {})
    if not isinstance(value, dict) or any(not isinstance(t, dict) for t in value.values()):
        raise wrong(path, name, "a table of tables", value)
    return list(value.items())


def only(raw: Mapping[str, object], keys: Iterable[str], path: Path, where: str) -> None:
    """Refuse every key but those; ``where`` is the table, ``""`` for the file itself."""
    valid = tuple(keys)
    for key in raw:
        if key not in valid:
            place = f"[{where}]" if where else "the file"
            raise ConfigError(f"{path}: {place} has an unknown key '{key}'", hint=nearest(key, valid))


def wrong(path: Path, key: str, expected: str, value: object) -> ConfigError:
    """Return the error for a value of the wrong type."""
    return ConfigError(f"{path}: {key} must be {expected}, not {value!r}")
