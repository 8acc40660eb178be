"""Typed values of tables → plain Python values, or the reason why there is none."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from kb.sources.input import source_error
from kb.sources.lines import first_escaped
from kb.sources.row import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kb.sources.row import Limits

_EXACT: Final = 2**53  # beyond it not every whole number is a float


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What stands for a cell whose value cannot be had."""

    reason: str
    text: str = ""

    def __str__(self) -> str:
        return self.text


def plain(value: Any) -> object:
    """Return the value of a cell in plain Python.

    NaN is None. A whole float is an int, which fits int and float fields alike: floats are what many programs make of
    ints as soon as a column has a gap. A timestamp without a zone that is midnight is a date, which fits date and
    datetime fields alike. A decimal is an int or a float when that has all its digits.

    Raises:
        ValueError: There is no type for it; the message says which one it has.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else whole(value)
    if isinstance(value, dt.datetime):
        return _moment(value)
    if isinstance(value, dt.date):
        return value
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Unreadable):
        raise ValueError(value.reason)  # noqa: TRY004 - it is the value that is wrong
    raise ValueError(f"{str(value)[:60]} is of type {type(value).__name__}, which is not supported; convert the column")


def typed_row(
    number: int,
    line: int,
    names: Sequence[str],
    cells: Sequence[Any],
    converters: Sequence[Callable[[Any], object]],
    *,
    limits: Limits,
) -> Row:
    """Return the row that these cells make; it has a problem when one of them has no plain value, or it is too large.

    Args:
        number: Of the row.
        line: Where it stands.
        names: Of the columns.
        cells: One value a column.
        converters: One a column, from a cell to its plain value; ``ValueError`` says why there is none.
        limits: What the row may measure.
    """
    values: dict[str, object] = {}
    problems: list[str] = []
    for name, cell, convert in zip(names, cells, converters, strict=True):
        try:
            values[name] = convert(cell)
        except (ValueError, OverflowError) as error:
            problems.append(f"{name}: {error}")
            values[name] = str(cell)
    if not problems and (problem := _too_much(values, limits)):
        problems.append(problem)
    if problems:
        return Row(number, line, {}, values, "; ".join(problems))
    return Row(number, line, values, values)


def checked_names(names: Sequence[object], limits: Limits, *, what: str, hint: str) -> tuple[str, ...]:
    """Return the names of the columns of a table after making sure that each has one of its own.

    Args:
        names: As they stand there.
        limits: How many there may be.
        what: The table, for messages.
        hint: How columns are named there.

    Raises:
        SourceError: A name is no text, or blank, or there twice; or there are too many.
    """
    if len(names) > limits.columns:
        raise source_error(f"{what} has {len(names):,} columns; the limit is {limits.columns:,}")
    seen: set[str] = set()
    for number, name in enumerate(names, start=1):
        if name is None:
            raise source_error(f"{what}: column {number} has no name", hint)
        if not isinstance(name, str) or not name.strip() or "\0" in name or first_escaped(name) is not None:
            raise source_error(f"{what} has a column named {name!r}, which is not a name", hint)
        if name in seen:
            raise source_error(f"{what} has two columns named '{name}'", "rename or drop one of them")
        seen.add(name)
    return tuple(str(name) for name in names)


def whole(value: float) -> float:
    """Return a float that is a whole number as an int, unless it says more: that it is large, or a negative zero."""
    plain_int = value.is_integer() and abs(value) <= _EXACT and (value != 0 or math.copysign(1, value) > 0)
    return int(value) if plain_int else value


def _moment(value: Any) -> dt.date:
    if getattr(value, "nanosecond", 0):
        raise ValueError(f"{value.isoformat()} has nanoseconds; round it")
    moment: dt.datetime = value.to_pydatetime() if hasattr(value, "to_pydatetime") else value
    midnight = moment.tzinfo is None and moment.time() == dt.time.min
    return moment.date() if midnight else moment


def _number(value: Decimal) -> object:
    if value.is_nan():
        return None
    if value.is_finite():
        if value == value.to_integral_value() and abs(value) < 10**40:
            return int(value)
        number = float(value)
        if Decimal(repr(number)) == value:
            return number
    else:
        raise ValueError(f"{value} is not a finite number")
    raise ValueError(f"{value} has more digits than a float; convert the column")


def _too_much(values: Mapping[str, object], limits: Limits) -> str | None:
    size, depth = _measure(values)
    if size > limits.row_bytes:
        return f"the row is {size:,} bytes long; the limit is {limits.row_bytes:,}"
    if depth > limits.depth:
        return f"the row is nested more than {limits.depth} levels deep"
    return None


def _measure(value: object) -> tuple[int, int]:
    """Return the size of the text in a value, in bytes, and how deep it is nested."""
    if isinstance(value, str):
        return (len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))), 0
    members: list[object] = []
    if isinstance(value, dict):
        members = list(value.values())
    elif isinstance(value, list):
        members = value
    else:
        return 0, 0
    size = depth = 0
    for member in members:
        inner_size, inner_depth = _measure(member)
        size += inner_size
        depth = max(depth, inner_depth)
    return size, depth + 1
