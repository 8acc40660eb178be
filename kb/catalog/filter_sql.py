"""A filter as a condition of SQL over the table ``documents``; equal in meaning to ``kb.filters.matches``.

Fields are read out of the stored JSON by ``json_extract(documents.fields, '$.NAME')``, as literal text, so that
SQLite recognises an index on the same expression. Every operand is a bound parameter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy
from sqlalchemy import BindParameter, ColumnElement, and_, bindparam, func, literal, literal_column, not_, or_

from kb.filters import And, Between, Comparison, Contains, Has, In, IsNull, Not, Op, Or, StartsWith, check, find_field

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from kb.filters import Filter, Leaf
    from kb.schema import Field, Scalar, Schema


def register_functions(connection: sqlite3.Connection) -> None:
    """Give a connection of the driver the functions that the conditions call; needed once for each connection."""
    connection.create_function("kb_fold", 1, _fold, deterministic=True)


def to_sql(filter: Filter, schema: Schema) -> ColumnElement[bool]:
    """Return the condition for a ``WHERE`` clause over ``documents``.

    It may be NULL instead of false; ``WHERE`` does not tell them apart. It does not say which collection.

    Raises:
        FilterError: The filter does not fit the schema.
    """
    return _condition(check(filter, schema), schema)


def field_sql(field: Field) -> ColumnElement[object]:
    """Return the expression of a field's stored value, NULL when missing, as an index on it must spell it."""
    if field.name == "id":
        return literal_column("documents.key")
    return literal_column(f"json_extract(documents.fields, '$.{field.name}')")


def _fold(text: str | None) -> str | None:
    return None if text is None else text.casefold()


def _condition(filter: Filter, schema: Schema) -> ColumnElement[bool]:
    match filter:
        case And(parts):
            return and_(*(_condition(part, schema) for part in parts))
        case Or(parts):
            return or_(*(_condition(part, schema) for part in parts))
        case Not(IsNull(name)):
            return not_(_is_null(find_field(schema, name)))
        case Not(part):
            # Only here does it matter that a condition on a missing value is NULL: NOT NULL is NULL, not true.
            return not_(func.coalesce(_condition(part, schema), sqlalchemy.false()))
        case _:
            return _leaf(filter, find_field(schema, filter.field))


def _leaf(leaf: Leaf, field: Field) -> ColumnElement[bool]:
    column = field_sql(field)
    match leaf:
        case Comparison(_, op, value):
            return _comparison(column, op, _bound(field, value))
        case In(_, values):
            return column.in_(_bound_list(field, values))
        case Between(_, low, high):
            return column.between(_bound(field, low), _bound(field, high))
        case Contains(_, text):
            return func.instr(_folded(column), text.casefold()) > 0
        case StartsWith(_, text):
            start = text.casefold()
            return func.substr(_folded(column), 1, len(start)) == literal(start)
        case Has(_, values, mode):
            if mode == "any":
                return _holds_any(field, values)
            return and_(*(_holds_any(field, (value,)) for value in values))
        case IsNull():
            return _is_null(field)


def _comparison(column: ColumnElement[object], op: Op, value: ColumnElement[object]) -> ColumnElement[bool]:
    match op:
        case Op.EQ:
            return column == value
        case Op.NE:
            return column.is_distinct_from(value)
        case Op.LT:
            return column < value
        case Op.LE:
            return column <= value
        case Op.GT:
            return column > value
        case Op.GE:
            return column >= value


def _stored(field: Field, value: Scalar) -> str | int | float:
    """Return an operand as SQL finds the values it is compared with: JSON's true is 1, dates are their text."""
    if isinstance(value, int | float):
        # Not the field's own form: that would cut the fraction off a float meant for an int field.
        return int(value) if isinstance(value, bool) else value
    return field.store(value)


def _bound(field: Field, value: Scalar) -> ColumnElement[object]:
    return literal(_stored(field, value))


def _bound_list(field: Field, values: Iterable[Scalar]) -> BindParameter[object]:
    # Without a type: given a plain list, SQLAlchemy takes the type of the first value and makes 2**53 + 1 a float.
    operands = [_stored(field, value) for value in values]
    return bindparam("operands", operands, unique=True, expanding=True, type_=sqlalchemy.types.NullType())


def _folded(column: ColumnElement[object]) -> ColumnElement[str]:
    return func.kb_fold(column, type_=sqlalchemy.Text())


def _holds_any(field: Field, values: Iterable[Scalar]) -> ColumnElement[bool]:
    items = func.json_each(literal_column("documents.fields"), literal_column(f"'$.{field.name}'"))
    item = items.table_valued("value", name="item")
    held = item.c.value.in_(_bound_list(field, values))
    return sqlalchemy.exists(sqlalchemy.select(literal_column("1")).select_from(item).where(held))


def _is_null(field: Field) -> ColumnElement[bool]:
    if field.many:
        length = literal_column(f"json_array_length(documents.fields, '$.{field.name}')", sqlalchemy.Integer())
        return func.coalesce(length, 0) == 0
    return field_sql(field).is_(None)
