"""How often each value of a field occurs among some documents, and how numbers and dates spread."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kb.catalog.filter_sql import field_sql
from kb.catalog.lookup import count_matching, select_rows
from kb.errors import SchemaError, nearest
from kb.schema import FieldType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from kb.catalog.lookup import Condition
    from kb.schema import Field, Scalar, Schema

FACET_VALUES: Final = 10
"""So many values of a field are named unless another number is asked for."""

_SPREADING: Final = (FieldType.INT, FieldType.FLOAT, FieldType.DATE, FieldType.DATETIME)


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value of a field, and how many documents have it."""

    value: Scalar
    count: int


@dataclass(frozen=True, slots=True)
class Spread:
    """Where the values of a field lie; each number is one of them, of two in the middle the lower one."""

    minimum: Scalar
    lower_quartile: Scalar
    median: Scalar
    upper_quartile: Scalar
    maximum: Scalar


@dataclass(frozen=True, slots=True)
class Facet:
    """How the values of one field are distributed over some documents.

    Attributes:
        field: Its name.
        values: The most frequent values, equally frequent ones in their order. Of a list, each item counts, once a
            document.
        missing: Documents without a value; of a list, those where it is empty.
        other: The counts of all values that ``values`` does not name, together.
        distinct: How many different values there are.
        spread: Of numbers and dates: quartiles of the values; None where there are none, and for other types.
    """

    field: str
    values: tuple[FacetValue, ...]
    missing: int
    other: int
    distinct: int
    spread: Spread | None = None


def facet_fields(schema: Schema, names: Sequence[str]) -> list[Field]:
    """Return the fields to be counted.

    Raises:
        SchemaError: One does not exist, is prose, or is named twice.
    """
    countable = [name for name, field in schema.fields.items() if field.is_metadata]
    for name, times in Counter(names).items():
        if name not in schema.fields:
            raise SchemaError(f"unknown field '{name}'", hint=nearest(name, countable))
        if name not in countable:
            hint = f"fields that can be counted: {', '.join(countable)}" if countable else "all fields are prose"
            raise SchemaError(f"'{name}' is prose: hardly two documents share a value", hint=hint)
        if times > 1:
            raise SchemaError(f"the field '{name}' is named twice")
    return [schema.fields[name] for name in names]


def count_values(connection: Connection, condition: Condition, field: Field, limit: int) -> Facet:
    """Return how the values of a field are distributed over the documents that satisfy a condition.

    Args:
        connection: In a transaction.
        condition: Which documents.
        field: From ``facet_fields``.
        limit: How many values to name; from 0.
    """
    counted = _counted(condition, field)
    # Without a value named the totals are wanted all the same.
    named = select_rows(
        connection,
        f"WITH {counted} SELECT value, n, count(*) OVER (), sum(n) OVER () FROM counted ORDER BY n DESC, value"
        f" LIMIT {max(1, int(limit))}",
        condition.values,
    )
    distinct, total = named[0][2:] if named else (0, 0)
    values = tuple(FacetValue(field.load(value), n) for value, n, *_ in named[:limit])
    having = count_matching(connection, _having(condition, field)) if field.many else total
    spread = None
    if total and field.type in _SPREADING:
        spread = _spread(connection, counted, condition, field, total)
    missing = count_matching(connection, condition) - having
    return Facet(field.name, values, missing, total - sum(one.count for one in values), distinct, spread)


def _counted(condition: Condition, field: Field) -> str:
    """Return the table of values with the number of documents that have each."""
    if field.many:
        source = f"documents, json_each(documents.fields, '$.{field.name}') AS item"
        select = f"item.value AS value, count(DISTINCT documents.seq) AS n FROM {source} WHERE {condition.sql}"
    else:
        value = str(field_sql(field))
        select = f"{value} AS value, count(*) AS n FROM documents WHERE {condition.sql} AND {value} IS NOT NULL"
    # SQLite would otherwise go through the documents once for each use.
    return f"counted AS MATERIALIZED (SELECT {select} GROUP BY 1)"


def _having(condition: Condition, field: Field) -> Condition:
    length = f"coalesce(json_array_length(documents.fields, '$.{field.name}'), 0)"
    return condition._replace(sql=f"{condition.sql} AND {length} > 0")


def _spread(connection: Connection, counted: str, condition: Condition, field: Field, total: int) -> Spread:
    places = (1, -(-total // 4), -(-total // 2), -(-3 * total // 4), total)
    ranked = "ranked AS (SELECT value, sum(n) OVER (ORDER BY value) AS upto FROM counted)"
    at = ", ".join(f"min(value) FILTER (WHERE upto >= {place})" for place in places)
    (found,) = select_rows(connection, f"WITH {counted}, {ranked} SELECT {at} FROM ranked", condition.values)
    return Spread(*map(field.load, found))
