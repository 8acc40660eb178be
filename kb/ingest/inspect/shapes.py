"""The shape of one value: what it could be read as. Types are decided elsewhere, over all values of a column."""

from __future__ import annotations

import json
import math
import re
from datetime import date, datetime
from enum import StrEnum
from typing import Final

from kb.schema import Field, FieldType
from kb.schema.fields import INT_MAX, INT_MIN


class Shape(StrEnum):
    """What a value looks like; each value has exactly one."""

    BIT = "bit"  # 0 or 1
    WORD = "word"  # true, false, yes, no
    ZEROS = "zeros"  # 00123, +49: a number would lose its beginning
    INT = "int"
    WHOLE = "whole"  # 3.0
    BIG = "big"  # a whole number over 64 bits
    FLOAT = "float"
    DATE = "date"
    INSTANT = "instant"  # an ISO date and time
    ARRAY = "array"  # a JSON list of scalars
    LOCAL_NUMBER = "local_number"  # 1.234,50 or € 5
    LOCAL_DATE = "local_date"  # perhaps 31.01.2024
    NESTED = "nested"  # what no field can hold
    OTHER = "other"


FITS: Final = {
    FieldType.BOOL: frozenset({Shape.BIT, Shape.WORD}),
    FieldType.INT: frozenset({Shape.BIT, Shape.INT, Shape.WHOLE}),
    FieldType.FLOAT: frozenset({Shape.BIT, Shape.INT, Shape.WHOLE, Shape.FLOAT}),
    FieldType.DATE: frozenset({Shape.DATE}),
    FieldType.DATETIME: frozenset({Shape.DATE, Shape.INSTANT}),
}
"""From the narrowest type to the widest. What comes as text fits ``str`` besides, whatever its shape."""

STRINGS: Final = frozenset({Shape.DATE, Shape.INSTANT, Shape.LOCAL_DATE, Shape.OTHER})
"""The shapes of strings in JSON, where a number is no string."""

_LONGEST: Final = 64
_TEXT: Final = re.compile(
    r"""(?P<bit>[01])
    |(?P<word>true|false|yes|no)
    |(?P<zeros>[+-]?0\d+(?:\.\d+)?|\+\d+)
    |(?P<int>-?\d{1,40})
    |(?P<whole>-?\d{1,40}\.0+)
    |(?P<float>[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)
    |(?P<date>\d{4}-\d\d-\d\d)
    |(?P<instant>\d{4}-\d\d-\d\d[T ].+)
    |(?P<local_number>[€$£¥￥]?\s?[+-]?(?:\d{1,3}(?:[.,'’\s]\d{3})+(?:[.,]\d+)?|\d+,\d+|(?<=[€$£¥￥\s])\d+(?:\.\d+)?|\d+(?:[.,]\d+)?(?=\s?[€$£¥￥%]))\s?[€$£¥￥%]?)
    |(?P<local_date>\d{1,4}[./-]\d{1,2}[./-]\d{1,4}(?:[ ,T].+)?
        |\d{1,2}[ -][a-z]{3,9}[ -]\d{2,4}(?:[ ,].+)?
        |[a-z]{3,9}\ \d{1,2},\ \d{4}(?:[ ,].+)?
        |[a-z]{3},?\ .*\d\d:\d\d:\d\d.*)
    |(?P<array>\[.*\])
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL | re.ASCII,
)
_BY_GROUP: Final = {shape.value: shape for shape in Shape}
_DATETIME: Final = Field("value", FieldType.DATETIME)
_DAYS: Final = (
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%d %b %Y", "%d %B %Y"),
    *("%b %d, %Y", "%B %d, %Y", "%d-%b-%Y", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%b-%y"),
)
_TIMES: Final = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
DATE_FORMATS: Final = (
    *(day + time for time in _TIMES for day in _DAYS),
    "%a, %d %b %Y %H:%M:%S %z",
    "%a %b %d %H:%M:%S %Y",
)
"""How people and programs write dates besides ISO 8601; a format with hours makes a datetime."""


def shape_of_text(text: str) -> Shape:
    """Return the shape of a cell that is not empty; white space around it does not count."""
    if len(text) > _LONGEST:
        return _array_or_other(text) if text[0] in "[ \t\n" else Shape.OTHER
    stripped = text.strip()
    found = _TEXT.fullmatch(stripped)
    if found is None:
        return Shape.OTHER
    assert found.lastgroup is not None
    return _confirmed(_BY_GROUP[found.lastgroup], stripped)


def shape_of_native(value: object) -> Shape:
    """Return the shape of a JSON or Python value that is not None."""
    if isinstance(value, str):
        shape = shape_of_text(value) if value else Shape.OTHER
        return shape if shape in STRINGS else Shape.OTHER
    if isinstance(value, bool):
        return Shape.WORD
    if isinstance(value, int):
        return Shape.INT if INT_MIN <= value <= INT_MAX else Shape.BIG
    if isinstance(value, float):
        return Shape.FLOAT if math.isfinite(value) else Shape.NESTED
    if isinstance(value, date):
        return Shape.INSTANT if isinstance(value, datetime) else Shape.DATE
    return Shape.ARRAY if isinstance(value, list) and _all_scalar(value) else Shape.NESTED


def spelled(value: object) -> str:
    """Return the text of a JSON or Python value, by which it is compared and shown."""
    if isinstance(value, str):
        return value
    return value.isoformat() if isinstance(value, date) else json.dumps(value, ensure_ascii=False, default=str)


def items_of(text: str) -> list[object]:
    """Return the items of a text that has the shape of a list."""
    items: list[object] = json.loads(text)
    return items


def fits_format(text: str, format: str) -> bool:
    """Return whether the text is a date in that ``strptime`` format."""
    try:
        datetime.strptime(text.strip(), format)  # noqa: DTZ007 - only whether it can be read
    except ValueError:
        return False
    return True


def _confirmed(shape: Shape, text: str) -> Shape:
    """Return the shape, or what it is instead when it only looks like that."""
    match shape:
        case Shape.INT | Shape.WHOLE if len(text) > len(str(INT_MAX)) - 1:
            return shape if INT_MIN <= int(text.partition(".")[0]) <= INT_MAX else Shape.BIG
        case Shape.FLOAT:
            return shape if math.isfinite(float(text)) else Shape.OTHER
        case Shape.DATE | Shape.INSTANT:
            return shape if _is_instant(text) else Shape.OTHER
        case Shape.ARRAY:
            return _array_or_other(text)
        case _:
            return shape


def _is_instant(text: str) -> bool:
    try:
        _DATETIME.parse(text)
    except ValueError:
        return False
    return True


def _array_or_other(text: str) -> Shape:
    stripped = text.strip()
    if not (stripped.startswith("[") and stripped.endswith("]")):
        return Shape.OTHER
    try:
        items = json.loads(stripped)
    except (ValueError, RecursionError):
        return Shape.OTHER
    return Shape.ARRAY if _all_scalar(items) else Shape.OTHER


def _all_scalar(items: list[object]) -> bool:
    return not any(item is None or isinstance(item, list | dict) for item in items)
