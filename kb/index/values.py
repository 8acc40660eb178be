"""Field values as the index keeps them: types that Chroma can compare in the order of the typed values."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeAlias, cast

if TYPE_CHECKING:
    from kb.schema import Field, Scalar, Value

IndexScalar: TypeAlias = str | int | float | bool
IndexValue: TypeAlias = IndexScalar | list[str] | list[int] | list[float] | list[bool] | None

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def index_value(field: Field, value: Value) -> IndexValue:
    """Return the metadata value of one field, always of the same type for the same field.

    A date becomes the int YYYYMMDD, a date and time the microseconds since 1970 in UTC; all else stays what it is.

    Args:
        field: The declaration; its type is that of the value.
        value: Checked by the schema.

    Returns:
        None for a missing value and for an empty list, neither of which Chroma can hold: on ``upsert`` it means
        "no such key any more".
    """
    if value is None or value == []:
        return None
    if isinstance(value, list):
        # One field has one type, so the items have too.
        return cast("list[str]", [index_scalar(field, item) for item in value])
    return index_scalar(field, value)


def index_scalar(field: Field, value: Scalar) -> IndexScalar:
    """Return one value, or one item of a list, as ``index_value`` does."""
    if isinstance(value, datetime):
        # Whole numbers throughout: a timestamp as a float would lose the last microseconds.
        return (value - _EPOCH) // _MICROSECOND
    if isinstance(value, date):
        return value.year * 10_000 + value.month * 100 + value.day
    # A model built in Python may leave an int in a float field; the index must not hold both types under one key.
    return float(value) if field.python is float else value


def field_value(field: Field, value: object) -> Value:
    """Return the value of a field that ``index_value`` made this of; None or an empty list for one that is not there.

    Raises:
        ValueError: It cannot have been made by ``index_value``.
    """
    if value is None:
        return [] if field.many else None
    if isinstance(value, list):
        return cast("Value", [_scalar(field, item) for item in value])
    return _scalar(field, value)


def _scalar(field: Field, value: object) -> Scalar:
    if field.python is datetime:
        return _EPOCH + cast("int", value) * _MICROSECOND
    if field.python is date:
        number = cast("int", value)
        return date(number // 10_000, number // 100 % 100, number % 100)
    return cast("Scalar", value)
