"""``config.toml`` → settings. Unknown names are errors; ``KB_*`` variables win over the file, arguments over both."""

from __future__ import annotations

import math
import os
import stat
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kb.errors import ConfigError, DamagedError, NoKnowledgeBaseError, SchemaError, nearest
from kb.import_config import ImportSettings, read_import
from kb.index_config import IndexSettings, read_index
from kb.model_config import ModelSettings, model_id, read_model
from kb.schema import Field, FieldType, Schema, build_schema, parse_type
from kb.toml_tables import only, table, tables, wrong

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE_NAME: Final = "config.toml"
INCOMPLETE: Final = "INCOMPLETE-RESTORE.txt"
"""Lies in a folder that a backup is being restored into, until everything is there."""

DEFAULT_MODEL: Final = "all-MiniLM-L6-v2"
DEFAULT_STORAGE: Final = ".kb"
DEFAULT_LANGUAGE: Final = "english"
LANGUAGES: Final = (
    *("none", "arabic", "danish", "dutch", "english", "finnish", "french", "german", "greek", "hungarian", "italian"),
    *("norwegian", "portuguese", "romanian", "russian", "spanish", "swedish", "tamil", "turkish"),
)
"""Whose words the index of words can reduce to their stems; ``none`` leaves them as they are."""

MAX_CONFIG_BYTES: Final = 1024 * 1024

_FIELD_KEYS: Final = ("type", "required", "choices", "min", "max", "default", "separator")
_COLLECTION_KEYS: Final = (
    "model",
    "query_model",
    "key",
    "text",
    "chunk_tokens",
    "chunk_overlap",
    "language",
    "fields",
)


@dataclass(frozen=True, slots=True)
class CollectionSettings:
    """What ``[collections.NAME]`` says.

    Attributes:
        schema: The fields, the key and the text template.
        model: The model id.
        chunk_tokens: The most tokens of one embedded text; None for what the model's window allows, 256 at most.
        chunk_overlap: How many tokens of the previous chunk are embedded before a chunk; None for 32.
        language: Of the documents; one of ``LANGUAGES``.
        query_model: The id of the model that embeds queries; None where ``model`` does.
    """

    schema: Schema
    model: str = DEFAULT_MODEL
    chunk_tokens: int | None = None
    chunk_overlap: int | None = None
    language: str = DEFAULT_LANGUAGE
    query_model: str | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that is configured.

    Attributes:
        root: The folder of the knowledge base: the one that holds ``config.toml``.
        storage: Where the catalog and the index lie, as an absolute path without symbolic links.
        store_text: Whether the index keeps the text of the chunks beside their vectors.
        collections: The declared collections by name.
        models: Settings by model id.
        imports: The declared imports by name.
        index: Where the vector index is, and how it is reached.
    """

    root: Path
    storage: Path
    store_text: bool = True
    collections: Mapping[str, CollectionSettings] = field(default_factory=dict)
    models: Mapping[str, ModelSettings] = field(default_factory=dict)
    imports: Mapping[str, ImportSettings] = field(default_factory=dict)
    index: IndexSettings = field(default_factory=IndexSettings)


def find_root(directory: str | os.PathLike[str] | None, environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the knowledge base: the argument, else ``KB_HOME``, else the nearest upward.

    Raises:
        NoKnowledgeBaseError: There is no ``config.toml`` in it.
        DamagedError: A restore into it did not come to its end.
    """
    given = directory or environment.get("KB_HOME")
    if given is not None and str(given):
        root = Path(given).expanduser()
        _check_complete(root)
        if (root / FILE_NAME).is_file():
            return root.resolve()
        raise NoKnowledgeBaseError(f"there is no knowledge base in {root}: no {FILE_NAME}", hint=f"kb init {root}")
    try:
        here = Path.cwd().resolve()
    except FileNotFoundError:
        raise NoKnowledgeBaseError("the current folder no longer exists", hint="cd to another one") from None
    for folder in (here, *here.parents):
        _check_complete(folder)
        if (folder / FILE_NAME).is_file():
            return folder
    raise NoKnowledgeBaseError(
        f"there is no knowledge base in {here} or above: no {FILE_NAME}", hint="kb init, or name one with --kb DIR"
    )


def _check_complete(folder: Path) -> None:
    if (folder / INCOMPLETE).exists():
        raise DamagedError(
            f"{folder} is an incomplete restore",
            unchanged="the backup that it was made from is untouched",
            hint=f"restore again into {folder.name.removesuffix('.incomplete')}: kb backup restore NAME|PATH NEWDIR",
        )


def load_settings(root: Path, environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of the knowledge base in ``root``.

    Raises:
        ConfigError: The file is not TOML, or a key is unknown or has the wrong type; the message names the place.
    """
    path = root / FILE_NAME
    raw = _read(path)
    only(raw, ("storage", "index", "collections", "models", "imports"), path, "")
    storage = table(raw, "storage", path, ("path",))
    index = raw.get("index", {})
    if not isinstance(index, dict):
        raise wrong(path, "index", "a table", index)
    store_text: object = index.get("store_text", True)
    if not isinstance(store_text, bool):
        raise wrong(path, "index.store_text", "true or false", store_text)
    if environment.get("KB_STORAGE_PATH"):
        location = _path(environment["KB_STORAGE_PATH"], "KB_STORAGE_PATH")
    else:
        location = _path(storage.get("path", DEFAULT_STORAGE), f"{path}: storage.path")
    return Settings(
        root=root,
        storage=(root / location).resolve(),
        store_text=_variable("KB_INDEX_STORE_TEXT", environment, store_text),
        collections={n: _collection(n, t, path) for n, t in tables(raw, "collections", path)},
        models={n: read_model(n, t, path) for n, t in tables(raw, "models", path)},
        imports={n: read_import(n, t, path) for n, t in tables(raw, "imports", path)},
        index=read_index(index, path, environment),
    )


def check_collection_name(name: str) -> str:
    """Return the name when it can name a collection.

    Raises:
        SchemaError: It is empty, longer than 100 characters or has other characters than ``a-z A-Z 0-9 _ -``.
    """
    plain = name.replace("-", "").replace("_", "")
    if not (plain.isascii() and plain.isalnum() and name[0].isalnum() and name[-1].isalnum() and len(name) <= 100):
        raise SchemaError(
            f"'{name}' cannot name a collection",
            hint="use letters, digits, - and _, a letter or digit first and last, 100 characters at most",
        )
    return name


def check_language(language: str, where: str) -> str:
    """Return the language when words can be reduced to their stems in it, or it is ``none``.

    Raises:
        ConfigError: It is another; the message names the place.
    """
    if language not in LANGUAGES:
        raise ConfigError(f"{where} there are no stems of the language '{language}'", hint=nearest(language, LANGUAGES))
    return language


def field_from_declaration(name: str, declaration: object, where: str) -> Field:
    """Return the field that ``name = "str"`` or ``name = { type = "str", … }`` declares.

    Args:
        name: The field's name.
        declaration: The TOML value.
        where: The place, for messages.

    Raises:
        ConfigError: A key is unknown or a value has the wrong type.
    """
    if isinstance(declaration, str):
        declaration = {"type": declaration}
    if not isinstance(declaration, dict) or not isinstance(declaration.get("type"), str):
        raise ConfigError(f"{where}: '{name}' must be a type such as \"str\", or a table with a type")
    for key in declaration:
        if key not in _FIELD_KEYS:
            raise ConfigError(f"{where}: '{name}' has an unknown key '{key}'", hint=nearest(key, _FIELD_KEYS))
    spelled: str = declaration["type"]
    required = declaration.get("required", not spelled.endswith("?"))
    if not isinstance(required, bool):
        raise ConfigError(f"{where}: '{name}'.required must be true or false, not {required!r}")
    kind, many = parse_type(spelled.removesuffix("?"))
    bare = Field(name, kind, many)
    choices = declaration.get("choices")
    if choices is not None and (not isinstance(choices, list) or not choices):
        raise ConfigError(f"{where}: '{name}'.choices must be a list of values, not {choices!r}")
    separator = declaration.get("separator")
    if separator is not None and not isinstance(separator, str):
        raise ConfigError(f"{where}: '{name}'.separator must be a string, not {separator!r}")
    return Field(
        name,
        kind,
        many,
        required=required,
        choices=None if choices is None else tuple(_typed(bare, c, where) for c in choices),
        minimum=_bound(declaration, name, "min", where),
        maximum=_bound(declaration, name, "max", where),
        default=_default(bare, declaration.get("default"), where),
        separator=separator,
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_mode & stat.S_IWOTH:
            raise ConfigError(f"{path} can be written by every user of this machine", hint=f"chmod o-w {path}")
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{path} is {len(data):,} bytes long; the limit is {MAX_CONFIG_BYTES:,}")
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 at byte {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def _variable(name: str, environment: Mapping[str, str], default: bool) -> bool:  # noqa: FBT001 - a value, no switch
    """Return what a variable says, else the default."""
    if name not in environment:
        return default
    given = {"true": True, "1": True, "false": False, "0": False}.get(environment[name].lower())
    if given is None:
        raise ConfigError(f"{name} must be true or false, not {environment[name]!r}")
    return given


def _path(raw: object, where: str) -> Path:
    try:
        if isinstance(raw, str) and raw and "\0" not in raw:
            return Path(raw).expanduser()
    except RuntimeError:  # the home folder of a user that does not exist
        pass
    raise ConfigError(f"{where} must be a path, not {raw!r}")


def _collection(name: str, raw: dict[str, Any], path: Path) -> CollectionSettings:
    where = f"{path}: [collections.{name}]"
    check_collection_name(name)
    only(raw, _COLLECTION_KEYS, path, f"collections.{name}")
    for key in ("model", "query_model", "key", "text", "language"):
        if key in raw and (not isinstance(raw[key], str) or not raw[key]):
            raise wrong(path, f"collections.{name}.{key}", "a string", raw[key])
    for key in ("chunk_tokens", "chunk_overlap"):
        if key in raw and (not isinstance(raw[key], int) or isinstance(raw[key], bool)):
            raise wrong(path, f"collections.{name}.{key}", "a whole number", raw[key])
    declared = raw.get("fields")
    if not isinstance(declared, dict) or not declared:
        raise ConfigError(f"{where} declares no fields", hint=f'add [collections.{name}.fields] with title = "str"')
    try:
        fields = [field_from_declaration(n, d, where) for n, d in declared.items()]
        schema = build_schema(fields, key=raw.get("key", "id"), text=raw.get("text"))
    except SchemaError as error:
        raise SchemaError(f"{where}: {error}", hint=error.hint) from None
    model = model_id(raw.get("model", DEFAULT_MODEL), f"{where} model", folder=path.parent)
    query_model = raw.get("query_model")
    if query_model is not None:
        query_model = model_id(query_model, f"{where} query_model", folder=path.parent)
    language = check_language(raw.get("language", DEFAULT_LANGUAGE), where)
    return CollectionSettings(schema, model, raw.get("chunk_tokens"), raw.get("chunk_overlap"), language, query_model)


def _typed(bare: Field, raw: object, where: str) -> Any:
    """Return a choice or default as TOML gives it, in the type of the field."""
    try:
        value = Field(bare.name, bare.type).from_json(raw)
    except ValueError as error:
        raise ConfigError(f"{where}: '{bare.name}': {raw!r} {error}") from None
    if type(value) is not bare.python:
        raise ConfigError(f"{where}: '{bare.name}': {raw!r} is not of type {bare.type}")
    return value


def _default(bare: Field, raw: object, where: str) -> Any:
    if raw is None:
        return None
    if bare.many:
        if not isinstance(raw, list):
            raise ConfigError(f"{where}: the default of '{bare.name}' must be a list, not {raw!r}")
        return [_typed(bare, item, where) for item in raw]
    return _typed(bare, raw, where)


def _bound(declaration: dict[str, Any], name: str, key: str, where: str) -> int | float | None:
    value = declaration.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise ConfigError(f"{where}: '{name}'.{key} must be a number, not {value!r}")
    return value


def describe_type(declared: Field) -> str:
    """Return a field's declaration in one short phrase, e.g. ``str, optional, one of ml, nlp``."""
    words = [declared.spelled]
    if not declared.required and not declared.many:
        words.append("optional")
    if declared.choices is not None:
        words.append("one of " + ", ".join(declared.format(choice) for choice in declared.choices))
    if declared.minimum is not None or declared.maximum is not None:
        low = "" if declared.minimum is None else f"{declared.minimum:g} ≤ "
        high = "" if declared.maximum is None else f" ≤ {declared.maximum:g}"
        words.append(f"{low}value{high}")
    if declared.type is FieldType.TEXT:
        words.append("prose")
    return ", ".join(words)
