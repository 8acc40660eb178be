"""The index in Chroma Cloud: its calls, against a Chroma server of this machine, and what its quotas mean."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kb
from kb import catalog as cat
from kb.errors import LimitError, MismatchError
from kb.index.connect import CLOUD
from kb.index.server import answers
from kb.restoring import restore
from kb.search import semantic
from tests.conftest import CONFIG, ROOT, FakeEncoder, make


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A real Chroma server, which takes any key."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = int(probe.getsockname()[1])
    program = [
        sys.executable,
        "-m",
        "kb.child",
        str(os.getpid()),
        "kb.index.run_chroma",
        str(folder),
        "127.0.0.1",
        str(number),
    ]
    process = subprocess.Popen(
        program,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RUST_LOG": "warn"},
    )
    try:
        deadline = time.monotonic() + 60
        while not answers("127.0.0.1", number, timeout=1.0):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield number
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def root(root: Path, port: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A knowledge base whose index is in the cloud, in collections of its own."""
    name = "n" + str(abs(hash(request.node.name)))[:12]
    index = f'[index]\nmode = "cloud"\nhost = "127.0.0.1"\nport = {port}\nssl = false\n'
    (root / "config.toml").write_text(index + CONFIG.replace("articles", name))
    monkeypatch.setenv("CHROMA_API_KEY", "ck-very-secret")
    return root


class Watched:
    """A Chroma collection that holds its callers to the quotas."""

    def __init__(self, collection: Any) -> None:
        self.collection = collection
        self.calls: list[str] = []

    def upsert(self, **given: Any) -> None:
        self.calls.append("upsert")
        assert len(given["ids"]) <= 300
        assert all(len(one.encode()) <= 128 for one in given["ids"])
        assert all(len(text.encode()) <= 16_384 for text in given["documents"] or [])
        assert all(len(one) <= 32 for one in given["metadatas"])
        self.collection.upsert(**given)

    def delete(self, **given: Any) -> None:
        assert len(given["ids"]) <= 300
        assert all(len(one.encode()) <= 128 for one in given["ids"])
        self.collection.delete(**given)

    def get(self, **given: Any) -> Any:
        assert given.get("limit", 0) <= 300
        assert len(given.get("ids") or []) <= 300
        return self.collection.get(**given)

    def query(self, **given: Any) -> Any:
        self.calls.append("query")
        assert given["n_results"] <= 300
        return self.collection.query(**given)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.collection, name)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[Watched]:
    from kb.index import Generation

    plain, made = Generation.__init__, []

    def watching(self: Generation, collection: Any, index: Any) -> None:
        made.append(Watched(collection))
        plain(self, made[-1], index)

    monkeypatch.setattr(Generation, "__init__", watching)
    return made


def test_the_quotas_are_kept(root: Path, encoder: FakeEncoder, watched: list[Watched], monkeypatch) -> None:
    with kb.open(root, encoders={"fake": encoder}) as base:
        collection = base.collection()
        collection.upsert(*(make(collection, f"a{n}", title=f"unique{n}") for n in range(1_000)))
        stored = base.stored_collections()[0]
        index = base.follow(stored)
        assert index.limits == CLOUD
        assert index.count() == 1_000
        assert len(index.ids()) == 1_000
        assert list(base.verify(full=True)) == []
        monkeypatch.setattr(semantic, "SMALL", 0)
        text = collection.entry("a7").text
        hits = collection.search(text, mode="semantic", limit=200)
        assert (hits[0].id, len(hits), hits.report.degraded) == ("a7", 200, None)
        # More than the index may give at once, with a bound that its last proposal does not reach.
        hits = collection.search(text, mode="semantic", limit=900, min_score=-1.0)
        assert (len(hits), hits.report.strategy, hits.report.degraded) == (900, "exact", None)
        collection.delete(*(f"a{n}" for n in range(500)))
        assert base.follow(stored).count() == 500
        assert {"upsert", "query"} <= {call for one in watched for call in one.calls}


def test_a_long_id_stays_out_of_the_index_and_is_found(
    root: Path, encoder: FakeEncoder, watched: list[Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "ä" * 64
    with kb.open(root, encoders={"fake": encoder}) as base:
        collection = base.collection()
        collection.upsert(make(collection, "a1"), make(collection, long, body="glaciers"))
        stored = base.stored_collections()[0]
        assert base.follow(stored).ids() == {"a1#0"}
        problems = [(one.code, one.id, one.message) for one in base.verify(full=True)]
        reason = "its id is longer than the 128 bytes that the index takes"
        assert [one for one in problems if one[0] == "refused"] == [
            ("refused", long, f"the vector index does not take it: {reason}")
        ]
        assert {one[0] for one in problems} == {"refused"}
        monkeypatch.setattr(semantic, "SMALL", 0)
        assert collection.search(collection.entry(long).text, mode="semantic")[0].id == long
        collection.delete(long)
        assert list(base.verify(full=True)) == []


def test_a_text_that_is_too_long_is_left_out_of_its_record(
    root: Path, encoder: FakeEncoder, watched: list[Watched]
) -> None:
    with kb.open(root, encoders={"fake": encoder}) as base:
        collection = base.collection()
        collection.upsert(make(collection, "a1"), make(collection, "a2", body="short"))
        collection.update("a2", body="ä" * 9_000)
        records = base.follow(base.stored_collections()[0]).get(["a1#0", "a2#0"])
        texts = {name: record.text for name, record in records.items()}
        assert texts == {"a1#0": collection.entry("a1").text, "a2#0": None}
        assert list(base.verify(full=True)) == []


def test_too_many_fields_are_refused_at_opening(root: Path, encoder: FakeEncoder) -> None:
    more = "\n".join(f'extra{n} = {{ type = "int", required = false }}' for n in range(30))
    (root / "config.toml").write_text((root / "config.toml").read_text() + more)
    with kb.open(root, encoders={"fake": encoder}) as base, pytest.raises(LimitError) as caught:
        base.collection()
    (name,) = base.settings.collections
    assert str(caught.value) == f"'{name}' has 36 fields that can be filtered by; Chroma Cloud takes 30"
    assert caught.value.hint == 'declare those that no filter needs as "text", or use another mode of [index]'


def test_without_a_key_answers_are_exact_and_writes_are_kept(
    root: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CHROMA_API_KEY")
    monkeypatch.setattr(semantic, "SMALL", 0)
    with kb.open(root, encoders={"fake": encoder}) as base:
        collection = base.collection()
        collection.upsert(make(collection, "a1"))
        hits = collection.search("article", mode="semantic")
        assert [hit.id for hit in hits] == ["a1"]
        assert hits.report.degraded == (
            "Chroma Cloud wants a key, and the environment has no CHROMA_API_KEY; answered exactly from the catalog"
        )
        monkeypatch.setenv("CHROMA_API_KEY", "ck-very-secret")
        assert collection.search("article", mode="semantic").report.degraded is None
        assert list(base.verify(full=True)) == []


def test_two_knowledge_bases_do_not_write_into_each_others_collections(
    root: Path, encoder: FakeEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kb.open(root, encoders={"fake": encoder}) as base:
        collection = base.collection()
        collection.upsert(make(collection, "a1"))
        assert base.follow(base.stored_collections()[0]).count() == 1
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.toml").write_text((root / "config.toml").read_text())
    with kb.open(other, encoders={"fake": encoder}) as base:
        base.collection().upsert(make(base.collection(), "b1"))
        with pytest.raises(MismatchError, match="was made by another knowledge base or program$"):
            base.follow(base.stored_collections()[0])
        assert [hit.id for hit in base.collection().search("article")] == ["b1"]
    with kb.open(root, encoders={"fake": encoder}) as base:
        assert list(base.verify(full=True)) == []


def test_an_index_that_another_one_has_been_fed_instead_of_is_made_anew(root: Path, encoder: FakeEncoder) -> None:
    with kb.open(root) as base:
        here = CONFIG.replace("articles", next(iter(base.settings.collections)))
    there = (root / "config.toml").read_text()
    for number, text in enumerate((here, there, here, there)):
        (root / "config.toml").write_text(text)
        with kb.open(root, encoders={"fake": encoder}) as base:
            collection = base.collection()
            collection.upsert(make(collection, f"a{number}"))
            collection.delete(f"a{number - 2}")
            assert list(base.verify(full=True)) == []
            with base.catalog.read() as connection:  # type: ignore[union-attr]
                place = cat.index_place(connection, base.stored_collections()[0].generation)
            assert (place == cat.FOLDER_PLACE) is (text == here)


def test_a_restored_backup_does_not_write_into_the_collections_of_the_original(
    root: Path, encoder: FakeEncoder, tmp_path: Path
) -> None:
    with kb.open(root, encoders={"fake": encoder}) as base:
        collection = base.collection()
        collection.upsert(make(collection, "a1"), make(collection, "a2"))
        assert list(base.verify(full=True)) == []
        backed = base.back_up("one")
    restore(backed.path, tmp_path / "new")
    with kb.open(tmp_path / "new", encoders={"fake": encoder}) as base:
        base.collection().delete("a1")
        with pytest.raises(MismatchError, match="was made by another knowledge base or program$"):
            base.follow(base.stored_collections()[0])
        assert [hit.id for hit in base.collection().search("article")] == ["a2"]
    with kb.open(root, encoders={"fake": encoder}) as base:
        assert list(base.verify(full=True)) == []


def test_an_index_on_a_server_is_rebuilt_there(root: Path, encoder: FakeEncoder) -> None:
    with kb.open(root, encoders={"fake": encoder}) as base:
        collection = base.collection()
        collection.upsert(make(collection, "a1"), make(collection, "a2"))
        base.follow(base.stored_collections()[0]).delete(["a1#0"])
        assert [problem.id for problem in base.verify()] == ["a1#0"]
        base.rebuild()
        assert list(base.verify(full=True)) == []


def test_a_purge_of_an_index_on_a_server_leaves_none_of_its_records(root: Path, encoder: FakeEncoder) -> None:
    with kb.open(root, encoders={"fake": encoder}) as base:
        collection = base.collection()
        collection.upsert(make(collection, "a1"), make(collection, "a2"))
        collection.delete("a1")
        base.purge(base.plan_purge("a1"))
        assert base.follow(base.stored_collections()[0]).ids() == {"a2#0"}
        assert list(base.verify(full=True)) == []
    with kb.open(root, encoders={"fake": encoder}) as base:
        assert base.plan_purge().unfinished is None
