"""Rows H: what is deleted is gone, what is purged is gone from every file, and the disk does not grow for ever."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

import kb
from kb import catalog as cat
from kb import write
from kb.catalog import copy_catalog, rewriting
from kb.embed import HashingEncoder
from kb.file_lock import FileLock
from kb.index import jittered
from kb.maintain.storage import live_bytes
from kb.reembedding import ReembedRequest
from kb.search import VectorCache
from tests.conftest import FakeEncoder, Ran, article, make

SECRET = "quixotic zephyrine"
"""Words that stand in no other document; short, so that no page of SQLite divides all of their occurrences."""

LONG = " ".join(f"word{n % 97}" for n in range(1_500))
"""More than one chunk of the built-in model."""


def storage(root: Path) -> Path:
    return root / ".kb"


def files_with(root: Path, *needles: bytes) -> set[str]:
    """Return the files of the storage, backups excepted, that hold one of the byte strings."""
    return {
        path.relative_to(storage(root)).as_posix()
        for path in storage(root).rglob("*")
        if path.is_file() and path.relative_to(storage(root)).parts[0] != "backups"
        if any(needle in path.read_bytes() for needle in needles)
    }


def pieces(*vectors: np.ndarray) -> list[bytes]:
    """Return parts of vectors as float32 bytes: a whole one may be divided between two pages."""
    return [
        vector[at : at + 4].astype("<f4").tobytes()
        for vector in vectors
        for at in range(0, len(vector) - 4, 4)
        if np.count_nonzero(vector[at : at + 4]) >= 2
    ]


def vectors_of(root: Path) -> dict[str, np.ndarray]:
    """Return the vector of every document's first chunk, by id."""
    with closing(sqlite3.connect(f"file:{storage(root)}/catalog.sqlite3?mode=ro", uri=True)) as database:
        query = (
            "SELECT d.key, v.vector FROM documents d JOIN chunks c ON c.document_seq = d.seq AND c.ordinal = 0"
            " JOIN vectors v ON v.id = c.vector_id"
        )
        return {key: np.frombuffer(blob, dtype="<f4") for key, blob in database.execute(query)}


def fill(articles: kb.Collection, count: int = 30) -> None:
    articles.upsert(*[make(articles, f"d{n}", title=f"title {n}", body=f"plain body number {n}") for n in range(count)])


def found(articles: kb.Collection, query: str) -> list[str]:
    return [hit.id for hit in articles.search(query, limit=5)]


@pytest.fixture
def closed(root: Path, run_kb: Callable[..., Ran]) -> Path:
    """A closed knowledge base of the built-in model: thirty documents, and a deleted one that is a secret."""
    with kb.open(root) as base:
        articles = base.collection()
        fill(articles)
        articles.upsert(make(articles, "secret", title=f"The {SECRET} file", body=f"About the {SECRET} thing."))
        articles.delete("secret")
    return root


def test_faults_H7_a_purged_document_is_in_no_file(base, articles, root, tmp_path):
    fill(articles)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps(article("secret", title=f"The {SECRET} file", body=f"All about the {SECRET} thing.")))
    articles.import_file(rows)  # it takes a sample of the vectors, too
    older = vectors_of(root)["secret"]
    articles.update("secret", body=f"All about the other {SECRET} thing.")
    articles.judge(SECRET, "secret")
    vector = vectors_of(root)["secret"]
    needles = [SECRET.encode(), *pieces(vector, older, jittered(vector, "secret#0"), jittered(older, "secret#0"))]
    assert files_with(root, *needles) >= {"catalog.sqlite3-wal", "chroma/chroma.sqlite3"}
    articles.delete("secret")
    assert files_with(root, *needles) >= {"catalog.sqlite3-wal", "chroma/chroma.sqlite3"}

    plan = base.plan_purge("secret")
    assert (plan.documents, plan.versions, plan.vectors) == ((("articles", ("secret",)),), 2, 2)
    assert (plan.missing, plan.shared, plan.files, plan.jobs, plan.backups) == ((), (), (), 0, ())
    steps = []
    base.purge(plan, progress=steps.append)

    assert [(step.number, step.of, step.what) for step in steps] == [
        (1, 4, "taking the documents out of the catalog"),
        (2, 4, "deleting the files of the index"),
        (3, 4, "writing the catalog anew"),
        (4, 4, "building the index of 'articles' again"),
    ]
    assert files_with(root, *needles) == set()
    assert articles.deleted() == []
    with pytest.raises(kb.errors.NotFoundError, match="there is no document 'secret' in 'articles'"):
        articles.history("secret")
    assert found(articles, "plain body number 7")[0] == "d7"
    assert list(base.verify(full=True)) == []
    assert base.plan_purge().is_empty
    base.close()
    assert files_with(root, *needles) == set()


def test_faults_H7_what_quoted_a_purged_document_goes_or_is_blanked(base, articles, root, tmp_path):
    rows = tmp_path / "rows.jsonl"
    bad = article("secret", title=f"The {SECRET} file", body=f'Most of "it" is the {SECRET} thing.', rating=9)
    rows.write_text(json.dumps(bad) + "\n" + json.dumps(article("fine")))
    job = articles.import_file(rows)
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps(article("else", rating=9)))
    kept = articles.import_file(other)
    with closing(sqlite3.connect(storage(root) / "catalog.sqlite3")) as database, database:
        said = json.dumps([f"it begins with the {SECRET} file, it seems", "harmless"])
        database.execute("UPDATE jobs SET warnings = ?, error = ? WHERE id = ?", (said, "secret: bad", job.id))
        database.execute("UPDATE rejects SET reason = ?", (f"body: The {SECRET} file",))
    articles.upsert(make(articles, "secret", title=f"The {SECRET} file", body=f'Most of "it" is the {SECRET} thing.'))
    articles.delete("secret")
    for path in ("quarantine/chroma-1/data_level0.bin", "catalog.before-0005.sqlite3"):
        (storage(root) / path).parent.mkdir(parents=True, exist_ok=True)
        (storage(root) / path).write_text(f"the {SECRET} file")

    plan = base.plan_purge("secret")
    assert plan.jobs == 2
    assert plan.files == ("quarantine/chroma-1", "catalog.before-0005.sqlite3", f"rejects/{Path(job.rejects).name}")
    base.purge(plan)

    assert files_with(root, SECRET.encode()) == set()
    after = base.job(job.id)
    assert (after.warnings, after.error, after.rejects) == (("(purged)", "harmless"), "(purged)", None)
    assert after.counts == job.counts
    assert [reject.reason for reject in base.rejects(job.id)] == ["(purged)"]
    assert Path(kept.rejects).exists()
    assert base.job(kept.id).rejects == kept.rejects


def test_faults_H7_a_text_that_another_document_has_stays_there_and_is_named(base, articles, root):
    fill(articles, 5)
    same = {"title": f"The {SECRET} file", "body": "One text for two."}
    articles.upsert(make(articles, "secret", **same), make(articles, "public", **same))
    vector = vectors_of(root)["public"]
    copy = pieces(jittered(vector, "secret#0"), jittered(vector, "public#0"))
    articles.delete("secret")
    plan = base.plan_purge("secret")
    assert (plan.shared, plan.vectors) == (("secret",), 0)
    base.purge(plan)
    assert np.array_equal(vectors_of(root)["public"], vector)
    assert files_with(root, *copy) == set()
    assert found(articles, f"{SECRET} file") == ["public"] or found(articles, f"{SECRET} file")[0] == "public"
    assert list(base.verify(full=True)) == []


def test_faults_H7_a_chunk_that_two_documents_share_keeps_its_vector(base, articles, root):
    articles.upsert(
        make(articles, "secret", title="Same", body=f"{LONG} {SECRET}"),
        make(articles, "public", title="Same", body=f"{LONG} something else"),
    )
    chunks = "SELECT count(*) FROM chunks JOIN documents ON seq = document_seq WHERE key = '{}'"
    with closing(sqlite3.connect(storage(root) / "catalog.sqlite3")) as database:
        assert database.execute(chunks.format("secret")).fetchone()[0] > 1
    articles.delete("secret")
    plan = base.plan_purge("secret")
    assert (plan.shared, plan.vectors) == ((), 1)
    base.purge(plan)
    assert files_with(root, SECRET.encode()) == set()
    assert list(base.verify(full=True)) == []


def test_faults_H7_what_hnswlib_writes_beyond_its_records_is_blank(base, articles, root, monkeypatch):
    monkeypatch.setenv("KB_SYNC_THRESHOLD", "10")
    fill(articles)
    articles.delete("d1")
    base.purge(base.plan_purge("d1"))
    (header,) = (storage(root) / "chroma").glob("*/header.bin")
    room, elements, size = struct.unpack_from("<3Q", header.read_bytes(), 12)
    assert 0 < elements <= 29 < room
    assert set(header.with_name("data_level0.bin").read_bytes()[elements * size :]) <= {0}
    assert set(header.with_name("length.bin").read_bytes()[elements * 4 :]) <= {0}
    base.close()
    with kb.open(root, encoders={"fake": FakeEncoder()}) as again:
        assert found(again.collection(), "plain body number 7")[0] == "d7"
        assert list(again.verify(full=True)) == []


@pytest.fixture
def served(root, monkeypatch):
    """A knowledge base whose index is configured to be behind a server."""
    monkeypatch.setenv("KB_INDEX_MODE", "server")
    with kb.open(root, encoders={"fake": FakeEncoder()}) as base:
        yield base


def test_faults_H7_where_others_may_write_a_purge_is_refused_before_it_begins(served):
    articles = served.collection("articles")
    fill(articles, 3)
    articles.delete("d1")
    plan = served.plan_purge("d1")
    for refused in (lambda: served.purge(plan), lambda: served.compact(served.plan_compact())):
        with pytest.raises(kb.errors.LockedError) as caught:
            refused()
        assert caught.value.unchanged == "nothing was changed"
    articles.restore("d1")
    assert articles.get("d1").title == "title 1"


def test_faults_H8_a_collection_that_a_job_of_another_process_writes_to_is_not_deleted(base, articles, root):
    fill(articles, 3)
    (storage(root) / "running").mkdir(exist_ok=True)
    elsewhere = FileLock(storage(root) / "running" / "20240131-1")
    with pytest.raises(kb.errors.ConflictError, match="the job 20240131-1 is running"):
        base.delete_collection("articles")
    elsewhere.release()
    assert base.delete_collection("articles") == 3


def test_faults_H8_a_write_to_a_collection_that_was_deleted_meanwhile_says_so(base, articles):
    fill(articles, 3)
    target = articles.target()
    base.delete_collection("articles")
    with pytest.raises(kb.errors.SupersededError, match="the collection has been deleted meanwhile"):
        write.put(target, [make(articles, "d4")])


def test_faults_H7_only_deleted_documents_are_purged(base, articles):
    fill(articles, 3)
    articles.delete("d1")
    with pytest.raises(kb.errors.ConflictError) as caught:
        base.plan_purge("d1", "d2")
    assert str(caught.value) == "the document 'd2' exists: only deleted documents can be purged"
    assert (caught.value.unchanged, caught.value.hint) == ("nothing was purged", "first: kb delete d2")
    with pytest.raises(kb.errors.NotFoundError) as missing:
        base.plan_purge("d11")
    assert str(missing.value) == "there never was a document 'd11' in 'articles'"
    plan = base.plan_purge("d1", "d11")
    assert (plan.count, plan.missing) == (1, ("d11",))
    articles.restore("d1")
    with pytest.raises(kb.errors.ConflictError, match="the document 'd1' exists"):
        base.purge(plan)
    assert articles.get("d1").title == "title 1"


def test_faults_H7_a_purged_id_can_be_used_again(base, articles):
    fill(articles, 3)
    articles.delete("d1")
    base.purge(base.plan_purge("d1"))
    articles.add(make(articles, "d1", title="new"))
    assert [(entry.revision, entry.action) for entry in articles.history("d1")] == [(1, "add")]
    assert list(base.verify(full=True)) == []


def test_faults_H7_what_was_deleted_lately_is_kept_when_asked_for(base, articles):
    fill(articles, 3)
    articles.delete("d1", "d2")
    assert base.plan_purge(older_than=timedelta(days=1)).is_empty
    assert base.plan_purge(older_than=timedelta(0)).documents == (("articles", ("d1", "d2")),)
    assert base.plan_purge().documents == (("articles", ("d1", "d2")),)


def test_faults_H7_a_cache_that_missed_the_deletion_learns_of_the_purge(base, articles):
    fill(articles, 3)
    stored = base.stored_collections()[0]
    cache = VectorCache(stored.id, stored.dimension)
    with base.catalog.read() as connection:
        cache.refresh(connection)
    query = np.ones(stored.dimension, dtype=np.float32)
    assert len(cache.scan(query).seqs) == 3
    articles.delete("d1")
    base.purge(base.plan_purge("d1"))
    with base.catalog.read() as connection:
        cache.refresh(connection)
    assert len(cache.scan(query).seqs) == 2


def test_faults_H7_the_backups_that_still_hold_a_purged_document_are_named(base, articles, root):
    fill(articles, 3)
    backups = storage(root) / "backups"
    for name in ("early", "late"):
        (backups / name).mkdir(parents=True)
    copy_catalog(storage(root) / "catalog.sqlite3", backups / "early" / "catalog.sqlite3")
    articles.upsert(make(articles, "secret", body=SECRET))
    copy_catalog(storage(root) / "catalog.sqlite3", backups / "late" / "catalog.sqlite3")
    articles.delete("secret")
    before = {path: path.read_bytes() for path in backups.rglob("*") if path.is_file()}
    plan = base.plan_purge("secret")
    assert plan.backups == ("late",)
    base.purge(plan)
    assert {path: path.read_bytes() for path in backups.rglob("*") if path.is_file()} == before


def test_faults_H7_another_process_that_reads_keeps_the_log_and_is_named(base, articles, root, monkeypatch):
    monkeypatch.setattr(rewriting, "_BUSY_SECONDS", 0.1)
    fill(articles, 3)
    articles.upsert(make(articles, "secret", body=SECRET))
    articles.delete("secret")
    with closing(sqlite3.connect(storage(root) / "catalog.sqlite3", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM documents").fetchone()
        with pytest.raises(kb.errors.LockedError, match="another process has been reading"):
            base.purge(base.plan_purge("secret"))
        assert found(articles, "plain body number 1")[0] == "d1"
    plan = base.plan_purge()
    assert (plan.count, plan.is_empty) == (0, False)
    base.purge(plan)
    assert files_with(root, SECRET.encode()) == set()
    assert base.plan_purge().is_empty


@pytest.mark.parametrize(
    "step", ["purge_before", "purge_catalog", "purge_files", "purge_rewritten", "purge_index", "purge_blanked"]
)
def test_faults_H7_A4_a_killed_purge_is_named_and_finished(step, closed, run_kb, caplog):
    needles = [SECRET.encode(), *pieces(jittered(HashingEncoder().encode_documents([f"The {SECRET} file"])[0], "x"))]
    killed = run_kb("purge", "secret", "--yes", KB_FAILPOINT=step)
    assert killed.code == -signal.SIGKILL
    caplog.clear()
    with kb.open(closed) as base:
        articles = base.collection()
        assert ("was interrupted; kb purge finishes it" in caplog.text) == (step != "purge_before")
        assert found(articles, "plain body number 7")[0] == "d7"
        assert "secret" not in found(articles, f"{SECRET} file")
        assert list(base.verify(full=True)) == []
    # What was interrupted has been confirmed, and is not asked again.
    again = run_kb("purge", *(["secret", "--yes"] if step == "purge_before" else []), "--format", "table")
    assert again.code == 0, again.err
    done = "purged 1 document" if step == "purge_before" else "finished the purge that was interrupted"
    assert again.out.splitlines()[0] == done
    assert files_with(closed, *needles) == set()
    with kb.open(closed) as base:
        assert found(base.collection(), "plain body number 7")[0] == "d7"
        assert list(base.verify(full=True)) == []
        assert base.plan_purge().is_empty


def test_faults_H7_H12_the_command_says_what_goes_and_a_dry_run_changes_nothing(closed, run_kb):
    before = {path: path.read_bytes() for path in storage(closed).rglob("*") if path.is_file()}
    planned = run_kb("purge", "--deleted", "--dry-run", "--format", "json")
    assert {path: path.read_bytes() for path in storage(closed).rglob("*") if path.is_file()} == before
    said = json.loads(planned.out)
    assert (said["purged"], said["ids"], said["versions"], said["vectors"]) == (1, ["secret"], 1, 1)
    assert (said["dry_run"], said["bytes_after"]) == (True, None)
    refused = run_kb("purge", "--deleted")
    assert (refused.code, refused.err.splitlines()[-2:]) == (
        2,
        ["error: there is no way back from this; say --yes to do it", "  kb purge --help shows how"],
    )
    done = run_kb("purge", "--deleted", "--yes", "--format", "table")
    assert done.code == 0
    assert done.out.startswith("purged 1 document\nthe storage took ")
    assert done.err.splitlines()[0] == "1 document of articles: secret"
    nothing = run_kb("purge")
    assert (nothing.code, nothing.err) == (
        2,
        "error: name what to purge: ID... or --deleted\n  kb purge --help shows how\n",
    )
    assert run_kb("purge", "--deleted", "--format", "table").out == "nothing to purge\n"
    assert run_kb("purge", "d1").code == 1
    assert run_kb("purge", "nobody").code == 4


def test_faults_H8_a_deleted_collection_leaves_nothing_behind(root, encoder):
    config = (root / "config.toml").read_text()
    (root / "config.toml").write_text(config + config.partition('path = ".kb"\n')[2].replace("articles", "drafts"))
    with kb.open(root, encoders={"fake": encoder}) as base:
        articles, drafts = base.collection("articles"), base.collection("drafts")
        fill(articles)
        fill(drafts, 50)
        drafts.search("plain")
        assert base.delete_collection("drafts") == 50
        assert [one.name for one in base.stored_collections()] == ["articles"]
        assert [path.name for path in (storage(root) / "words").iterdir()] == ["1-english"]
        assert found(articles, "plain body number 7")[0] == "d7"
        assert list(base.verify(full=True)) == []
        assert base.plan_gc().rubbish == ()
        with closing(sqlite3.connect(storage(root) / "catalog.sqlite3")) as database:
            tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            owned = [
                t for t in tables if "collection_id" in str(database.execute(f"PRAGMA table_info({t})").fetchall())
            ]
            assert len(owned) >= 8
            assert {
                row[0] for table in owned for row in database.execute(f"SELECT DISTINCT collection_id FROM {table}")
            } <= {1}
            assert database.execute("SELECT name FROM sqlite_master WHERE name LIKE 'field_2%'").fetchall() == []
        with pytest.raises(kb.errors.NotFoundError, match="nothing is stored of a collection 'drafts'"):
            base.delete_collection("drafts")
        assert drafts.search("plain").hits == () or len(drafts.search("plain")) == 0
        fill(drafts, 2)
        assert found(drafts, "plain body number 1")[0] == "d1"
        assert list(base.verify(full=True)) == []
    with closing(sqlite3.connect(storage(root) / "chroma" / "chroma.sqlite3")) as database:
        kept = {row[0] for row in database.execute("SELECT id FROM segments")}
        assert {path.name for path in (storage(root) / "chroma").iterdir() if path.is_dir()} <= kept
        assert database.execute("SELECT count(*) FROM embeddings").fetchone() == (32,)


def test_faults_H8_deleting_a_collection_must_be_confirmed(closed, run_kb):
    refused = run_kb("collections", "delete", "articles")
    assert refused.code == 2
    assert refused.err.startswith("error: this would delete 'articles' with 30 documents; say --yes to do it\n")
    done = run_kb("collections", "delete", "articles", "--yes", "--format", "json")
    assert (done.code, json.loads(done.out)) == (0, {"collection": "articles", "documents": 30, "dry_run": False})
    assert done.err.splitlines()[0] == (
        "config.toml still declares 'articles': take [collections.articles] out to be rid of it"
    )
    assert json.loads(run_kb("collections").out)["documents"] == 0
    assert run_kb("collections", "delete", "article", "--yes").code == 4


def test_faults_H9_the_disk_is_bounded_after_a_hundred_cycles(base, articles, root):
    fill(articles, 20)
    base.compact(base.plan_compact())
    first = live_bytes(storage(root))
    for cycle in range(100):
        some = [make(articles, f"c{n}", title=f"cycle {cycle}", body=f"body {n} {LONG[:400]}") for n in range(20)]
        articles.upsert(*some)
        articles.delete(*(document.id for document in some))
    churned = live_bytes(storage(root))
    plan = base.plan_compact()
    assert plan.rebuilds
    assert (plan.gc.vectors, plan.chunks) == (2_000, 20)
    done = base.compact(plan)
    assert done.bytes_before >= churned > 2 * first
    # What the revisions of two thousand deleted documents take is kept: they can be restored.
    base.purge(base.plan_purge())
    assert live_bytes(storage(root)) < 1.2 * first
    assert found(articles, "plain body number 7")[0] == "d7"
    assert list(base.verify(full=True)) == []
    assert not base.plan_compact().rebuilds


@pytest.mark.parametrize(
    "step",
    ["compact_before", "compact_generations", "compact_vectors", "compact_files", "compact_rewritten", "compact_index"],
)
def test_faults_H9_a_killed_compaction_is_finished_by_the_next(step, closed, run_kb):
    with kb.open(closed) as base:
        articles = base.collection()
        for turn in range(22):
            articles.upsert(*[make(articles, f"c{n}", body=f"turn {turn} of {n}") for n in range(50)])
        articles.delete(*(f"c{n}" for n in range(50)))
        assert base.plan_compact().rebuilds
    assert run_kb("compact", KB_FAILPOINT=step).code == -signal.SIGKILL
    with kb.open(closed) as base:
        assert found(base.collection(), "plain body number 7")[0] == "d7"
        assert list(base.verify(full=True)) == []
    again = run_kb("compact", "--format", "json")
    assert again.code == 0, again.err
    with kb.open(closed) as base:
        assert found(base.collection(), "plain body number 7")[0] == "d7"
        assert list(base.verify(full=True)) == []
        plan = base.plan_compact()
        assert (plan.rebuilds, plan.gc.is_empty) == (False, True)


def test_faults_H9_garbage_is_what_nobody_needs_and_nothing_else(base, articles, root):
    fill(articles, 5)
    articles.delete("d1")
    folder = storage(root)
    old, orphan = "catalog.new", "chroma/01234567-89ab-cdef-0123-456789abcdef"
    for path in (old, "young.part", f"{orphan}/header.bin", "words/77-english/meta.json"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"12345")
    (folder / "quarantine" / "chroma-1").mkdir(parents=True)
    (folder / "quarantine" / "chroma-1" / "x").write_bytes(b"12345678")
    os.utime(folder / old, (0, 0))

    plan = base.plan_gc()
    assert [(one.path, one.bytes, one.what) for one in plan.rubbish] == [
        (orphan, 5, "files of a Chroma collection that is no more"),
        ("words/77-english", 5, "an index of words of no collection"),
        (old, 5, "left half made or half deleted"),
    ]
    assert (plan.vectors, plan.kept) == (1, 8)
    before = live_bytes(folder)
    base.gc(plan)
    assert before > 0
    assert not any((folder / one.path).exists() for one in plan.rubbish)
    assert (folder / "young.part").exists()
    assert base.plan_gc().is_empty
    everything = base.plan_gc(older_than=timedelta(0))
    assert [one.path for one in everything.rubbish] == ["quarantine/chroma-1"]
    base.gc(everything)
    assert list((folder / "quarantine").iterdir()) == []
    articles.restore("d1")
    assert found(articles, "plain body number 1")[0] == "d1"
    assert list(base.verify(full=True)) == []


@pytest.fixture
def promoted(base, articles, encoder) -> kb.Collection:
    """A collection that another model serves; the generation before it could be brought back."""
    base._encoders["other"] = FakeEncoder(model="other", seed=1)
    fill(articles, 5)
    articles.upsert(make(articles, "secret", title=f"The {SECRET} file", body="It."))
    articles.reembed(ReembedRequest(model="other"))
    articles.promote()
    return articles


def test_faults_H9_gc_drops_the_generations_that_have_served(base, promoted, root):
    before = base.plan_gc()
    assert (before.generations, before.strays, before.vectors) == (("articles-g1",), (), 6)
    base.gc(before)
    assert base.plan_gc().is_empty
    assert base.indexes.generation_names() == ["articles-g2"]
    assert found(promoted, "plain body number 3")[0] == "d3"
    assert list(base.verify(full=True)) == []


def test_faults_H9_a_chroma_collection_that_the_catalog_has_forgotten_goes(base, promoted, root):
    with base.catalog.write() as connection:
        cat.drop_generation(connection, cat.retired(connection, 1)[0].id)
    plan = base.plan_gc()
    assert (plan.generations, plan.strays) == ((), ("articles-g1",))
    base.gc(plan)
    assert base.indexes.generation_names() == ["articles-g2"]
    assert base.plan_gc().is_empty


def test_faults_H7_a_purged_document_is_in_no_former_generation_either(base, promoted, root):
    with closing(sqlite3.connect(storage(root) / "catalog.sqlite3")) as database:
        blobs = database.execute(
            "SELECT vector FROM vectors v JOIN (SELECT vector_id, document_seq FROM chunks UNION ALL"
            " SELECT vector_id, document_seq FROM other_chunks) ON vector_id = v.id"
            " JOIN documents d ON d.seq = document_seq WHERE key = 'secret'"
        ).fetchall()
    needles = [SECRET.encode(), *pieces(*(np.frombuffer(blob, dtype="<f4") for (blob,) in blobs))]
    assert len(blobs) == 2
    promoted.delete("secret")
    base.purge(base.plan_purge("secret"))
    assert files_with(root, *needles) == set()
    promoted.rollback()
    assert found(promoted, "plain body number 3")[0] == "d3"
    assert list(base.verify(full=True)) == []


def test_faults_H9_H12_gc_and_compact_say_what_they_would_do(closed, run_kb):
    before = {path: path.read_bytes() for path in storage(closed).rglob("*") if path.is_file()}
    planned = json.loads(run_kb("gc", "--dry-run", "--format", "json").out)
    assert (planned["vectors"], planned["vector_bytes"], planned["files"]) == (1, 1024, [])
    would = json.loads(run_kb("compact", "--dry-run", "--format", "json").out)
    assert (would["vectors"], would["chunks"], would["rebuilds_index"]) == (1, 30, False)
    assert {path: path.read_bytes() for path in storage(closed).rglob("*") if path.is_file()} == before
    assert run_kb("gc", "--format", "table").code == 0
    assert run_kb("gc", "--format", "table").out == "nothing to delete\n"
    assert run_kb("gc", "--older-than", "soon").err.startswith(
        "error: Invalid value for '--older-than': 'soon' is no length of time: write 12h, 30d or 2w\n"
    )
    assert run_kb("compact", "--format", "table").code == 0


def test_faults_H7_a_purge_does_not_begin_where_a_link_keeps_files_elsewhere(base, articles, root, tmp_path):
    articles.upsert(make(articles, "d1", body=SECRET), make(articles, "d2"))
    articles.delete("d1")
    base.close()
    moved = tmp_path / "elsewhere"
    (storage(root) / "chroma").rename(moved)
    (storage(root) / "chroma").symlink_to(moved)
    with kb.open(root, encoders={"fake": FakeEncoder()}) as again:
        with pytest.raises(
            kb.errors.ConflictError, match="chroma is a link: the files that it leads to would be left$"
        ) as caught:
            again.purge(again.plan_purge("d1"))
        assert caught.value.unchanged == "nothing was purged"
        assert again.plan_purge().unfinished is None
        assert [one.id for one in again.collection("articles").deleted()] == ["d1"]
