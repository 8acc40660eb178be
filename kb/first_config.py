"""Writing ``config.toml``: the first one, and one more collection; commented, and checked by reading it back."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import tomlkit

from kb.config import DEFAULT_STORAGE, FILE_NAME, check_collection_name, field_from_declaration, load_settings
from kb.errors import ConflictError, UsageError
from kb.schema import build_schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kb.ingest.inspect import Proposal
    from kb.schema import Recipe

_EXAMPLE: Final = """
[collections.{name}.fields]
title = "str"
body = "text"                            # prose, up to 1 MB
category = {{ type = "str", choices = ["ml", "nlp"] }}
published = "date"                       # ISO 8601: 2024-01-31
author = {{ type = "str", required = false }}
tags = {{ type = "list[str]", separator = ";" }}   # in a CSV cell: "python;performance"
rating = {{ type = "float", min = 0, max = 5, required = false }}
"""

_TOP: Final = """\
# A knowledge base. Import with `kb import FILE`, search with `kb search "..."`.

[storage]
path = ".kb"                             # the catalog and the index; relative to this file

"""

_HEAD: Final = """\
[collections.{name}]
{model}# kb models lists what there is
{key}# the input column that identifies a document
{text}# what is embedded: any of the fields
"""


def write_config(
    directory: Path, name: str, fields: Sequence[tuple[str, str]], *, text: str | None, key: str, model: str
) -> Path:
    """Write ``config.toml`` for a new knowledge base and return its path.

    Args:
        directory: The folder; made if it does not exist.
        name: Of the first collection.
        fields: Names and types, a ``?`` after an optional one's; empty for the example's.
        text: The text template; None for the example's, or for all prose fields.
        key: The input column that identifies a document.
        model: The model id.

    Raises:
        ConflictError: There is a ``config.toml`` already.
        SchemaError: The declaration cannot work; nothing was written.
    """
    path = directory / FILE_NAME
    if path.exists():
        raise ConflictError(
            f"{path} exists already", unchanged="nothing was written", hint="edit it, or name another folder"
        )
    check_collection_name(name)
    if fields:
        declared = [field_from_declaration(field, kind, "--field") for field, kind in fields]
        schema = build_schema(declared, key=key, text=text)
        template = schema.template.source
        table = tomlkit.table()
        for one in declared:
            value: object = one.spelled
            if not one.required and not one.many:
                value = tomlkit.inline_table()
                value.update({"type": one.spelled, "required": False})
            table.add(one.name, value)
        body = f"\n[collections.{name}.fields]\n" + tomlkit.dumps(table)
    else:
        template = text or "{title}\n\n{body}"
        body = _EXAMPLE.format(name=name)
    head = _HEAD.format(name=name, model=_line("model", model), key=_line("key", key), text=_line("text", template))
    directory.mkdir(parents=True, exist_ok=True)
    path.write_text(_TOP + head + body, encoding="utf-8")
    try:
        load_settings(directory, {})
    except BaseException:  # a file that cannot be used stays behind on no account, Ctrl-C included; raised again
        path.unlink()
        raise
    return path.resolve()


def add_collection(directory: Path, proposal: Proposal) -> Path:
    """Add a proposed collection at the end of ``config.toml``, which is made where there is none; return its path.

    Everything that stands in the file stays as it is. The new file takes the place of the old one at once.

    Args:
        directory: The folder; made if it does not exist.
        proposal: The collection, and how to import into it.

    Raises:
        ConflictError: There is a collection or an import of that name already, or the file cannot take one.
        SchemaError: The name cannot name a collection.
        ConfigError: The file cannot be read as it is.
    """
    check_collection_name(proposal.name)
    path = (directory / FILE_NAME).resolve()
    before = _TOP
    if path.exists():
        load_settings(directory, {})
        before = path.read_bytes().decode()
        _check_free(path, before, proposal.name)
    directory.mkdir(parents=True, exist_ok=True)
    gap = "" if before.endswith("\n\n") else "\n" if before.endswith("\n") else "\n\n"
    _replace(path, before + gap + proposal.to_toml(), proposal.name)
    return path


def write_recipe(root: Path, name: str, before: Recipe, now: Recipe) -> list[str]:
    """Let ``config.toml`` declare a collection as it is made now; everything else in the file stays as it is.

    Args:
        root: The folder of the file.
        name: The collection; one that the file does not declare is left alone.
        before: How it was made.
        now: How it is made.

    Returns:
        The keys that were written.
    """
    path = (root / FILE_NAME).resolve()
    if not path.exists():
        return []
    document = tomlkit.parse(path.read_bytes().decode())
    table = document.get("collections", {}).get(name)
    if table is None:
        return []
    changed = {
        key: value
        for key, was, value in (
            ("model", before.model, now.model),
            ("text", before.template, now.template),
            ("chunk_tokens", before.chunk_tokens, now.chunk_tokens),
            ("chunk_overlap", before.chunk_overlap, now.chunk_overlap),
            ("query_model", before.query_model, now.query_model),
        )
        if was != value
    }
    for key, value in changed.items():
        if value == "":
            table.pop(key, None)
        else:
            table[key] = value
    if changed:
        _replace(path, tomlkit.dumps(document), name)
    return list(changed)


def _replace(path: Path, text: str, name: str) -> None:
    """Put a new text in the place of a file at once, after reading it back.

    Raises:
        ConflictError: It cannot be read.
    """
    with TemporaryDirectory(dir=path.parent, prefix=".kb-config-") as folder:
        draft = Path(folder) / FILE_NAME
        draft.write_bytes(text.encode())
        try:
            load_settings(draft.parent, {})
        except UsageError as error:
            raise ConflictError(
                f"{path} cannot take the collection '{name}': {str(error).replace(str(draft), FILE_NAME)}",
                unchanged="nothing was written",
                hint="print it with --toml and put it in by hand",
            ) from None
        if path.exists():
            shutil.copymode(path, draft)
        draft.replace(path)


def set_storage(directory: Path, storage: str) -> None:
    """Let ``config.toml`` say where the catalog lies, and leave everything else as it is, comments included.

    Args:
        directory: The folder with the file, which is replaced at once.
        storage: Relative to it.
    """
    path = directory / FILE_NAME
    document = tomlkit.parse(path.read_bytes().decode())
    before = document.unwrap().get("storage", {}).get("path", DEFAULT_STORAGE)
    if before == storage:
        return
    if "storage" not in document:
        document["storage"] = tomlkit.table()
    document["storage"]["path"] = storage
    draft = directory / f"{FILE_NAME}.part"
    draft.write_text(tomlkit.dumps(document), encoding="utf-8")
    shutil.copymode(path, draft)
    draft.replace(path)


def _check_free(path: Path, text: str, name: str) -> None:
    declared = tomlkit.parse(text).unwrap()
    for table, what in (("collections", "collection"), ("imports", "import")):
        if name in declared.get(table, {}):
            raise ConflictError(
                f"{path} has the {what} '{name}' already",
                unchanged="nothing was written",
                hint=f"choose another name with --name, or take [{table}.{name}] out first",
            )


def _line(key: str, value: str) -> str:
    """Return a setting, padded so that the comments stand below each other."""
    return f"{key} = {tomlkit.string(value).as_string()} ".ljust(41)
