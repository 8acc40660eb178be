"""A filter meets a schema: every field is found, every operator fits, every operand gets the field's type."""

from __future__ import annotations

import unicodedata
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Final

from kb.errors import nearest
from kb.filters.model import (
    MAX_TOTAL_VALUES,
    And,
    Between,
    Comparison,
    Contains,
    Has,
    In,
    IsNull,
    Not,
    Op,
    Or,
    StartsWith,
    filter_error,
    quoted,
    shown,
)
from kb.schema.fields import Field, FieldType, to_utc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kb.filters.model import Filter, Leaf
    from kb.schema import Scalar, Schema

ID: Final = Field("id", FieldType.STR)
"""The document's key as a field of every schema."""


def check(filter: Filter, schema: Schema) -> Filter:
    """Return the filter with every operand cast to the type of its field; checking twice changes nothing.

    An int becomes a float for a float field, while a float stays one for an int field and compares exactly; a string
    becomes a date or a time, a date midnight UTC, a time without a zone UTC. Operands for the id are NFC-normalised,
    as ids are.

    Raises:
        FilterError: An unknown field, an operator that its type does not have, an operand of another type, or one that
            is not among the field's choices; with the position of the condition when the filter was parsed.
    """
    total = _count_values(filter)
    if total > MAX_TOTAL_VALUES:
        raise filter_error(f"the lists hold {total:,} values together; the limit is {MAX_TOTAL_VALUES:,}", None)
    return _check(filter, schema)


def find_field(schema: Schema, name: str, position: int | None = None) -> Field:
    """Return the field that a filter means by a name, the id included.

    Raises:
        FilterError: There is none of that name.
    """
    if name == ID.name:
        return ID
    try:
        return schema.fields[name]
    except KeyError:
        hint = nearest(name, [*schema.fields, ID.name])
        raise filter_error(f"unknown field '{name[:60]}'", position, hint) from None


def _count_values(filter: Filter) -> int:
    match filter:
        case And(parts) | Or(parts):
            return sum(map(_count_values, parts))
        case Not(part):
            return _count_values(part)
        case In(_, values) | Has(_, values):
            return len(values)
        case _:
            return 0


def _check(filter: Filter, schema: Schema) -> Filter:
    # The constructors bound the depth, so this cannot exhaust the stack.
    match filter:
        case And(parts):
            return And(tuple(_check(part, schema) for part in parts))
        case Or(parts):
            return Or(tuple(_check(part, schema) for part in parts))
        case Not(part):
            return Not(_check(part, schema))
        case _:
            return _check_leaf(filter, find_field(schema, filter.field, filter.position))


def _check_leaf(leaf: Leaf, field: Field) -> Leaf:
    _check_operator(leaf, field)
    at = leaf.position
    match leaf:
        case Comparison(name, op, value):
            one_of = op in (Op.EQ, Op.NE)
            return Comparison(name, op, _cast_listed(field, value, at) if one_of else _cast(field, value, at), at)
        case In(name, values):
            return In(name, tuple(_cast_listed(field, value, at) for value in values), at)
        case Between(name, low, high):
            return Between(name, _cast(field, low, at), _cast(field, high, at), at)
        case Has(name, values, mode):
            return Has(name, tuple(_cast_listed(field, value, at) for value in values), mode, at)
        case Contains() | StartsWith() | IsNull():
            return leaf


def _check_operator(leaf: Leaf, field: Field) -> None:
    operator, fits, hint = _applies(leaf, field)
    if not fits:
        message = f"'{operator}' does not apply to '{field.name}', which is {field.spelled}"
        raise filter_error(message, leaf.position, hint)


def _applies(leaf: Leaf, field: Field) -> tuple[str, bool, str]:
    """Return how the leaf's operator is spelled, whether the field has it, and what to use instead."""
    name = field.name
    match leaf:
        case IsNull():
            return "is null", True, ""
        case Has():
            return "has", field.many, f"use = or in: {name} in (…)"
        case Contains() | StartsWith():
            operator = "contains" if isinstance(leaf, Contains) else "starts with"
            fits = field.is_string and not field.many
            return operator, fits, f"use has: {name} has …" if field.many else "it is for str and text"
        case Comparison(_, op):
            operator, ordered = str(op), op not in (Op.EQ, Op.NE)
        case In():
            operator, ordered = "in", False
        case Between():
            operator, ordered = "between", True
    if field.many:
        return operator, False, f"use has: {name} has …, {name} has any (…), {name} has all (…)"
    return operator, not ordered or field.type is not FieldType.BOOL, f"write: {name} = true, or {name} = false"


def _cast_listed(field: Field, value: Scalar, position: int | None) -> Scalar:
    """Cast an operand that can only match when it is among the field's choices."""
    cast = _cast(field, value, position)
    if field.choices is not None and cast not in field.choices:
        choices = [quoted(choice).strip('"') for choice in field.choices]
        hint = nearest(quoted(cast).strip('"'), choices)
        raise filter_error(f"{shown(value)} is not among the choices of '{field.name}'", position, hint)
    return cast


def _cast(field: Field, value: Scalar, position: int | None) -> Scalar:
    cast: Scalar | None = None
    try:
        cast = _CASTS[field.type](value)
        if cast is None and isinstance(value, str) and field.type in (FieldType.DATE, FieldType.DATETIME):
            cast = field.parse(value)
    except ValueError as error:
        raise filter_error(f"{shown(value)} {error}", position) from None
    if cast is None:
        message = f"{shown(value)} is not a value of '{field.name}', which is {field.spelled}"
        raise filter_error(message, position, _HINTS[field.type])
    return unicodedata.normalize("NFC", cast) if field is ID and isinstance(cast, str) else cast


def _to_str(value: Scalar) -> Scalar | None:
    # A member of a string enumeration becomes the plain string.
    return str.__str__(value) if isinstance(value, str) else None


def _to_int(value: Scalar) -> Scalar | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if isinstance(value, float) else int(value)


def _to_float(value: Scalar) -> Scalar | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _to_bool(value: Scalar) -> Scalar | None:
    return value if isinstance(value, bool) else None


def _to_date(value: Scalar) -> Scalar | None:
    return value if isinstance(value, date) and not isinstance(value, datetime) else None


def _to_datetime(value: Scalar) -> Scalar | None:
    if isinstance(value, datetime):
        return to_utc(value)
    return to_utc(datetime.combine(value, time())) if isinstance(value, date) else None


_CASTS: Final[Mapping[FieldType, Callable[[Scalar], Scalar | None]]] = {
    FieldType.STR: _to_str,
    FieldType.TEXT: _to_str,
    FieldType.INT: _to_int,
    FieldType.FLOAT: _to_float,
    FieldType.BOOL: _to_bool,
    FieldType.DATE: _to_date,
    FieldType.DATETIME: _to_datetime,
}
_HINTS: Final = {
    FieldType.STR: "strings need quotes",
    FieldType.TEXT: "strings need quotes",
    FieldType.INT: "numbers are written without quotes",
    FieldType.FLOAT: "numbers are written without quotes",
    FieldType.BOOL: "write true or false, without quotes",
    FieldType.DATE: "write 2024-01-31",
    FieldType.DATETIME: "write 2024-01-31 or 2024-01-31T12:00:00Z",
}
