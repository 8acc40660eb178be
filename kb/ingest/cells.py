"""What a row holds under a name, and how text of an input is put together and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from kb.errors import UsageError
from kb.schema import FieldType, json_datetime, template_parts
from kb.schema.fields import Exact, to_utc
from kb.schema.ids import quoted

_PROBE: Final = datetime(2003, 11, 27, 13, 45, 56)  # noqa: DTZ001 - only its digits matter; no two parts are alike


@dataclass(frozen=True, slots=True)
class Cells:
    """Looks into rows.

    Attributes:
        nulls: Words that mean "missing".
        textual: Whether the cells are text, without anything nested.
    """

    nulls: frozenset[str]
    textual: bool

    def get(self, values: Mapping[str, object], name: str) -> object:
        """Return what stands under a column, or at a path; None when it is missing.

        Raises:
            ValueError: The path leads through a value that has no parts.
        """
        found = values[name] if name in values or self.textual else _at(values, name)
        return None if self.is_missing(found) else found

    def text(self, values: Mapping[str, object], name: str) -> str:
        """Return what stands there as text, without white space at either end.

        Raises:
            ValueError: It is missing, or has parts; the message names the column.
        """
        found = self.get(values, name)
        text = "" if found is None else _text_of(found, name).strip()
        if not text:
            raise ValueError(f"the column '{name}' has no value")
        return text

    def is_missing(self, value: object) -> bool:
        """Whether a cell counts as empty."""
        if isinstance(value, Exact):
            return False
        if isinstance(value, str):
            return (self.textual and not value) or (bool(self.nulls) and value.strip() in self.nulls)
        return value is None


def root_of(path: str) -> str:
    """Return the column that a path starts at."""
    return path.partition(".")[0]


def _at(values: Mapping[str, object], path: str) -> object:
    found: object = values
    for part in path.split("."):
        if found is None:
            return None
        if isinstance(found, Mapping):
            found = found.get(part)
        elif isinstance(found, list) and part.isdecimal():
            found = found[int(part)] if int(part) < len(found) else None
        else:
            raise ValueError(f"{quoted(found)} holds no '{part}' (the path {path})")
    return found


def _text_of(value: object, name: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return json_datetime(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str | int | float):
        return str(value)
    raise ValueError(f"the column '{name}' holds {quoted(value)}, which is not one value")


@dataclass(frozen=True, slots=True)
class CellTemplate:
    """A text with columns in it, such as ``"{first} {last}"``."""

    parts: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, source: str) -> CellTemplate:
        """Return the template that a text stands for.

        Raises:
            SchemaError: A brace is unbalanced, or more than a name stands in a pair of braces.
        """
        return cls(template_parts(source, "template"))

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that it uses."""
        return tuple(dict.fromkeys(name for _, name in self.parts if name is not None))

    def render(self, cells: Cells, values: Mapping[str, object]) -> str:
        """Return the text; ``ValueError`` names a column that has no value."""
        return "".join(text + ("" if name is None else cells.text(values, name)) for text, name in self.parts)


@dataclass(frozen=True, slots=True)
class DateFormat:
    """How dates of one field are spelled in an input.

    Attributes:
        source: As ``strptime`` reads it.
        kind: ``date`` or ``datetime``.
    """

    source: str
    kind: FieldType

    @classmethod
    def checked(cls, source: str, kind: FieldType) -> DateFormat:
        """Return the format after making sure that it says the day, and the time without doubt.

        Raises:
            UsageError: It does not.
        """
        hint = "e.g. %d/%m/%Y, or %Y-%m-%d %H:%M:%S%z"
        if "%Z" in source.replace("%%", ""):
            raise UsageError(f"the date format '{source}' has %Z, which is not the same everywhere", hint="use %z")
        try:
            found = datetime.strptime(to_utc(_PROBE).strftime(source), source)  # noqa: DTZ007 - only digits matter
        except ValueError as error:
            raise UsageError(f"'{source}' is no date format: {error}", hint=hint) from None
        if found.date() != _PROBE.date():
            raise UsageError(f"the date format '{source}' does not say year, month and day", hint=hint)
        if found.hour not in (0, _PROBE.hour):
            raise UsageError(f"the date format '{source}' has %I without %p", hint="use %H, or add %p")
        return cls(source, kind)

    def parse(self, text: str) -> date:
        """Return the day or the instant; a time without a zone is UTC.

        Raises:
            ValueError: The text does not have this format.
        """
        try:
            found = datetime.strptime(text.strip(), self.source)  # noqa: DTZ007 - a zone only where the format has one
        except ValueError:
            raise ValueError(f"is not a {self.kind} of the format {self.source}") from None
        return to_utc(found) if self.kind is FieldType.DATETIME else found.date()
