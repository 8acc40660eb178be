"""Filters written in Python: ``field("category") == "nlp"``."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from kb.filters.model import (
    MAX_VALUES,
    Between,
    Comparison,
    Contains,
    Has,
    In,
    IsNull,
    Op,
    StartsWith,
    filter_error,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kb.schema import Scalar


class FieldRef:
    """A field to be compared; made by ``field``. ``"id"`` is the document's key."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __eq__(self, value: Scalar) -> Comparison:  # type: ignore[override]
        """The value equals this one."""
        return Comparison(self._name, Op.EQ, value)

    def __ne__(self, value: Scalar) -> Comparison:  # type: ignore[override]
        """The value differs from this one, or is missing."""
        return Comparison(self._name, Op.NE, value)

    def __lt__(self, value: Scalar) -> Comparison:
        """The value is smaller, or earlier."""
        return Comparison(self._name, Op.LT, value)

    def __le__(self, value: Scalar) -> Comparison:
        """The value is smaller, earlier or equal."""
        return Comparison(self._name, Op.LE, value)

    def __gt__(self, value: Scalar) -> Comparison:
        """The value is larger, or later."""
        return Comparison(self._name, Op.GT, value)

    def __ge__(self, value: Scalar) -> Comparison:
        """The value is larger, later or equal."""
        return Comparison(self._name, Op.GE, value)

    # Comparing makes a filter, so two of these can never be found equal, as hashing needs.
    __hash__ = None  # type: ignore[assignment]

    def is_in(self, values: Iterable[Scalar]) -> In:
        """The value is one of these."""
        return In(self._name, _values(values))

    def between(self, low: Scalar, high: Scalar) -> Between:
        """The value is at least ``low`` and at most ``high``."""
        return Between(self._name, low, high)

    def contains(self, text: str) -> Contains:
        """The string holds the text, in upper or lower case."""
        return Contains(self._name, text)

    def starts_with(self, text: str) -> StartsWith:
        """The string begins with the text, in upper or lower case."""
        return StartsWith(self._name, text)

    def has(self, value: Scalar) -> Has:
        """The list holds the value."""
        return Has(self._name, (value,))

    def has_any(self, values: Iterable[Scalar]) -> Has:
        """The list holds at least one of these."""
        return Has(self._name, _values(values), "any")

    def has_all(self, values: Iterable[Scalar]) -> Has:
        """The list holds all of these."""
        return Has(self._name, _values(values), "all")

    def is_null(self) -> IsNull:
        """The value is missing, or the list is empty."""
        return IsNull(self._name)


def field(name: str) -> FieldRef:
    """Return the field of that name, to be compared; the name is checked when the filter meets a schema."""
    return FieldRef(name)


def _values(values: Iterable[Scalar]) -> tuple[Scalar, ...]:
    if isinstance(values, str):
        raise filter_error("a list of values is expected, not one string", None)
    # One too many is enough for the constructor to refuse it, however long the iterable is.
    return tuple(islice(values, MAX_VALUES + 1))
