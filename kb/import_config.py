"""``[imports.NAME]``: an import under a name. Keys and types are checked here, words and fields where it is used."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

from kb.errors import ConfigError
from kb.toml_tables import only, wrong

if TYPE_CHECKING:
    from pathlib import Path

_LISTS: Final = ("files", "key", "nulls")
_TABLES: Final = ("constants", "templates", "split", "dates")
_MAPPING_WORDS: Final = ("where", "unknown_columns")
_READING_WORDS: Final = ("format", "encoding", "delimiter", "quote", "records", "sheet", "sql")
_POLICY_WORDS: Final = ("source", "on_conflict")
_FLAGS: Final = ("header", "atomic", "sync", "fail_empty")
IMPORT_KEYS: Final = (
    *("files", "collection", "columns", *_TABLES, "key", "nulls", *_MAPPING_WORDS),
    *(*_READING_WORDS, "header"),
    *(*_POLICY_WORDS, "atomic", "max_errors", "sync", "max_delete", "fail_empty"),
)
_PERCENT: Final = re.compile(r"(\d{1,3}(?:\.\d+)?) ?%", re.ASCII)


@dataclass(frozen=True, slots=True)
class ImportSettings:
    """What ``[imports.NAME]``, or the options of a command, say about an import: None or empty where they do not.

    Attributes:
        files: Paths and patterns, absolute when they come from the file; ``-`` for standard input.
        collection: Where the documents go.
        columns: By input column, the field that it fills, or several.
        constants, templates, split, dates, key, where, nulls, unknown_columns: As in ``kb.FieldMapping``.
        format, encoding, delimiter, quote, header, records, sheet, sql: As in ``kb.Reading``.
        source, atomic, sync, on_conflict, fail_empty: As in ``kb.Policy``.
        max_errors: A number of rows, or a share of them when it is a float in [0, 1].
        max_delete: A share in [0, 1].
    """

    files: tuple[str, ...] = ()
    collection: str | None = None
    columns: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)
    split: Mapping[str, str] = field(default_factory=dict)
    dates: Mapping[str, str] = field(default_factory=dict)
    key: tuple[str, ...] = ()
    where: str | None = None
    nulls: tuple[str, ...] = ()
    unknown_columns: str | None = None
    format: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    header: bool | None = None
    records: str | None = None
    sheet: str | None = None
    sql: str | None = None
    source: str | None = None
    atomic: bool | None = None
    max_errors: int | float | None = None
    sync: bool | None = None
    max_delete: float | None = None
    on_conflict: str | None = None
    fail_empty: bool | None = None

    def overridden_by(self, other: ImportSettings) -> ImportSettings:
        """Return these settings with what the others say in place of what these say.

        Tables are overridden entry by entry. A field that the others fill is not filled by these in any way.
        """
        mine = self._without(other._fills())
        merged: dict[str, Any] = {}
        for one in fields(mine):
            own, theirs = getattr(mine, one.name), getattr(other, one.name)
            if isinstance(own, Mapping):
                merged[one.name] = {**own, **theirs}
            else:
                merged[one.name] = own if theirs is None or theirs == () else theirs
        return ImportSettings(**merged)

    def _fills(self) -> set[str]:
        columns = {field for targets in self.columns.values() for field in _several(targets)}
        return columns | self.constants.keys() | self.templates.keys() | ({"id"} if self.key else set())

    def _without(self, filled: set[str]) -> ImportSettings:
        columns = {c: tuple(t for t in _several(targets) if t not in filled) for c, targets in self.columns.items()}
        return replace(
            self,
            columns={c: targets[0] if len(targets) == 1 else targets for c, targets in columns.items() if targets},
            constants={field: text for field, text in self.constants.items() if field not in filled},
            templates={field: text for field, text in self.templates.items() if field not in filled},
            key=() if "id" in filled else self.key,
        )

    def said(self) -> dict[str, object]:
        """Return what is said, by key."""
        found = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in found.items() if value is not None and value not in ((), {})}


def _several(targets: str | tuple[str, ...]) -> tuple[str, ...]:
    return (targets,) if isinstance(targets, str) else targets


def read_import(name: str, raw: Mapping[str, Any], path: Path) -> ImportSettings:
    """Return what ``[imports.NAME]`` says.

    Args:
        name: Of the import.
        raw: The table.
        path: The file; names of input files are relative to its folder.

    Raises:
        ConfigError: A key is unknown or a value has the wrong type.
    """
    where = f"imports.{name}"
    only(raw, IMPORT_KEYS, path, where)
    found: dict[str, Any] = {}
    for key, value in raw.items():
        place = f"{where}.{key}"
        if key in _FLAGS:
            found[key] = _flag(value, path, place)
        elif key in _LISTS:
            found[key] = _list(value, path, place)
        elif key in _TABLES:
            found[key] = {k: _spelled(v, path, f"{place}.{k}") for k, v in _table(value, path, place).items()}
        elif key == "columns":
            found[key] = {k: _targets(v, path, f"{place}.{k}") for k, v in _table(value, path, place).items()}
        elif key in ("max_errors", "max_delete"):
            found[key] = _bound(key, value, path, place)
        elif key == "quote" and value == "":
            found[key] = ""  # nothing encloses cells, as --quote '' says
        else:
            found[key] = _word(value, path, place)
    if "files" in found:
        found["files"] = tuple(_located(file, path.parent) for file in found["files"])
    return ImportSettings(**found)


def share(text: str) -> float:
    """Return the share that a percentage stands for.

    Raises:
        ValueError: It is none, or more than 100 %.
    """
    match = _PERCENT.fullmatch(text.strip())
    found = float(match[1]) / 100 if match else 2.0
    if found > 1:
        raise ValueError("is not a percentage (write 5%)")
    return found


def _bound(key: str, value: object, path: Path, place: str) -> int | float:
    if key == "max_errors" and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    try:
        return share(value if isinstance(value, str) else "")
    except ValueError:
        expected = 'a number of rows, or a percentage such as "5%"' if key == "max_errors" else 'a percentage: "10%"'
        raise wrong(path, place, expected, value) from None


def _word(value: object, path: Path, place: str) -> str:
    if not isinstance(value, str) or not value:
        raise wrong(path, place, "a string", value)
    return value


def _flag(value: object, path: Path, place: str) -> bool:
    if not isinstance(value, bool):
        raise wrong(path, place, "true or false", value)
    return value


def _list(value: object, path: Path, place: str) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not items or any(not isinstance(i, str) or not i for i in items):
        raise wrong(path, place, "a string or a list of strings", value)
    return tuple(items)


def _targets(value: object, path: Path, place: str) -> str | tuple[str, ...]:
    return value if isinstance(value, str) and value else _list(value, path, place)


def _table(value: object, path: Path, place: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise wrong(path, place, "a table", value)
    return value


def _spelled(value: object, path: Path, place: str) -> str:
    """Return a value as a CSV file spells it: TOML has numbers, dates and booleans of its own."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, int | float):
        return str(value)
    return _word(value, path, place)


def _located(file: str, folder: Path) -> str:
    """Return the path of an input file, relative to the folder of the configuration."""
    if file == "-":
        return file
    try:
        expanded = os.path.expanduser(file)  # noqa: PTH111 - a pattern is no path
    except RuntimeError:
        raise ConfigError(f"'{file}' names the home folder of nobody") from None
    inside = glob.escape(str(folder)) if glob.has_magic(expanded) else str(folder)
    return os.path.join(inside, expanded)  # noqa: PTH118 - likewise
