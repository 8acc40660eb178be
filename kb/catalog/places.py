"""Which knowledge base this is, which index each generation's queue has fed, and when all was last found well."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert

from kb.catalog.engine import now
from kb.catalog.tables import catalog_info

if TYPE_CHECKING:
    from sqlalchemy import Connection

FOLDER_PLACE: Final = "folder"
"""The index in the folder of the knowledge base, whoever has it open; where nothing is noted, it is that one."""

_BASE: Final = "base"

LAST_VERIFY: Final = "last_verify"
"""The row of ``catalog_info`` with the time of the last ``kb verify`` of all collections that found no difference."""


def base_id(connection: Connection) -> str:
    """Return what tells this knowledge base from others on one server; made up at the first call, in a write."""
    made = insert(catalog_info).values(name=_BASE, value=secrets.token_hex(16))
    connection.execute(made.on_conflict_do_nothing())
    return str(connection.execute(select(catalog_info.c.value).where(catalog_info.c.name == _BASE)).scalar_one())


def index_place(connection: Connection, generation: str) -> str:
    """Return which index the queue of a generation has fed: any other one lacks what was taken off it."""
    # Plain SQL through the driver: every search that asks Chroma asks this first.
    sql = "SELECT value FROM catalog_info WHERE name = ?"
    row = connection.exec_driver_sql(sql, (_place(generation),)).first()
    return FOLDER_PLACE if row is None else str(row[0])


def set_index_place(connection: Connection, generation: str, place: str) -> None:
    """Note which index the queue of a generation feeds from now on."""
    noted = insert(catalog_info).values(name=_place(generation), value=place)
    connection.execute(noted.on_conflict_do_update(index_elements=["name"], set_={"value": place}))


def note_verified(connection: Connection) -> None:
    """Note that everything was looked at just now, and no difference was found."""
    noted, at = insert(catalog_info), now()
    noted = noted.values(name=LAST_VERIFY, value=at).on_conflict_do_update(index_elements=["name"], set_={"value": at})
    connection.execute(noted)


def _place(generation: str) -> str:
    return f"place:{generation}"
