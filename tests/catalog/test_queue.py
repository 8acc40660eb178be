"""The index queue."""

from __future__ import annotations

from pathlib import Path

import pytest

from kb import catalog as cat
from kb.schema import Field, FieldType, Recipe, build_schema


@pytest.fixture
def connection(tmp_path: Path):
    catalog = cat.open_catalog(tmp_path / cat.FILE_NAME, version="0")
    with catalog.write() as opened:
        schema = build_schema([Field("body", FieldType.TEXT)])
        for name in ("articles", "notes"):
            cat.add_collection(opened, name, schema, Recipe("{body}", 256, 32, "m"), dimension=2, fingerprint=b"")
        yield opened
    catalog.close()


def enqueue(connection: cat.Connection, *items: tuple[str, int], collection: int = 1) -> None:
    cat.enqueue(connection, collection, [cat.QueuedDocument(*item) for item in items])


def test_an_index_that_is_up_to_date_has_nothing_queued(connection):
    cat.enqueue(connection, 1, [])
    assert cat.oldest(connection, 1, cat.VECTORS, 10) is None
    assert cat.pending(connection, 1, cat.VECTORS) == 0


def test_the_oldest_entries_come_first_each_document_once_with_the_most_chunks(connection):
    enqueue(connection, ("b", 0), ("a", 2))
    enqueue(connection, ("b", 5), ("c", 1), ("b", 3))
    part = cat.oldest(connection, 1, cat.VECTORS, 10)
    assert part.documents == (
        cat.QueuedDocument("b", 5),
        cat.QueuedDocument("a", 2),
        cat.QueuedDocument("c", 1),
    )
    assert cat.oldest(connection, 1, cat.VECTORS, 2).documents == (
        cat.QueuedDocument("b", 0),
        cat.QueuedDocument("a", 2),
    )


def test_what_is_queued_after_reading_is_not_forgotten(connection):
    enqueue(connection, ("a", 0))
    part = cat.oldest(connection, 1, cat.VECTORS, 10)
    enqueue(connection, ("a", 1))
    cat.forget(connection, 1, cat.VECTORS, part)
    assert cat.oldest(connection, 1, cat.VECTORS, 10).documents == (cat.QueuedDocument("a", 1),)
    assert cat.pending(connection, 1, cat.VECTORS) == 1


def test_a_collection_forgets_only_its_own_entries(connection):
    enqueue(connection, ("a", 0), collection=2)
    enqueue(connection, ("a", 0))
    cat.forget(connection, 1, cat.VECTORS, cat.QueuePart((), 10**9))
    assert (cat.pending(connection, 1, cat.VECTORS), cat.pending(connection, 2, cat.VECTORS)) == (0, 1)


def test_every_target_gets_every_entry(connection):
    enqueue(connection, ("a", 0), ("b", 1))
    assert {target: cat.pending(connection, 1, target) for target in cat.TARGETS} == dict.fromkeys(cat.TARGETS, 2)
    assert cat.VECTORS in cat.TARGETS


def test_what_an_index_refused_is_not_returned_again_until_it_is_written_again(connection):
    enqueue(connection, ("a", 0), ("b", 0))
    cat.forget(connection, 1, cat.VECTORS, cat.oldest(connection, 1, cat.VECTORS, 10))
    cat.refuse(connection, 1, cat.VECTORS, [cat.Refusal("b", "too odd")])
    assert cat.oldest(connection, 1, cat.VECTORS, 10) is None
    assert cat.pending(connection, 1, cat.VECTORS) == 0
    assert cat.refusals(connection, 1, cat.VECTORS) == [cat.Refusal("b", "too odd")]
    enqueue(connection, ("b", 1))
    part = cat.oldest(connection, 1, cat.VECTORS, 10)
    assert part.documents == (cat.QueuedDocument("b", 1),)
    cat.forget(connection, 1, cat.VECTORS, part)
    assert cat.refusals(connection, 1, cat.VECTORS) == []


def test_one_index_can_be_told_to_take_over_everything_again(connection):
    enqueue(connection, ("gone", 3))
    cat.enqueue_all(connection, 1, cat.WORDS)
    assert {target: cat.pending(connection, 1, target) for target in cat.TARGETS} == {cat.VECTORS: 1, cat.WORDS: 0}
