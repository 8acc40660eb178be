"""Many rows at once through the driver: building every row's parameters costs several times what SQLite takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Table


def insert_many(
    connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[object, ...]]
) -> None:
    """Insert rows that hold a value for each of the columns, in their order."""
    if not rows:
        return
    named = ", ".join(f'"{table.c[name].name}"' for name in columns)
    marks = ", ".join("?" * len(columns))
    connection.exec_driver_sql(f"INSERT INTO {table.name} ({named}) VALUES ({marks})", list(rows))


def wanted(values: Sequence[object]) -> str:
    """Return the beginning of a statement that gives bound values as the table ``wanted(value)``.

    With ``FROM wanted CROSS JOIN`` SQLite looks every value up in the index. Left to choose by ``IN (…)``, it reads the
    whole table when its statistics are from a time when that was small. A subquery for one value a row is safer still:
    before a join, SQLite may fill a Bloom filter from the whole index, for the same reason.
    """
    return f"WITH wanted(value) AS (VALUES {', '.join(['(?)'] * len(values))})"
