"""What chromadb does and ``kb`` relies on, or works around. When one of these fails, the code around it must change."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import chromadb
    from chromadb.config import Settings

A, B = [1.0, 0.0], [0.0, 1.0]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[chromadb.ClientAPI]:
    opened = chromadb.PersistentClient(str(tmp_path / "chroma"), Settings(anonymized_telemetry=False))
    yield opened
    opened.close()


@pytest.fixture
def collection(client):
    return client.create_collection("facts", embedding_function=None, configuration={"hnsw": {"space": "cosine"}})


def metadata(collection, record: str):
    return collection.get(ids=[record], include=["metadatas"])["metadatas"][0]


def ids(collection, where) -> list[str]:
    return sorted(collection.get(where=where, include=[])["ids"])


def test_the_default_space_is_l2(client):
    assert client.create_collection("plain", embedding_function=None).configuration_json["hnsw"]["space"] == "l2"


def test_get_or_create_ignores_another_configuration(client):
    client.create_collection("plain", embedding_function=None)
    again = client.get_or_create_collection(
        "plain", embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
    )
    assert again.configuration_json["hnsw"]["space"] == "l2"


def test_upsert_merges_metadata_and_none_removes_a_key(collection):
    collection.upsert(ids=["a"], embeddings=[A], metadatas=[{"x": 1, "y": 2, "tags": ["p"]}])
    collection.upsert(ids=["a"], embeddings=[A], metadatas=[{"x": 3}])
    assert metadata(collection, "a") == {"x": 3, "y": 2, "tags": ["p"]}
    collection.upsert(ids=["a"], embeddings=[A], metadatas=[{"x": 3, "y": None, "tags": None}])
    assert metadata(collection, "a") == {"x": 3}


def test_none_in_the_metadata_of_a_new_record_is_left_out(collection):
    collection.upsert(ids=["a"], embeddings=[A], metadatas=[{"x": 1, "y": None}])
    assert metadata(collection, "a") == {"x": 1}


def test_upsert_without_text_keeps_the_old_text(collection):
    collection.upsert(ids=["a"], embeddings=[A], documents=["old"])
    collection.upsert(ids=["a"], embeddings=[B])
    assert collection.get(ids=["a"])["documents"] == ["old"]


def test_adding_an_existing_record_does_nothing_silently(collection):
    collection.add(ids=["a"], embeddings=[A], documents=["old"])
    collection.add(ids=["a"], embeddings=[B], documents=["new"])
    found = collection.get(ids=["a"], include=["documents", "embeddings"])
    assert found["documents"] == ["old"]
    assert found["embeddings"].tolist() == [A]


def test_updating_and_deleting_a_missing_record_does_nothing_silently(collection):
    collection.update(ids=["a"], embeddings=[A])
    collection.delete(ids=["a"])
    assert collection.count() == 0


def test_ne_and_nin_and_not_contains_hold_for_a_missing_key(collection):
    metadatas = [{"x": 1, "tags": ["p"]}, {"x": 2, "tags": ["q"]}, {"y": 1}]
    collection.add(ids=["a", "b", "c"], embeddings=[A, B, A], metadatas=metadatas)
    assert ids(collection, {"x": {"$ne": 1}}) == ["b", "c"]
    assert ids(collection, {"x": {"$nin": [1, 2]}}) == ["c"]
    assert ids(collection, {"tags": {"$not_contains": "p"}}) == ["b", "c"]
    assert ids(collection, {"tags": {"$contains": "p"}}) == ["a"]


def test_equal_numbers_are_equal_whatever_their_type_and_a_float_bound_is_cut_for_ints(collection):
    metadatas = [{"x": 1}, {"x": 1.0}, {"x": 2}]
    collection.add(ids=["int", "float", "two"], embeddings=[A, B, A], metadatas=metadatas)
    assert ids(collection, {"x": {"$eq": 1}}) == ids(collection, {"x": {"$eq": 1.0}}) == ["float", "int"]
    assert ids(collection, {"x": {"$lt": 1.5}}) == ["float"]
    assert ids(collection, {"x": {"$lte": 1.5}}) == ["float", "int"]


def test_a_batch_is_bounded(client, collection):
    size = client.get_max_batch_size()
    assert size >= 5_000
    with pytest.raises(Exception, match=r"(?i)batch size"):
        collection.upsert(ids=[str(n) for n in range(size + 1)], embeddings=np.ones((size + 1, 2)))


def test_the_distance_is_one_minus_the_cosine(collection):
    collection.add(ids=["a", "b"], embeddings=[A, B])
    answer = collection.query(query_embeddings=[[3.0, 4.0]], n_results=2, include=["distances"])
    assert answer["ids"] == [["b", "a"]]
    assert answer["distances"][0] == pytest.approx([0.2, 0.4], abs=1e-6)


def test_a_closed_folder_can_be_opened_again_in_the_same_process(tmp_path):
    for expected in (0, 1):
        client = chromadb.PersistentClient(str(tmp_path), Settings(anonymized_telemetry=False))
        made = client.get_or_create_collection("facts", embedding_function=None)
        assert made.count() == expected
        made.upsert(ids=["a"], embeddings=[A])
        client.close()
