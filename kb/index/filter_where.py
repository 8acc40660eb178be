"""A filter as Chroma's ``where``, when Chroma can say exactly the same; equal in meaning to ``kb.filters.matches``.

Chroma has no negation of a condition, no test for a missing key, no order of strings and no text search in metadata.
``$ne``, ``$nin`` and ``$not_contains`` hold for records without the key, as ``!=``, ``not in`` and ``not has`` do;
ranges do not. A float bound for stored ints is cut to an int, so operands get the stored type here. Floats can lose
their last bit on the way into Chroma (its log is JSON, read back without full precision), so nothing but their presence
can be asked for exactly.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from kb.filters import And, Between, Comparison, Contains, Has, In, IsNull, Not, Op, Or, StartsWith, check, find_field
from kb.index.values import index_scalar
from kb.schema import FieldType
from kb.schema.fields import INT_MAX, INT_MIN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kb.filters import Filter, Leaf
    from kb.index.values import IndexScalar
    from kb.schema import Field, Scalar, Schema

Where: TypeAlias = dict[str, Any]

DOCUMENT_KEY: Final = "document"
"""The metadata key that holds the id of the document that a record belongs to."""

MAX_CONDITIONS: Final = 500
"""Chroma's SQL nests one level per condition and fails near 1,000."""

_ALL: Final[Where] = {DOCUMENT_KEY: {"$ne": ""}}
_NONE: Final[Where] = {DOCUMENT_KEY: {"$eq": ""}}
_RANGES: Final = {Op.LT: "$lt", Op.LE: "$lte", Op.GT: "$gt", Op.GE: "$gte"}
_OPPOSITES: Final = {Op.LT: Op.GE, Op.LE: Op.GT, Op.GT: Op.LE, Op.GE: Op.LT}


def to_where(filter: Filter, schema: Schema) -> Where | None:
    """Return the ``where`` that selects exactly the records of the documents that match, or None.

    None means that Chroma cannot express the filter, or not within its limits.

    Raises:
        FilterError: The filter does not fit the schema.
    """
    where = _where(check(filter, schema), schema, negated=False)
    return None if where is None or _count(where) > MAX_CONDITIONS else where


def _where(filter: Filter, schema: Schema, *, negated: bool) -> Where | None:
    match filter:
        case And(parts):
            return _joined([_where(part, schema, negated=negated) for part in parts], "$or" if negated else "$and")
        case Or(parts):
            return _joined([_where(part, schema, negated=negated) for part in parts], "$and" if negated else "$or")
        case Not(part):
            return _where(part, schema, negated=not negated)
        case _:
            return _leaf(filter, find_field(schema, filter.field), negated=negated)


def _joined(parts: Iterable[Where | None], operator: str) -> Where | None:
    """Join parts, of which Chroma wants at least two; None when one of them cannot be said."""
    said = list(parts)
    if any(part is None for part in said):
        return None
    return {operator: said} if len(said) > 1 else said[0]


def _count(where: Where) -> int:
    (value,) = where.values()
    return sum(map(_count, value)) if isinstance(value, list) else 1


def _leaf(leaf: Leaf, field: Field, *, negated: bool) -> Where | None:
    if isinstance(leaf, IsNull):
        return _is_null(field, negated=negated)
    if field.type is FieldType.FLOAT:
        return None
    match leaf:
        case Comparison(_, Op.EQ | Op.NE, value):
            return _one_of(field, (value,), negated=negated != (leaf.op is Op.NE))
        case Comparison(_, op, value):
            return _range(field, op, value, negated=negated)
        case In(_, values):
            return _one_of(field, values, negated=negated)
        case Between(_, low, high):
            bounds = (_range(field, Op.GE, low, negated=negated), _range(field, Op.LE, high, negated=negated))
            return _joined(bounds, "$or" if negated else "$and")
        case Has(_, values, mode):
            contains = "$not_contains" if negated else "$contains"
            held = [{_key(field): {contains: index_scalar(field, value)}} for value in _storable(field, values)]
            return _has(held, wanted=len(values), every=mode == "all", negated=negated)
        case Contains() | StartsWith():
            return None


def _key(field: Field) -> str:
    return DOCUMENT_KEY if field.name == "id" else field.name


def _never_missing(field: Field) -> bool:
    # A default does not make a field required: a document may still say that the value is missing.
    return field.name == "id" or (field.required and field.default is None and not field.many)


def _storable(field: Field, values: Iterable[Scalar]) -> list[Scalar]:
    """Return the operands that a stored value can equal, in its type: an int field holds no 1.5."""
    if field.type is not FieldType.INT:
        return list(values)
    return [int(v) for v in values if isinstance(v, int | float) and v == int(v) and INT_MIN <= int(v) <= INT_MAX]


def _one_of(field: Field, values: Iterable[Scalar], *, negated: bool) -> Where:
    wanted = [index_scalar(field, value) for value in _storable(field, values)]
    if not wanted:
        return _ALL if negated else _NONE
    if len(wanted) == 1:
        return {_key(field): {"$ne" if negated else "$eq": wanted[0]}}
    return {_key(field): {"$nin" if negated else "$in": wanted}}


def _has(held: list[Where], *, wanted: int, every: bool, negated: bool) -> Where | None:
    if not held or (every and len(held) < wanted):
        return _ALL if negated else _NONE
    return _joined(held, "$and" if every != negated else "$or")


def _range(field: Field, op: Op, value: Scalar, *, negated: bool) -> Where | None:
    if field.is_string:
        return None
    if negated:
        if not _never_missing(field):
            return None
        op = _OPPOSITES[op]
    if field.type is not FieldType.INT:
        return {_key(field): {_RANGES[op]: index_scalar(field, value)}}
    return _int_range(field, op, value)


def _int_range(field: Field, op: Op, value: Scalar) -> Where:
    """Return the range of stored ints that a bound, perhaps a fraction or beyond 64 bits, stands for."""
    # Of whole numbers, those below 1.5 are those below 2, and those from 1.5 up are those from 2 up.
    number: IndexScalar = index_scalar(field, value)
    bound = math.ceil(number) if op in (Op.LT, Op.GE) else math.floor(number)  # type: ignore[arg-type]
    upper = op in (Op.LT, Op.LE)
    if bound > INT_MAX:
        return _present(field) if upper else _NONE
    if bound < INT_MIN:
        return _NONE if upper else _present(field)
    return {_key(field): {_RANGES[op]: bound}}


def _present(field: Field) -> Where:
    """Return what holds for every record with the key: a stored number is at least the least of its type."""
    return {_key(field): {"$gte": -sys.float_info.max if field.type is FieldType.FLOAT else INT_MIN}}


def _is_null(field: Field, *, negated: bool) -> Where | None:
    if _never_missing(field):
        return _ALL if negated else _NONE
    if field.many:
        return None
    if field.type is FieldType.BOOL:
        return {_key(field): {"$in" if negated else "$nin": [True, False]}}
    if not negated or field.is_string:
        return None
    return _present(field)
