"""Writes to a shared index of which nobody knows the end: one that timed out may still be applied, after later ones."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete
from sqlalchemy.dialects.sqlite import insert

from kb.catalog.bulk import insert_many
from kb.catalog.tables import catalog_info, index_queue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from kb.catalog.queue import QueuedDocument

LATE_SECONDS: Final = 60.0
"""After so long, a write whose end is not known is taken to have been applied or lost."""


def note_sent(connection: Connection, generation: str, documents: Sequence[QueuedDocument]) -> str:
    """Note that documents are about to be written to an index, and return what was noted before, for ``put_sent``.

    Args:
        connection: In a write transaction; one process at a time writes to the indexes.
        generation: The name of the generation.
        documents: With the most records of each that the write makes or deletes.
    """
    before = _noted(connection, generation)
    noted: dict[str, list[float]] = json.loads(before)
    for one in documents:
        chunks, _ = noted.get(one.key, (0, 0))
        noted[one.key] = [max(chunks, one.chunks_before), time.time()]
    put_sent(connection, generation, json.dumps(noted))
    return before


def put_sent(connection: Connection, generation: str, noted: str) -> None:
    """Put back what ``note_sent`` returned: the write has ended."""
    name = _name(generation)
    if noted == _NOTHING:
        connection.execute(delete(catalog_info).where(catalog_info.c.name == name))
        return
    row = insert(catalog_info).values(name=name, value=noted)
    connection.execute(row.on_conflict_do_update(index_elements=["name"], set_={"value": noted}))


def has_late(connection: Connection, generation: str) -> bool:
    """Return whether the end of a write is not known, and enough time has passed to do it once more."""
    noted = _noted(connection, generation)
    return noted != _NOTHING and any(_is_late(at) for _, at in json.loads(noted).values())


def requeue_late(connection: Connection, collection_id: int, target: str, generation: str) -> None:
    """Let an index take over once more what it may have taken over too late."""
    noted: dict[str, list[float]] = json.loads(_noted(connection, generation))
    rows = [(target, collection_id, key, int(chunks)) for key, (chunks, at) in noted.items() if _is_late(at)]
    insert_many(connection, index_queue, ("target", "collection_id", "key", "chunks_before"), rows)
    put_sent(connection, generation, json.dumps({key: one for key, one in noted.items() if not _is_late(one[1])}))


_NOTHING: Final = "{}"


def _noted(connection: Connection, generation: str) -> str:
    sql = "SELECT value FROM catalog_info WHERE name = ?"
    row = connection.exec_driver_sql(sql, (_name(generation),)).first()
    return _NOTHING if row is None else str(row[0])


def _is_late(at: float) -> bool:
    return abs(time.time() - at) >= LATE_SECONDS  # a clock that was set back must not keep it for ever


def _name(generation: str) -> str:
    return f"sent:{generation}"
