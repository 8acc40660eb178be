"""Field types: how a value is parsed, checked, stored, compared and shown, declared once per type.

A value has three forms: *text* (a CSV cell or a command-line argument), *typed* (what Python code sees) and
*stored* (JSON: what the catalog keeps; its order is the order of the typed values). Nothing else in ``kb`` converts.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

from kb.errors import SchemaError, nearest

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable

Scalar: TypeAlias = str | int | float | bool | date | datetime
Value: TypeAlias = Scalar | list[Scalar] | None
StoredScalar: TypeAlias = str | int | float | bool
StoredValue: TypeAlias = StoredScalar | list[StoredScalar]

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
MAX_STR_BYTES: Final = 32 * 1024
MAX_TEXT_BYTES: Final = 1024 * 1024

_INT = re.compile(r"[+-]?\d{1,40}(?:\.0+)?", re.ASCII)
_FLOAT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_SERIAL = re.compile(r"[1-9]\d{4}(?:\.\d+)?", re.ASCII)
_SERIAL_ZERO: Final = date(1899, 12, 30)
_BOOLS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class FieldType(StrEnum):
    """The type of one value of a field."""

    STR = "str"  # a short string: at most 32 kB, filterable, indexed
    TEXT = "text"  # prose: at most 1 MB
    INT = "int"  # 64 bits, signed
    FLOAT = "float"  # 64 bits, finite
    BOOL = "bool"
    DATE = "date"
    DATETIME = "datetime"  # an instant, kept in UTC to the microsecond


class Exact(str):
    """Text that means exactly itself: an empty one is an empty string, not a missing value."""

    __slots__ = ()


def check_string(value: str, limit: int) -> str:
    """Return ``value`` when it can be stored, else raise ``ValueError`` with the reason.

    Args:
        value: Any string.
        limit: The most UTF-8 bytes.
    """
    if "\x00" in value:
        raise ValueError("contains a NUL character")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"is not valid Unicode at character {error.start}") from None
    if size > limit:
        raise ValueError(f"is {size:,} bytes long; the limit is {limit:,}")
    return value


def _parse_int(text: str) -> int:
    if not _INT.fullmatch(text):
        raise ValueError("is not a whole number")
    return _check_int(int(text.partition(".")[0]))


def _check_int(value: int) -> int:
    if not INT_MIN <= value <= INT_MAX:
        raise ValueError("is outside the 64-bit range")
    return value


def _parse_float(text: str) -> float:
    if not _FLOAT.fullmatch(text):
        raise ValueError("is not a number (write 1234.5)")
    return _check_float(float(text))


def _check_float(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("is not a finite number")
    return value


def _parse_bool(text: str) -> bool:
    try:
        return _BOOLS[text.lower()]
    except KeyError:
        raise ValueError("is not true or false") from None


def _parse_date(text: str) -> date:
    if not _DATE.fullmatch(text):
        raise ValueError(f"is not an ISO date (write 2024-01-31){_serial_hint(text)}")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError("is not a day of the calendar") from None


def _parse_datetime(text: str) -> datetime:
    if not _DATE.match(text):
        raise ValueError(f"is not an ISO date and time (write 2024-01-31T12:00:00Z){_serial_hint(text)}")
    try:
        return to_utc(datetime.fromisoformat(text))
    except ValueError:
        raise ValueError("is not an ISO date and time (write 2024-01-31T12:00:00Z)") from None


def _serial_hint(text: str) -> str:
    """Return what a spreadsheet may have meant by a number. Never taken for a date: some count from 1904."""
    if not _SERIAL.fullmatch(text):
        return ""
    day = _SERIAL_ZERO + timedelta(days=int(text[:5]))
    return f"; if it is a spreadsheet's number for {day}, format the column as a date there"


def to_utc(value: datetime) -> datetime:
    """Return the same instant in UTC; a value without a zone is taken as UTC already.

    Raises:
        ValueError: The instant lies outside the years 1 to 9999 in UTC.
    """
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is outside the years 1 to 9999 in UTC") from None


def _format_datetime(value: datetime) -> str:
    # A fixed width makes the order of the strings the order of the instants, in SQL as in Python.
    return to_utc(value).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


@dataclass(frozen=True, slots=True)
class _Kind:
    """What one field type can do: text → typed, typed → stored, stored → typed."""

    python: type
    parse: Callable[[str], Scalar]
    store: Callable[[Scalar], StoredScalar]
    load: Callable[[StoredScalar], Scalar]


def _same(value: StoredScalar) -> StoredScalar:
    return value


def _text_kind(limit: int) -> _Kind:
    return _Kind(str, lambda text: check_string(text, limit), str, str)


_KINDS: Final[dict[FieldType, _Kind]] = {
    FieldType.STR: _text_kind(MAX_STR_BYTES),
    FieldType.TEXT: _text_kind(MAX_TEXT_BYTES),
    FieldType.INT: _Kind(int, _parse_int, int, int),  # type: ignore[arg-type]
    FieldType.FLOAT: _Kind(float, _parse_float, float, float),  # type: ignore[arg-type]
    FieldType.BOOL: _Kind(bool, _parse_bool, bool, bool),
    FieldType.DATE: _Kind(date, _parse_date, lambda v: v.isoformat(), lambda s: date.fromisoformat(str(s))),  # type: ignore[union-attr]
    FieldType.DATETIME: _Kind(
        datetime,
        _parse_datetime,
        _format_datetime,  # type: ignore[arg-type]
        lambda s: datetime.fromisoformat(str(s)),
    ),
}


@dataclass(frozen=True, slots=True)
class Field:
    """One declared field of a collection.

    Attributes:
        name: A Python identifier; the same word in filters, files, JSON and code.
        type: The type of one value.
        many: True for ``list[...]``.
        required: Whether a document without a value is refused. A list is never missing: it may be empty.
        choices: The only values allowed, or None.
        minimum, maximum: Inclusive bounds of a numeric field, or None.
        default: The value of a document that gives none.
        separator: How the items of a list are separated in one CSV cell, or None.
    """

    name: str
    type: FieldType
    many: bool = False
    required: bool = True
    choices: tuple[Scalar, ...] | None = None
    minimum: int | float | None = None
    maximum: int | float | None = None
    default: Value = None
    separator: str | None = None

    @property
    def spelled(self) -> str:
        """The type as it is written in a declaration, e.g. ``list[str]``."""
        return f"list[{self.type}]" if self.many else str(self.type)

    @property
    def python(self) -> builtins.type:
        """The Python class of one value."""
        return _KINDS[self.type].python

    @property
    def is_string(self) -> bool:
        """Whether a value is a string, so that ``contains`` and ``starts with`` apply."""
        return self.type in (FieldType.STR, FieldType.TEXT)

    @property
    def is_numeric(self) -> bool:
        """Whether a value is an int or a float."""
        return self.type in (FieldType.INT, FieldType.FLOAT)

    @property
    def is_metadata(self) -> bool:
        """Whether the value goes into the index beside the vector: everything but prose."""
        return self.type is not FieldType.TEXT

    def parse(self, text: str) -> Scalar:
        """Return one typed value from its text form; ``ValueError`` says why it cannot be one."""
        return _KINDS[self.type].parse(text if self.is_string else text.strip())

    def store(self, value: Scalar) -> StoredScalar:
        """Return the stored form of one typed value."""
        return _KINDS[self.type].store(value)

    def load(self, stored: StoredScalar) -> Scalar:
        """Return the typed form of one stored value."""
        return _KINDS[self.type].load(stored)

    def store_value(self, value: Value) -> StoredValue | None:
        """Return the stored form of the field's whole value, None for a missing one."""
        if value is None:
            return None
        if isinstance(value, list):
            return [self.store(item) for item in value]
        return self.store(value)

    def load_value(self, stored: StoredValue | None) -> Value:
        """Return the typed form of the field's whole stored value."""
        if stored is None:
            return [] if self.many else None
        if isinstance(stored, list):
            return [self.load(item) for item in stored]
        return self.load(stored)

    def from_text(self, raw: object, separator: str | None = None) -> object:
        """Return the field's whole value from its text form; None for a missing one.

        Args:
            raw: Text, parsed by type; ``""`` (unless ``Exact``) and None are missing; what is no text is taken as by
                ``from_json``.
            separator: What divides the items of a list; None for the field's own, or else a JSON array.

        Raises:
            ValueError: The text is not a value of the type.
        """
        if raw is None or (raw == "" and not isinstance(raw, Exact)):
            return None
        if not isinstance(raw, str):
            return self.from_json(raw)
        if not self.many:
            return self.parse(str(raw))
        return [self.parse(item) for item in split_list(raw, separator or self.separator)]

    def from_json(self, value: object) -> object:
        """Return a JSON value with dates and times turned into their classes; other mistakes are left to validation.

        Raises:
            ValueError: A string that is not a date or time, cannot be stored, or is too long.
        """
        if self.many and isinstance(value, list):
            return [self._item_from_json(item) for item in value]
        return self._item_from_json(value)

    def _item_from_json(self, value: object) -> object:
        if isinstance(value, str):
            if self.type in (FieldType.DATE, FieldType.DATETIME):
                return self.parse(value)
            return check_string(value, MAX_TEXT_BYTES if self.type is FieldType.TEXT else MAX_STR_BYTES)
        if isinstance(value, date) and self.type is FieldType.DATETIME:
            # A day stands for its first instant in UTC, as it does in a filter.
            return to_utc(value if isinstance(value, datetime) else datetime.combine(value, time.min))
        if isinstance(value, bool):
            return value
        if isinstance(value, int | float) and self.type in (FieldType.DATE, FieldType.DATETIME):
            hint = _serial_hint(str(value)) if abs(value) < 100_000 else ""
            if hint:
                raise ValueError(f"is a number{hint}")
        if isinstance(value, int) and self.type in (FieldType.INT, FieldType.FLOAT):
            value = _check_int(value)
            return float(value) if self.type is FieldType.FLOAT else value
        if isinstance(value, float):
            return _check_float(value)
        return value

    def format(self, value: Value) -> str:
        """Return the value as text: ISO dates, ``true``/``false``, list items joined by ``", "``, missing as ``""``."""
        if isinstance(value, str):
            return value
        if value is None:
            return ""
        if isinstance(value, list):
            return ", ".join(self.format(item) for item in value)
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, datetime):
            return json_datetime(value)
        return value.isoformat() if isinstance(value, date) else str(value)


def split_list(text: str, separator: str | None) -> list[str]:
    """Return the items of a list in one cell: divided by the separator, or a JSON array when there is none.

    Raises:
        ValueError: It is not a JSON array of scalars.
    """
    if separator is not None:
        return [item.strip() for item in text.split(separator) if item.strip()]
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        items = None
    if not isinstance(items, list) or any(isinstance(item, list | dict) or item is None for item in items):
        raise ValueError('is not a list (write ["a", "b"], or give the field a separator)')
    return [item if isinstance(item, str) else json.dumps(item) for item in items]


def json_datetime(value: datetime) -> str:
    """Return the instant in ISO 8601 with ``Z``, without a fraction when it has none."""
    utc = to_utc(value)
    return utc.replace(tzinfo=None).isoformat() + "Z"


def parse_type(spelled: str) -> tuple[FieldType, bool]:
    """Return the type and whether it is a list.

    Raises:
        SchemaError: The type is unknown.
    """
    name = spelled.strip()
    many = name.startswith("list[") and name.endswith("]")
    inner = name[5:-1].strip() if many else name
    try:
        kind = FieldType(inner)
    except ValueError:
        valid = [str(t) for t in FieldType] + ["list[str]"]
        raise SchemaError(f"unknown field type '{spelled}'", hint=nearest(name, valid)) from None
    return kind, many
