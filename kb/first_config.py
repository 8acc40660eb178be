"""Writing the first ``config.toml``: commented, and checked by reading it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import tomlkit

from kb.config import FILE_NAME, check_collection_name, field_from_declaration, load_settings
from kb.errors import ConflictError
from kb.schema import build_schema

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

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

_HEAD: Final = """\
# A knowledge base. Import with `kb import FILE`, search with `kb search "..."`.

[storage]
path = ".kb"                             # the catalog and the index; relative to this file

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
    path.write_text(head + body, encoding="utf-8")
    try:
        load_settings(directory, {})
    except BaseException:  # a file that cannot be used stays behind on no account, Ctrl-C included; raised again
        path.unlink()
        raise
    return path.resolve()


def _line(key: str, value: str) -> str:
    """Return a setting, padded so that the comments stand below each other."""
    return f"{key} = {tomlkit.string(value).as_string()} ".ljust(41)
