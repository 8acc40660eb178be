"""Collections and their generations in the catalog."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, text, update

from kb.catalog.engine import now
from kb.catalog.failures import ADVICE
from kb.catalog.tables import collections, generations
from kb.errors import CatalogDamagedError, SchemaError
from kb.schema import FieldType, Recipe, Schema, with_template

if TYPE_CHECKING:
    from sqlalchemy import Connection, CursorResult, Row, Select


@dataclass(frozen=True, slots=True)
class StoredCollection:
    """One collection as the catalog holds it.

    Attributes:
        id: The row's number.
        name: Unique in the knowledge base.
        schema: The fields, key and template that its documents were stored with.
        recipe: How its vectors were made.
        dimension: The length of a vector.
        fingerprint: The model's answer to three fixed sentences: 3 × dimension float32; behind it, where another model
            embeds queries, the answer of that one.
        generation: The name of the Chroma collection that serves it.
        change: Grows by one with every write; caches compare it.
        created: When it was first stored.
        language: Whose stems its index of words is made of.
    """

    id: int
    name: str
    schema: Schema
    recipe: Recipe
    dimension: int
    fingerprint: bytes
    generation: str
    change: int
    created: str
    language: str


def find_collection(connection: Connection, name: str) -> StoredCollection | None:
    """Return the collection of that name, or None."""
    row = connection.execute(_query().where(collections.c.name == name)).first()
    return None if row is None else _collection(row)


def list_collections(connection: Connection) -> list[StoredCollection]:
    """Return all collections by name."""
    return [_collection(row) for row in connection.execute(_query().order_by(collections.c.name))]


def add_collection(
    connection: Connection,
    name: str,
    schema: Schema,
    recipe: Recipe,
    *,
    dimension: int,
    fingerprint: bytes,
    language: str = "english",
) -> StoredCollection:
    """Store a new collection with its first generation and the indexes that its filters use."""
    created = now()
    result = connection.execute(
        insert(collections).values(
            name=name,
            schema=schema.to_json(),
            recipe=recipe.to_json(),
            dimension=dimension,
            fingerprint=fingerprint,
            created=created,
            language=language,
        )
    )
    collection_id = _number(result)
    generation = f"{name}-g1"
    added = connection.execute(
        insert(generations).values(
            collection_id=collection_id,
            name=generation,
            recipe_hash=recipe.hash,
            state="active",
            created=created,
            recipe=recipe.to_json(),
            schema=schema.to_json(),
            dimension=dimension,
            fingerprint=fingerprint,
            changed=created,
        )
    )
    connection.execute(
        update(collections).where(collections.c.id == collection_id).values(generation_id=_number(added))
    )
    _index_fields(connection, collection_id, schema)
    return StoredCollection(
        collection_id, name, schema, recipe, dimension, fingerprint, generation, 0, created, language
    )


def replace_schema(
    connection: Connection, stored: StoredCollection, schema: Schema, recipe: Recipe, *, language: str = "english"
) -> StoredCollection:
    """Store a changed declaration; the caller has made sure that the documents fit it."""
    connection.execute(
        update(collections)
        .where(collections.c.id == stored.id)
        .values(schema=schema.to_json(), recipe=recipe.to_json(), language=language)
    )
    _index_fields(connection, stored.id, schema)
    return replace(stored, schema=schema, recipe=recipe, language=language)


def with_present_fields(connection: Connection, stored: StoredCollection) -> StoredCollection:
    """Return a collection with the fields that it has in this snapshot: another process may have declared more."""
    found = connection.execute(select(collections.c.schema).where(collections.c.id == stored.id)).scalar()
    if found is None or found == stored.schema.to_json():
        return stored
    return replace(stored, schema=with_template(Schema.from_json(found), stored.recipe.template))


def next_change(connection: Connection, collection_id: int) -> int:
    """Count one more write to the collection and return the new number."""
    statement = (
        update(collections)
        .where(collections.c.id == collection_id)
        .values(change=collections.c.change + 1)
        .returning(collections.c.change)
    )
    return int(connection.execute(statement).scalar_one())


def _number(result: CursorResult[Any]) -> int:
    """Return the number that a single insert gave its row."""
    key = result.inserted_primary_key
    assert key is not None
    return int(key[0])


def _query() -> Select[Any]:
    return select(collections, generations.c.name.label("generation")).outerjoin(
        generations, generations.c.id == collections.c.generation_id
    )


def _collection(row: Row[Any]) -> StoredCollection:
    try:
        return _read(row)
    except (ValueError, KeyError, TypeError, AttributeError, SchemaError) as error:
        raise CatalogDamagedError(f"the declaration of '{row.name}' is not what was stored", hint=ADVICE) from error


def _read(row: Row[Any]) -> StoredCollection:
    return StoredCollection(
        row.id,
        row.name,
        Schema.from_json(row.schema),
        Recipe.from_json(row.recipe),
        row.dimension,
        row.fingerprint,
        row.generation,
        row.change,
        row.created,
        row.language,
    )


def field_indexes(connection: Connection, collection_id: int) -> set[str]:
    """Return the names of the indexes that a collection's filters use."""
    prefix = f"field_{collection_id}_"
    rows = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'index'"))
    return {name for (name,) in rows if name.startswith(prefix)}


def _index_fields(connection: Connection, collection_id: int, schema: Schema) -> None:
    """Create one expression index per filterable field; it names the collection, so that it holds only its rows."""
    present = field_indexes(connection, collection_id)
    for declared in schema.fields.values():
        name = f"field_{collection_id}_{declared.name}"
        if declared.many or declared.type is FieldType.TEXT or name in present:
            continue
        connection.execute(
            text(
                f"CREATE INDEX \"{name}\" ON documents(json_extract(fields, '$.{declared.name}')) "
                f"WHERE collection_id = {collection_id}"
            )
        )
