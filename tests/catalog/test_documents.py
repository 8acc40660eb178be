"""Documents, chunks and revisions in the catalog."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kb import catalog as cat
from kb.catalog.documents import batched
from kb.filters import check, parse
from kb.schema import Field, FieldType, Recipe, build_schema, content_hash

SCHEMA = build_schema(
    [
        Field("body", FieldType.TEXT),
        Field("rating", FieldType.FLOAT, required=False),
        Field("größe", FieldType.INT, required=False),
    ]
)
RECIPE = Recipe("{body}", 256, 32, "fake")
MANY = 2_001


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[cat.Catalog]:
    opened = cat.open_catalog(tmp_path / cat.FILE_NAME, version="0")
    yield opened
    opened.close()


@pytest.fixture
def connection(catalog: cat.Catalog) -> Iterator[cat.Connection]:
    with catalog.write() as opened:
        yield opened


def collection(connection: cat.Connection, name: str = "articles") -> cat.StoredCollection:
    return cat.add_collection(connection, name, SCHEMA, RECIPE, dimension=2, fingerprint=b"f")


def store(connection: cat.Connection, stored: cat.StoredCollection, *rows: dict, change: int = 1) -> list[int]:
    """Insert documents with one chunk each; a row is fields with the key under ``id``."""
    seqs = []
    written = []
    first = cat.next_seq(connection)
    for seq, row in enumerate(rows, first):
        fields = {name: value for name, value in row.items() if name not in ("id", "updated")}
        written.append(
            {
                "seq": seq,
                "collection_id": stored.id,
                "key": row["id"],
                "fields": json.dumps(fields, ensure_ascii=False),
                "text": "t",
                "fields_hash": content_hash(json.dumps(fields, ensure_ascii=False)),
                "text_hash": content_hash("t"),
                "revision": 1,
                "change": change,
                "updated": row.get("updated", "2024"),
            }
        )
        seqs.append(seq)
    cat.insert_documents(connection, written)
    return seqs


def vector(connection: cat.Connection, name: bytes) -> int:
    return cat.insert_vectors(connection, "s", [name], np.array([[0.6, 0.8]]))[name]


def listed(
    connection: cat.Connection, stored: cat.StoredCollection, sort: str | None = None, *, descending=False, **options
) -> str:
    order = cat.Sort(sort, is_field=sort in SCHEMA.fields, descending=descending)
    found = cat.select_documents(connection, stored.id, options.pop("condition", None), sort=order, **options)
    return " ".join(document.key for document in found)


def revised(connection, stored, key: str, seq: int, number: int, action: str, change: int) -> None:
    revision = cat.Revision(key, seq, number, action, f"at {change}", "me", None, None)
    cat.insert_revisions(connection, stored.id, change, [revision])


def test_documents_are_sorted_with_missing_values_last_and_ties_by_id(connection):
    stored = collection(connection)
    rows = [
        {"id": "d", "rating": 2.0},
        {"id": "b"},
        {"id": "c", "rating": 10.5},
        {"id": "a", "rating": 2.0},
        {"id": "e"},
    ]
    store(connection, stored, *rows)
    assert listed(connection, stored) == "a b c d e"
    assert listed(connection, stored, descending=True) == "e d c b a"
    assert listed(connection, stored, sort="id") == "a b c d e"
    assert listed(connection, stored, sort="id", descending=True) == "e d c b a"
    assert listed(connection, stored, sort="rating") == "a d c b e"
    assert listed(connection, stored, sort="rating", descending=True) == "c a d b e"
    assert listed(connection, stored, sort="rating", limit=2, offset=1) == "d c"
    assert listed(connection, stored, sort="rating", offset=3) == "b e"
    condition = cat.to_sql(check(parse("rating < 3 or rating is null"), SCHEMA), SCHEMA)
    assert listed(connection, stored, sort="rating", descending=True, condition=condition) == "a d b e"


def test_documents_are_sorted_by_odd_names_and_by_time(connection):
    stored = collection(connection)
    rows = [
        {"id": "a", "größe": 10, "updated": "3"},
        {"id": "b", "größe": 9, "updated": "1"},
        {"id": "c", "updated": "2"},
    ]
    store(connection, stored, *rows)
    assert listed(connection, stored, sort="größe") == "b a c"
    assert listed(connection, stored, sort="updated") == "b c a"
    assert listed(connection, stored, sort="updated", descending=True) == "a c b"


def test_a_collection_sees_only_its_own_documents(connection):
    one, two = collection(connection), collection(connection, "notes")
    (seq,) = store(connection, one, {"id": "a"})
    (other,) = store(connection, two, {"id": "a"})
    assert (listed(connection, one), listed(connection, two)) == ("a", "a")
    assert cat.get_documents(connection, one.id, ["a"])["a"].seq == seq
    assert cat.stored_states(connection, two.id, ["a"])["a"].seq == other
    assert (cat.count_documents(connection, one.id), cat.select_keys(connection, two.id, None)) == (1, ["a"])


def test_more_keys_than_a_statement_takes_are_looked_up_in_parts(connection):
    stored = collection(connection)
    keys = [f"k{n:05}" for n in range(MANY)]
    seqs = store(connection, stored, *({"id": key} for key in keys))
    asked = [*keys, "missing"]
    assert [len(some) for some in batched(asked)] == [900, 900, 202]
    assert list(cat.stored_states(connection, stored.id, asked)) == keys
    assert {d.key: d.seq for d in cat.get_documents(connection, stored.id, asked).values()} == dict(
        zip(keys, seqs, strict=True)
    )
    assert [d.key for d in cat.get_documents_by_seq(connection, [*seqs, 10**6]).values()] == keys
    assert cat.keys_of(connection, seqs) == dict(zip(seqs, keys, strict=True))
    every = cat.compile_condition(stored.id, None, SCHEMA)
    assert sorted(cat.seqs_of(connection, every, asked)) == seqs
    assert cat.matching_among(connection, every, [*seqs, 10**6]) == set(seqs)
    number = vector(connection, b"v")
    cat.replace_chunks(connection, [], [cat.StoredChunk(seq, 0, 0, 1, number) for seq in seqs])
    assert cat.get_chunks(connection, seqs) == {seq: [cat.StoredChunk(seq, 0, 0, 1, number)] for seq in seqs}
    found = cat.chunk_vectors(connection, stored.id, 2, seqs=seqs)
    assert found.seqs.tolist() == seqs
    assert found.matrix.shape == (MANY, 2)
    assert cat.chunk_vectors(connection, stored.id, 2).seqs.tolist() == seqs


def test_more_vectors_than_a_statement_takes_are_looked_up_in_parts(connection):
    hashes = [n.to_bytes(4, "little") for n in range(MANY)]
    matrix = np.arange(2 * MANY, dtype=np.float32).reshape(MANY, 2)
    numbers = cat.insert_vectors(connection, "s", hashes, matrix)
    assert cat.known_vectors(connection, "s", [*hashes, b"missing"]) == numbers
    assert cat.known_vectors(connection, "another space", hashes) == {}
    found = cat.get_vectors(connection, list(numbers.values()))
    assert all(found[numbers[h]].tolist() == matrix[row].tolist() for row, h in enumerate(hashes))


def test_no_vectors_of_nothing(connection):
    stored = collection(connection)
    found = cat.chunk_vectors(connection, stored.id, 2, seqs=[])
    assert (found.seqs.tolist(), found.matrix.shape) == ([], (0, 2))
    assert cat.insert_vectors(connection, "s", [], np.empty((0, 2))) == {}


def test_last_revisions_of_many_keys(connection):
    stored = collection(connection)
    for number in (1, 2):
        revisions = [
            cat.Revision(f"k{n}", n, number, "update", "at", "me", None, None) for n in range(MANY) if n % number == 0
        ]
        cat.insert_revisions(connection, stored.id, number, revisions)
    numbers = cat.last_revisions(connection, stored.id, [f"k{n}" for n in range(MANY + 5)])
    assert numbers == {f"k{n}": 2 if n % 2 == 0 else 1 for n in range(MANY)}


def test_the_first_chunk_of_a_vector_is_that_of_the_lowest_row(connection):
    stored = collection(connection)
    a, b, c = store(connection, stored, {"id": "a"}, {"id": "b"}, {"id": "c"})
    shared, own = vector(connection, b"shared"), vector(connection, b"own")
    chunks = [
        cat.StoredChunk(c, 0, 0, 1, shared),
        cat.StoredChunk(b, 1, 0, 1, shared),
        cat.StoredChunk(b, 0, 0, 1, own),
        cat.StoredChunk(c, 1, 1, 2, own),
        cat.StoredChunk(a, 0, 0, 1, own),
    ]
    cat.replace_chunks(connection, [], chunks)
    assert cat.first_chunks(connection, [shared, own]) == {shared: (b, 1), own: (a, 0)}
    cat.delete_documents(connection, [a])
    assert cat.first_chunks(connection, [own]) == {own: (b, 0)}
    assert cat.first_chunks(connection, []) == {}


def test_replacing_chunks_leaves_none_of_the_old_ones(connection):
    stored = collection(connection)
    a, b = store(connection, stored, {"id": "a"}, {"id": "b"})
    number = vector(connection, b"v")
    cat.replace_chunks(connection, [], [cat.StoredChunk(seq, n, n, n + 1, number) for seq in (a, b) for n in range(3)])
    cat.replace_chunks(connection, [a], [cat.StoredChunk(a, 0, 0, 3, number)])
    assert cat.get_chunks(connection, [a])[a] == [cat.StoredChunk(a, 0, 0, 3, number)]
    assert [chunk.ordinal for chunk in cat.get_chunks(connection, [b])[b]] == [0, 1, 2]
    assert cat.count_chunks(connection, stored.id) == 4


def test_touched_since_names_written_and_deleted_rows_of_the_collection(connection):
    stored, other = collection(connection), collection(connection, "notes")
    (old,) = store(connection, stored, {"id": "old"}, change=1)
    (new,) = store(connection, stored, {"id": "new"}, change=2)
    (gone,) = store(connection, stored, {"id": "gone"}, change=1)
    store(connection, other, {"id": "new"}, change=3)
    cat.delete_documents(connection, [gone])
    revised(connection, stored, "gone", gone, 2, "delete", 3)
    revised(connection, stored, "new", new, 1, "add", 2)
    assert sorted(cat.touched_since(connection, stored.id, 0)) == [old, new, gone]
    assert sorted(cat.touched_since(connection, stored.id, 1)) == [new, gone]
    assert cat.touched_since(connection, stored.id, 2) == [gone]
    assert cat.touched_since(connection, stored.id, 3) == []


def test_row_numbers_are_never_used_again(connection):
    stored = collection(connection)
    assert cat.next_seq(connection) == 1
    seqs = store(connection, stored, {"id": "a"}, {"id": "b"})
    cat.delete_documents(connection, seqs)
    assert cat.next_seq(connection) == 3


def test_revisions_are_read_oldest_first(connection):
    stored = collection(connection)
    revised(connection, stored, "a", 1, 2, "delete", 2)
    revised(connection, stored, "a", 1, 1, "add", 1)
    revised(connection, stored, "b", 2, 1, "add", 3)
    assert [(r.number, r.action) for r in cat.get_revisions(connection, stored.id, "a")] == [(1, "add"), (2, "delete")]
    assert cat.last_update(connection, stored.id) == "at 3"
    assert cat.last_update(connection, 99) is None


def test_pages_walk_through_a_collection(connection):
    stored = collection(connection)
    seqs = store(connection, stored, *({"id": f"k{n}"} for n in range(5)))
    pages, after = [], 0
    while page := cat.page_documents(connection, stored.id, after=after, limit=2):
        pages.append([document.seq for document in page])
        after = page[-1].seq
    assert pages == [seqs[:2], seqs[2:4], seqs[4:]]


def test_a_stored_collection_is_what_was_added(connection):
    stored = collection(connection)
    assert cat.find_collection(connection, "articles") == stored
    assert stored.generation == "articles-g1"
    assert (cat.next_change(connection, stored.id), cat.next_change(connection, stored.id)) == (1, 2)
    assert cat.current_change(connection, stored.id) == 2


def test_a_filter_on_a_field_uses_its_index(connection):
    stored = collection(connection)
    store(connection, stored, {"id": "a", "rating": 1.0})
    condition = cat.compile_condition(stored.id, check(parse("rating = 4"), SCHEMA), SCHEMA)
    plan = connection.exec_driver_sql(
        f"EXPLAIN QUERY PLAN SELECT seq FROM documents WHERE {condition.sql}", condition.values
    ).all()
    assert f"field_{stored.id}_rating" in str(plan)


def test_a_changed_schema_gets_the_indexes_of_its_new_fields(connection):
    stored = collection(connection)
    schema = build_schema([*SCHEMA.fields.values(), Field("pages", FieldType.INT, required=False)])
    replaced = cat.replace_schema(connection, stored, schema, RECIPE)
    found = cat.find_collection(connection, "articles")
    assert found == replaced
    assert found.schema == schema
    indexes = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE name LIKE 'field_%'").scalars().all()
    assert sorted(indexes) == [f"field_{stored.id}_größe", f"field_{stored.id}_pages", f"field_{stored.id}_rating"]
