"""The index: an ordinary Chroma collection that follows the catalog, and the lock that gives it one owner."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

import kb
from kb import catalog as cat
from kb.embed import HashingEncoder
from kb.errors import LockedError, MismatchError
from kb.index import FOLDER, Generation, Ownership, index_value, jittered, record_id
from kb.index.chroma import VectorIndex
from kb.schema import Field, FieldType
from kb.write import inspect
from tests.conftest import CONFIG, ROOT, FakeEncoder, article, make

PLAIN = """
import json, sys, chromadb
from chromadb.config import Settings
client = chromadb.PersistentClient(sys.argv[1], Settings(anonymized_telemetry=False))
collection = client.get_collection("articles-g1", embedding_function=None)
query = json.loads(sys.argv[2])
print(json.dumps({
    "collections": [c.name for c in client.list_collections()],
    "configuration": collection.configuration_json,
    "metadata": collection.metadata,
    "all": collection.get(include=["metadatas", "documents"]),
    "nearest": collection.query(query_embeddings=[query], n_results=1)["ids"],
    "where": collection.query(
        query_embeddings=[query],
        n_results=10,
        where={"$and": [{"published": {"$gte": 20240201}}, {"tags": {"$contains": "y"}}]},
    )["ids"],
}))
"""
OWNER = """
import json, sys, kb
with kb.open(sys.argv[1]) as base:
    articles = base.collection()
    for raw in json.loads(sys.argv[2]):
        articles.upsert(articles.schema.document(raw, textual=False, separators={}))
    print("ready", flush=True)
    sys.stdin.read()
"""
DYING = """
import json, os, sys, kb
from kb.index import Generation
Generation.upsert = lambda self, records: os._exit(9)
with kb.open(sys.argv[1]) as base:
    articles = base.collection()
    articles.upsert(articles.schema.document(json.loads(sys.argv[2])[0], textual=False, separators={}))
"""


class Killed(BaseException):
    """Stands for the end of the process."""


def start(folder: Path, script: str, root: Path, *rows: dict[str, object]) -> subprocess.Popen[str]:
    path = folder / "owner.py"
    path.write_text(script)
    return subprocess.Popen(
        [sys.executable, str(path), str(root), json.dumps(rows)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    )


def configured(folder: Path, text: str = CONFIG) -> Path:
    folder.mkdir()
    (folder / "config.toml").write_text(text.replace('"fake"', '"hashing-256"'))
    return folder


def stored(base: kb.KnowledgeBase) -> cat.StoredCollection:
    with base.catalog.read() as connection:
        return cat.find_collection(connection, "articles")


def pending(base: kb.KnowledgeBase) -> int:
    with base.catalog.read() as connection:
        return cat.pending(connection, 1, cat.VECTORS)


@pytest.fixture(scope="module")
def owned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """A knowledge base that another process owns, and the number of that process."""
    folder = tmp_path_factory.mktemp("owned")
    root = configured(folder / "base")
    process = start(folder, OWNER, root, article("a1", body="glaciers"), article("a2"))
    assert process.stdout.readline() == "ready\n"
    yield root, process.pid
    process.communicate()


def test_any_chroma_client_can_read_the_index(root, encoder, tmp_path):
    with kb.open(root, encoders={"fake": encoder}) as base:
        articles = base.collection()
        articles.upsert(
            make(articles, "a1", body="glaciers melt", published="2024-01-31", tags=["x", "y"]),
            make(articles, "a2", body="tides rise", published="2024-02-29", tags=["y"], author="heron"),
            make(articles, "a3", body="rivers run", published="2024-03-01", tags=[], rating=None),
        )
    query = HashingEncoder().encode_query("Title of a2 tides rise").tolist()
    command = [sys.executable, "-c", PLAIN, str(root / ".kb" / FOLDER), json.dumps(query)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    seen = json.loads(done.stdout)
    assert seen["collections"] == ["articles-g1"]
    assert seen["configuration"]["hnsw"]["space"] == "cosine"
    assert (seen["configuration"].get("embedding_function") or {"type": "legacy"})["type"] == "legacy"
    assert seen["metadata"]["kb:collection"] == "articles"
    assert seen["metadata"]["kb:model"] == "fake"
    common = {"category": "ml", "chunk": 0}
    assert dict(zip(seen["all"]["ids"], seen["all"]["metadatas"], strict=True)) == {
        "a1#0": {
            **common,
            "document": "a1",
            "title": "Title of a1",
            "published": 20240131,
            "tags": ["x", "y"],
            "rating": 4.5,
        },
        "a2#0": {
            **common,
            "document": "a2",
            "title": "Title of a2",
            "published": 20240229,
            "tags": ["y"],
            "rating": 4.5,
            "author": "heron",
        },
        "a3#0": {**common, "document": "a3", "title": "Title of a3", "published": 20240301},
    }
    assert seen["all"]["documents"] == [
        "Title of a1\n\nglaciers melt",
        "Title of a2\n\ntides rise",
        "Title of a3\n\nrivers run",
    ]
    assert seen["nearest"] == seen["where"] == [["a2#0"]]


@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [
        (FieldType.STR, "a", "a"),
        (FieldType.INT, 3, 3),
        (FieldType.FLOAT, 3, 3.0),
        (FieldType.BOOL, False, False),
        (FieldType.DATE, date(33, 4, 3), 330403),
        (FieldType.DATETIME, datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), -1),
        (FieldType.DATETIME, datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), 253402300799999999),
        (FieldType.STR, None, None),
        (FieldType.STR, [], None),
        (FieldType.DATE, [date(2024, 1, 31)], [20240131]),
    ],
)
def test_values_are_kept_in_types_that_chroma_can_compare(kind, value, kept):
    found = index_value(Field("f", kind, many=isinstance(value, list)), value)
    assert found == kept
    assert type(found) is type(kept)


def test_a_foreign_collection_with_another_distance_is_refused(tmp_path):
    index = VectorIndex(tmp_path)
    index._client.create_collection("articles-g1", embedding_function=None)
    with pytest.raises(MismatchError) as caught:
        index.generation("articles-g1", created_by={})
    assert str(caught.value) == "the Chroma collection 'articles-g1' has distance 'l2' and embedding function 'legacy'"
    assert caught.value.unchanged == "nothing was read from it"
    assert caught.value.exit_code == 13
    index.close()


def test_a_generation_is_made_once_and_found_again(tmp_path):
    index = VectorIndex(tmp_path)
    made, is_new = index.generation("gen", created_by={"kb:version": "1"})
    assert is_new
    made._collection.upsert(ids=["a#0"], embeddings=[[1.0, 0.0]])
    found, is_new = index.generation("gen", created_by={"kb:version": "2"})
    assert (found.ids(), is_new) == ({"a#0"}, False)
    index.close()


def test_jitter_is_tiny_deterministic_and_different_for_every_record():
    vector = HashingEncoder().encode_query("same")
    copies = [jittered(vector, record_id("a", n)) for n in range(100)]
    assert (jittered(vector, "a#7") == copies[7]).all()
    assert len({copy.tobytes() for copy in copies}) == 100
    assert all(copy.dtype == np.float32 and abs(np.linalg.norm(copy) - 1) < 1e-6 for copy in copies)
    assert all(0 < np.linalg.norm(copy - vector) <= 0.0011 for copy in copies)


def test_many_equal_texts_do_not_hide_others(articles, base):
    others = [make(articles, f"b{n}", title="other", body=f"word{n} text{n} thing{n}") for n in range(40)]
    same = [make(articles, f"a{n}", title="same", body="same words everywhere") for n in range(150)]
    articles.upsert(*same, *others)
    with base.catalog.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM vectors").scalar_one() == 41
        vectors = cat.chunk_vectors(connection, 1, 256)
    assert len({row.tobytes() for row in vectors.matrix[:150]}) == 1
    index = base.follow(stored(base))
    copies = index.get([record_id(f"a{n}", 0) for n in range(150)])
    assert len({record.vector.tobytes() for record in copies.values()}) == 150
    for n in range(40):
        query = HashingEncoder().encode_query(f"other word{n} text{n} thing{n}")
        assert index.query(query, 1)[0].document == f"b{n}"
    assert (
        articles.search("same words everywhere", limit=3)[2].score == articles.search("same words everywhere")[0].score
    )


def test_text_can_be_kept_out_of_the_index(root, encoder):
    (root / "config.toml").write_text("[index]\nstore_text = false\n" + CONFIG)
    with kb.open(root, encoders={"fake": encoder}) as base:
        articles = base.collection()
        articles.upsert(make(articles, "a1", body="canaryword"))
        articles.update("a1", body="canaryword again")
        assert base.follow(stored(base)).get(["a1#0"])["a1#0"].text is None
        assert articles.search("canaryword")[0].text == "Title of a1\n\ncanaryword again"
        assert list(base.verify(full=True)) == []
    files = [path for path in (root / ".kb" / FOLDER).rglob("*") if path.is_file()]
    assert [path.name for path in files if b"canaryword" in path.read_bytes()] == []
    assert b"canaryword" in (root / ".kb" / cat.FILE_NAME).read_bytes()


def test_the_queue_is_empty_after_every_write(articles, base):
    for write in (
        lambda: articles.upsert(make(articles, "a1"), make(articles, "a2")),
        lambda: articles.update("a1", rating=1.0),
        lambda: articles.delete("a2"),
        lambda: articles.restore("a2"),
    ):
        write()
        assert pending(base) == 0
    assert base.follow(stored(base)).ids() == {"a1#0", "a2#0"}


def test_faults_A2_what_was_committed_is_indexed_at_the_next_opening(root, encoder, monkeypatch):
    with kb.open(root, encoders={"fake": encoder}) as base:
        articles = base.collection()
        articles.upsert(make(articles, "a1"), make(articles, "a2"), make(articles, "a3", body="old"))

        def die(*_: object) -> None:
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(Generation, "upsert", die)
            with pytest.raises(Killed):
                articles.upsert(make(articles, "a4", body="glaciers"), make(articles, "a3", body="new"))
            with pytest.raises(Killed):
                articles.update("a2", rating=1.0)
            with pytest.raises(Killed):
                articles.delete("a1")
        assert pending(base) == 4
    with kb.open(root, encoders={"fake": encoder}) as base:
        assert pending(base) == 0
        index = base.follow(stored(base))
        assert index.ids() == {"a2#0", "a3#0", "a4#0"}
        assert index.query(encoder.encode_query("Title of a4 glaciers"), 1)[0].document == "a4"
        assert base.collection().search("glaciers", limit=1)[0].id == "a4"
        assert list(base.verify(full=True)) == []


def test_faults_A2_a_process_that_dies_after_its_commit_loses_nothing(tmp_path):
    root = configured(tmp_path / "base")
    process = start(tmp_path, DYING, root, article("a1", body="glaciers"))
    process.communicate(timeout=60)
    assert process.returncode == 9
    with kb.open(root) as base:
        assert pending(base) == 0
        assert base.follow(stored(base)).ids() == {"a1#0"}
        assert [hit.id for hit in base.collection().search("glaciers")] == ["a1"]
        assert list(base.verify(full=True)) == []


def test_faults_C1_a_second_writer_is_refused_and_told_who_the_owner_is(owned):
    root, pid = owned
    began = time.monotonic()
    with kb.open(root) as base:
        for write in (
            lambda: base.collection().upsert(make(base.collection(), "a3")),
            lambda: base.collection().delete("a1"),
            base.own,
        ):
            with pytest.raises(LockedError) as caught:
                write()
            message = str(caught.value)
            since = message.rpartition(" since ")[2]
            assert message == (
                f"the knowledge base in {root / '.kb'} is owned by process {pid} on {socket.gethostname()} "
                f"(owner.py) since {since}"
            )
            assert datetime.strptime(since, "%Y-%m-%d %H:%M:%S %Z").replace(tzinfo=UTC) <= datetime.now(UTC)
            assert caught.value.unchanged == "nothing was written"
        assert base.collection().keys() == ["a1", "a2"]
    assert time.monotonic() - began < 10


def test_faults_C1_the_command_line_exits_with_11(owned):
    root, pid = owned
    done = subprocess.run(
        [sys.executable, "-m", "kb", "delete", "a1", "--kb", str(root)],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
        check=False,
    )
    lines = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout) == (11, b"")
    assert lines[0].startswith(f"error: the knowledge base in {root / '.kb'} is owned by process {pid} on ")
    assert lines[1:] == [
        "  nothing was written",
        "  wait until it has finished, or stop it; searching and reading work meanwhile",
    ]


def test_faults_C1_a_second_process_searches_exactly_and_says_so(owned):
    root, pid = owned
    with kb.open(root) as base:
        hits = base.collection().search("glaciers", where="rating > 4")
        assert [hit.id for hit in hits] == ["a1", "a2"]
        assert hits.report.strategy == "exact"
        assert hits.report.degraded.startswith(
            f"the index is owned by process {pid} on {socket.gethostname()} (owner.py)"
        )
        assert hits.report.degraded.endswith("; answered exactly from the catalog")
        assert base.collection().get("a1").body == "glaciers"
        assert base.other_owner().pid == pid


def test_faults_C2_the_lock_of_a_killed_owner_is_free_at_once(tmp_path):
    root = configured(tmp_path / "base")
    process = start(tmp_path, OWNER, root, article("a1"))
    assert process.stdout.readline() == "ready\n"
    with kb.open(root) as base:
        assert base.other_owner().pid == process.pid
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert json.loads((root / ".kb" / "owner.json").read_text())["pid"] == process.pid
        assert base.other_owner() is None
        base.collection().upsert(make(base.collection(), "a2"))
        assert base.collection().search("article").report.degraded is None
        assert list(base.verify(full=True)) == []


def test_processes_that_only_look_do_not_take_each_other_for_owners(tmp_path):
    def look(_: int) -> list[object]:
        ownership = Ownership(tmp_path, inspect)
        return [owner for _ in range(200) if (owner := ownership.other_owner()) is not None]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(look, range(4))) == [[], [], [], []]


@pytest.mark.parametrize(
    "left", ['{"pid": 1, "host": "elsewhere", "command": "kb", "since": "1999"}', "", "{", "[]", '{"pid": 1}']
)
def test_faults_C5_what_an_owner_has_left_behind_locks_nothing(root, encoder, left):
    (root / ".kb").mkdir()
    (root / ".kb" / "owner.json").write_text(left)
    (root / ".kb" / "lock").write_text("held")
    with kb.open(root, encoders={"fake": encoder}) as base:
        base.collection().upsert(make(base.collection()))
        assert json.loads((root / ".kb" / "owner.json").read_text())["pid"] == os.getpid()
    assert not (root / ".kb" / "owner.json").exists()


def test_faults_C6b_one_folder_is_open_once_in_a_process(root, encoder, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(root)
    (tmp_path / "store-link").symlink_to(root / ".kb")
    other = configured(tmp_path / "other", CONFIG.replace(".kb", "../store-link"))
    monkeypatch.chdir(tmp_path)
    with kb.open(root, encoders={"fake": encoder}) as base:
        base.collection().upsert(make(base.collection()))
        for spelled in (root, "base", "./base/../base", tmp_path / "link", other):
            with pytest.raises(LockedError) as caught:
                kb.open(spelled)
            assert str(caught.value) == f"the knowledge base in {root / '.kb'} is open in this process already"
            assert caught.value.hint == "use that object, or close it first"
        assert base.collection().search("article")[0].id == "a1"
    with kb.open(tmp_path / "link", encoders={"fake": FakeEncoder()}) as base:
        assert base.collection().keys() == ["a1"]


def test_what_others_may_not_see_is_private(articles, root):
    articles.upsert(make(articles))
    assert (root / ".kb").stat().st_mode & 0o777 == 0o700
    assert (root / ".kb" / FOLDER).stat().st_mode & 0o777 == 0o700
    assert (root / ".kb" / "lock").stat().st_mode & 0o777 == 0o600


class _Picky:
    """A chromadb collection that refuses a record whose text holds a word."""

    def __init__(self, collection: object, word: str) -> None:
        self.collection, self.word = collection, word

    def upsert(self, **given: object) -> None:
        if any(self.word in text for text in given["documents"]):
            raise ValueError(f"no {self.word} here")
        self.collection.upsert(**given)

    def __getattr__(self, name: str) -> object:
        return getattr(self.collection, name)


def picky(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    plain = Generation.__init__
    monkeypatch.setattr(Generation, "__init__", lambda self, made, index: plain(self, _Picky(made, word), index))


def nine(articles: kb.Collection) -> list[kb.Document]:
    return [make(articles, f"a{n}", body="on quicksilver" if n == 5 else f"this is number {n}") for n in range(9)]


def test_a_batch_that_the_index_refuses_is_halved_until_the_document_is_found(monkeypatch, tmp_path, base, articles):
    picky(monkeypatch, "quicksilver")
    rows = [article(f"a{n}", body="on quicksilver" if n == 5 else f"this is number {n}") for n in range(9)]
    (tmp_path / "articles.json").write_text(json.dumps(rows))
    job = articles.import_file(tmp_path / "articles.json")
    assert (job.status, job.counts.new) == ("done", 9)
    assert job.warnings == (
        "1 document that the vector index does not take, first 'a5' (the vector index cannot be written: "
        "ValueError: no quicksilver here); stored, and compared exactly by every search",
    )
    assert base.index(articles.target().collection).count() == 8
    assert [(p.code, p.id) for p in base.verify()] == [("refused", "a5")]
    assert base.stats().collections[0].behind == 0


def test_a_refused_document_is_found_where_chroma_proposes(monkeypatch, articles):
    monkeypatch.setattr("kb.search.semantic.SMALL", 0)
    picky(monkeypatch, "quicksilver")
    articles.upsert(*nine(articles), *(make(articles, f"b{n}") for n in range(30)))
    hits = articles.search("on quicksilver", limit=3)
    assert (hits[0].id, str(hits.report.strategy)) == ("a5", "chroma")


def test_a_refused_document_is_taken_once_it_is_written_differently(monkeypatch, base, articles):
    picky(monkeypatch, "quicksilver")
    articles.upsert(*nine(articles))
    assert [p.code for p in base.verify()] == ["refused"]
    articles.update("a5", body="on mercury")
    assert list(base.verify(full=True)) == []


def test_an_empty_index_that_refuses_everything_counts_as_damaged(monkeypatch, base, articles, caplog):
    picky(monkeypatch, "")
    articles.upsert(*nine(articles))
    assert "searches are exact until the index is mended" in caplog.text
    assert base.stats().collections[0].behind == 9
    assert len(articles.search("number", limit=3)) == 3
