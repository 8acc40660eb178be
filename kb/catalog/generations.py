"""The generations of a collection: the one that serves, the one that is being built, and those that have served."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, func, insert, select, update

from kb.catalog.engine import now
from kb.catalog.queue import VECTORS, WORDS, enqueue_all, target_of
from kb.catalog.tables import collections, generations, index_queue
from kb.errors import ConflictError, SchemaError, SupersededError
from kb.schema import Recipe, Schema, with_template

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row, Select

    from kb.catalog.collections import StoredCollection

_FIRST: Final = 2
"""Below it no number is given: the first generation of a collection is called ``NAME-g1``, whatever its number."""


class GenerationState(StrEnum):
    """What a generation is there for: exactly one of a collection is active."""

    BUILDING = "building"
    ACTIVE = "active"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class StoredGeneration:
    """One generation of a collection: its vectors, made by one recipe, in one Chroma collection.

    Attributes:
        id: The row's number; never used again.
        collection_id: Whose it is.
        name: Of the Chroma collection.
        state: Whether it serves.
        schema: Of the collection when it was begun or ceased to serve, with the text template of its recipe.
        recipe: How its vectors are made.
        dimension: The length of a vector.
        fingerprint: As that of ``StoredCollection``.
        created: When it was begun.
        changed: When its state last changed.
        gate: What was found when it was compared with the one that served then, as JSON; None before.
    """

    id: int
    collection_id: int
    name: str
    state: GenerationState
    schema: Schema
    recipe: Recipe
    dimension: int
    fingerprint: bytes
    created: str
    changed: str
    gate: str | None

    @property
    def target(self) -> str:
        """The target of the index queue that feeds it while it does not serve."""
        return target_of(self.id)

    def of(self, collection: StoredCollection) -> StoredCollection:
        """Return the collection as it would be if this generation served: with the fields that it has now."""
        try:
            schema = with_template(collection.schema, self.recipe.template)
        except SchemaError:  # it is empty, and declared anew without a field that this template shows
            schema = self.schema
        return replace(
            collection,
            schema=schema,
            recipe=self.recipe,
            dimension=self.dimension,
            fingerprint=self.fingerprint,
            generation=self.name,
        )


def serving(connection: Connection, collection_id: int) -> str | None:
    """Return the name of the generation that serves a collection in this snapshot; None without the collection."""
    sql = "SELECT name FROM generations WHERE id = (SELECT generation_id FROM collections WHERE id = ?)"
    row = connection.exec_driver_sql(sql, (collection_id,)).first()
    return None if row is None else str(row[0])


def check_serving(connection: Connection, collection: StoredCollection) -> None:
    """Make sure that what is known of a collection is about the generation that serves in this snapshot.

    Raises:
        SupersededError: Another one does.
    """
    if serving(connection, collection.id) != collection.generation:
        raise SupersededError(
            f"another generation of '{collection.name}' serves now", unchanged="nothing was done", hint="do it again"
        )


def list_generations(connection: Connection, collection_id: int) -> list[StoredGeneration]:
    """Return the generations of a collection, in the order in which they were begun."""
    query = _query().where(generations.c.collection_id == collection_id).order_by(generations.c.id)
    return [_generation(row) for row in connection.execute(query)]


def all_generations(connection: Connection) -> list[StoredGeneration]:
    """Return the generations of all collections."""
    return [_generation(row) for row in connection.execute(_query().order_by(generations.c.id))]


def building(connection: Connection, collection_id: int) -> StoredGeneration | None:
    """Return the generation that is being built, or waits to be promoted; None when there is none."""
    found = list_generations(connection, collection_id)
    return next((one for one in found if one.state is GenerationState.BUILDING), None)


def retired(connection: Connection, collection_id: int) -> list[StoredGeneration]:
    """Return the generations that have served, the last one first."""
    found = [one for one in list_generations(connection, collection_id) if one.state is GenerationState.RETIRED]
    return sorted(found, key=lambda one: (one.changed, one.id), reverse=True)


def add_generation(
    connection: Connection,
    collection: StoredCollection,
    schema: Schema,
    recipe: Recipe,
    *,
    dimension: int,
    fingerprint: bytes,
) -> StoredGeneration:
    """Begin a generation: it has every document still to take over.

    Raises:
        ConflictError: Another one is being built.
    """
    other = building(connection, collection.id)
    if other is not None:
        raise ConflictError(f"a generation of '{collection.name}' is being built already", unchanged="nothing was done")
    at = now()
    row = connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'generations'").first()
    number = max(_FIRST, 1 + (0 if row is None else int(row[0])))
    connection.execute(
        insert(generations).values(
            id=number,
            collection_id=collection.id,
            name=f"{collection.name}-g{number}",
            recipe_hash=recipe.hash,
            state=GenerationState.BUILDING,
            created=at,
            recipe=recipe.to_json(),
            schema=schema.to_json(),
            dimension=dimension,
            fingerprint=fingerprint,
            changed=at,
        )
    )
    enqueue_all(connection, collection.id, target_of(number))
    added = building(connection, collection.id)
    assert added is not None
    return added


def save_gate(connection: Connection, generation_id: int, gate: str) -> None:
    """Store what a comparison of the generation with the one that serves has found."""
    connection.execute(update(generations).where(generations.c.id == generation_id).values(gate=gate))


def drop_generation(connection: Connection, generation_id: int) -> None:
    """Delete a generation that does not serve: its chunks, texts and queue; its vectors stay until they are collected.

    Its Chroma collection is the caller's to delete afterwards; the other order could leave a generation without one.

    Raises:
        ConflictError: It serves.
    """
    row = connection.execute(_query().where(generations.c.id == generation_id)).first()
    if row is None:
        return
    if row.state == GenerationState.ACTIVE:
        raise ConflictError(f"the generation '{row.name}' serves", unchanged="nothing was deleted")
    connection.execute(delete(index_queue).where(index_queue.c.target == target_of(generation_id)))
    for table in ("other_chunks", "other_texts"):
        connection.exec_driver_sql(f"DELETE FROM {table} WHERE generation_id = ?", (generation_id,))
    connection.execute(delete(generations).where(generations.c.id == generation_id))


def promote(connection: Connection, collection: StoredCollection, new: StoredGeneration) -> StoredCollection:
    """Let a generation serve, in place of the one that does; the caller has made sure that nothing waits for it.

    Everything that says what a collection is changes here, in one transaction. The same call takes it back: chunks,
    texts and queues of both change places, whichever of them is older.

    Returns:
        The collection as it is now.
    """
    old = next(one for one in list_generations(connection, collection.id) if one.state is GenerationState.ACTIVE)
    _swap_chunks(connection, collection.id, old.id, new.id)
    if collection.recipe.template != new.recipe.template:
        _swap_texts(connection, collection, old, new)
        enqueue_all(connection, collection.id, WORDS, chunks_before=1)
    _swap_queues(connection, collection.id, old.target, new.target)
    _retire(connection, collection, old.id)
    connection.execute(
        update(generations).where(generations.c.id == new.id).values(state=GenerationState.ACTIVE, changed=now())
    )
    connection.execute(
        update(collections)
        .where(collections.c.id == collection.id)
        .values(
            schema=new.of(collection).schema.to_json(),
            recipe=new.recipe.to_json(),
            dimension=new.dimension,
            fingerprint=new.fingerprint,
            generation_id=new.id,
            change=collections.c.change + 1,
        )
    )
    return replace(new.of(collection), change=collection.change + 1)


def _retire(connection: Connection, collection: StoredCollection, generation_id: int) -> None:
    """Keep with a generation what the collection was while it served."""
    connection.execute(
        update(generations)
        .where(generations.c.id == generation_id)
        .values(
            state=GenerationState.RETIRED,
            recipe_hash=collection.recipe.hash,
            recipe=collection.recipe.to_json(),
            schema=collection.schema.to_json(),
            dimension=collection.dimension,
            fingerprint=collection.fingerprint,
            changed=now(),
        )
    )


def _swap_chunks(connection: Connection, collection_id: int, old: int, new: int) -> None:
    own = f"document_seq IN (SELECT seq FROM documents WHERE collection_id = {int(collection_id)})"
    columns = 'document_seq, ordinal, start, "end", vector_id'
    for sql in (
        f"INSERT INTO other_chunks (generation_id, {columns}) SELECT {int(old)}, {columns} FROM chunks WHERE {own}",
        f"DELETE FROM chunks WHERE {own}",
        f"INSERT INTO chunks ({columns}) SELECT {columns} FROM other_chunks WHERE generation_id = {int(new)}",
        f"DELETE FROM other_chunks WHERE generation_id = {int(new)}",
    ):
        connection.exec_driver_sql(sql)


def _swap_texts(
    connection: Connection, collection: StoredCollection, old: StoredGeneration, new: StoredGeneration
) -> None:
    """Let every generation whose template is not the one that serves from now on have its texts beside it."""
    others = [one for one in list_generations(connection, collection.id) if one.id not in (old.id, new.id)]
    keeping = [old.id, *(one.id for one in others if one.recipe.template == collection.recipe.template)]
    for number in keeping:
        connection.exec_driver_sql(
            "INSERT INTO other_texts (generation_id, document_seq, text, text_hash)"
            " SELECT ?, seq, text, text_hash FROM documents WHERE collection_id = ?",
            (number, collection.id),
        )
    connection.exec_driver_sql(
        "UPDATE documents SET text = t.text, text_hash = t.text_hash FROM other_texts AS t"
        " WHERE t.generation_id = ? AND t.document_seq = documents.seq AND documents.collection_id = ?",
        (new.id, collection.id),
    )
    same = [new.id, *(one.id for one in others if one.recipe.template == new.recipe.template)]
    for number in same:
        connection.exec_driver_sql("DELETE FROM other_texts WHERE generation_id = ?", (number,))


def _swap_queues(connection: Connection, collection_id: int, old: str, new: str) -> None:
    """Give what waits for each of them, and what each has refused, to where it is looked for from now on."""
    sql = "UPDATE index_queue SET target = ? WHERE collection_id = ? AND target = ?"
    connection.exec_driver_sql(sql, (old, collection_id, VECTORS))
    connection.exec_driver_sql(sql, (VECTORS, collection_id, new))


def count_waiting(connection: Connection, generation: StoredGeneration) -> int:
    """Return how many documents a generation that does not serve has still to take over."""
    table = index_queue.c
    query = select(func.count(table.key.distinct())).where(
        table.collection_id == generation.collection_id, table.target == generation.target, table.refusal.is_(None)
    )
    return int(connection.execute(query).scalar_one())


def waiting_seqs(connection: Connection, collection_id: int, target: str) -> list[int]:
    """Return the row numbers of the documents that wait for a generation, in order; deleted ones are left out."""
    rows = connection.exec_driver_sql(
        "SELECT DISTINCT d.seq FROM index_queue AS q JOIN documents AS d"
        " ON d.collection_id = q.collection_id AND d.key = q.key"
        " WHERE q.collection_id = ? AND q.target = ? AND q.refusal IS NULL ORDER BY d.seq",
        (collection_id, target),
    )
    return [seq for (seq,) in rows]


def _query() -> Select[Any]:
    return select(generations)


def _generation(row: Row[Any]) -> StoredGeneration:
    return StoredGeneration(
        row.id,
        row.collection_id,
        row.name,
        GenerationState(row.state),
        Schema.from_json(row.schema),
        Recipe.from_json(row.recipe),
        row.dimension,
        row.fingerprint,
        row.created,
        row.changed,
        row.gate,
    )
