"""A collection that fits an input, and how to import into it; as data and as TOML."""

from __future__ import annotations

import json
import keyword
import re
import textwrap
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from kb.schema.schema import RESERVED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from kb.sources import Reading

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_COMMENT_COLUMN: Final = 40
_WIDTH: Final = 79


@dataclass(frozen=True, slots=True)
class ProposedField:
    """One field.

    Attributes:
        name: A name that a field may have.
        column: The column or path that fills it.
        type: As in a declaration, e.g. ``list[str]``.
        required: Whether every row had a value.
        separator: What splits a cell into a list, or None.
        comment: What is worth knowing, or empty.
    """

    name: str
    column: str
    type: str
    required: bool
    separator: str | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class ProposedImport:
    """What an import needs to be told besides the collection; all of it empty when it needs nothing.

    Attributes:
        files: Patterns of what to import; nothing for standard input.
        columns: By column, the field or ``id`` that it fills, where the names differ.
        dates: By field, the ``strptime`` format of its dates.
        key: The columns that make the id where it is not one column that the collection names.
        ignore_unknown: Whether some columns are left out.
        reading: How the input has to be read where that cannot be seen from itself, else None.
    """

    files: tuple[str, ...]
    columns: Mapping[str, str] = field(default_factory=dict)
    dates: Mapping[str, str] = field(default_factory=dict)
    key: tuple[str, ...] = ()
    ignore_unknown: bool = False
    reading: Reading | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """A collection as it would stand in ``config.toml``.

    Attributes:
        name: Of the collection, and of the import.
        model: The model id.
        key: The column that identifies a document.
        text: The template of what is embedded.
        fields: The fields.
        imports: How to import, or None when ``kb import FILE`` needs to be told nothing.
    """

    name: str
    model: str
    key: str
    text: str
    fields: tuple[ProposedField, ...]
    imports: ProposedImport | None

    def to_toml(self) -> str:
        """Return the part of ``config.toml`` that declares it."""
        where = f"collections.{_key(self.name)}"
        lines = [
            f"[{where}]",
            f"model = {_string(self.model)}",
            f"key = {_string(self.key)}",
            f"text = {_string(self.text)}",
            "",
            f"[{where}.fields]",
        ]
        for proposed in self.fields:
            lines += _field_lines(proposed)
        if self.imports is not None:
            lines += ["", *_import_lines(self.name, self.imports)]
        return "\n".join(lines) + "\n"


def field_name(column: str, taken: Collection[str]) -> str:
    """Return a name that a field may have and that is not taken, as close to the column's as can be."""
    spaced = _HUMP.sub("_", unicodedata.normalize("NFKC", column)).lower()
    letters = "".join(c if ("a" + c).isidentifier() else "_" for c in spaced)
    name = re.sub("_+", "_", letters).strip("_")[:100] or "column"
    if not name.isidentifier():
        name = f"column_{name}"
    if name in RESERVED or keyword.iskeyword(name) or name.startswith("model_"):
        name += "_"
    if name not in taken:
        return name
    number = 2
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"


def _field_lines(proposed: ProposedField) -> list[str]:
    value = _string(proposed.type)
    many = proposed.type.startswith("list[")
    if proposed.separator is not None or not (proposed.required or many):
        parts = [f"type = {value}"]
        if not (proposed.required or many):
            parts.append("required = false")
        if proposed.separator is not None:
            parts.append(f"separator = {_string(proposed.separator)}")
        value = f"{{ {', '.join(parts)} }}"
    line = f"{_key(proposed.name)} = {value}"
    if not proposed.comment:
        return [line]
    beside = f"{line} ".ljust(_COMMENT_COLUMN) + f"# {proposed.comment}"
    if len(beside) <= _WIDTH:
        return [beside]
    above = textwrap.wrap(f"{proposed.name}: {proposed.comment}", _WIDTH - 2, break_on_hyphens=False)
    return [*(f"# {part}" for part in above), line]


def _import_lines(name: str, imports: ProposedImport) -> list[str]:
    where = f"imports.{_key(name)}"
    lines = [f"[{where}]"]
    if imports.files:
        lines.append(f"files = {_list(imports.files)}")
    lines.append(f"collection = {_string(name)}")
    if imports.key:
        lines.append(f"key = {_list(imports.key)}")
    if imports.ignore_unknown:
        lines.append('unknown_columns = "ignore"')
    if imports.reading is not None:
        given = {
            "format": imports.reading.format,
            "encoding": imports.reading.encoding,
            "delimiter": imports.reading.delimiter,
            "quote": imports.reading.quote,
            "records": imports.reading.records,
            "sheet": imports.reading.sheet,
            "sql": imports.reading.sql,
        }
        lines += [f"{key} = {_string(value)}" for key, value in given.items() if value is not None]
        lines += [] if imports.reading.header else ["header = false"]
    for table, pairs in (("columns", imports.columns), ("dates", imports.dates)):
        if pairs:
            lines += ["", f"[{where}.{table}]", *(f"{_key(k)} = {_string(v)}" for k, v in pairs.items())]
    return lines


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _string(name)


def _list(values: Iterable[str]) -> str:
    return f"[{', '.join(map(_string, values))}]"


def _string(value: str) -> str:
    # A JSON string is a TOML one, but for the one control character that JSON lets stand.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
