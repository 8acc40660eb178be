"""What surrounds a damaged index: crashes that do not come back, the copy in quarantine, rebuilding, verifying."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

import kb
import kb.index.ownership
from kb.cli.main import run
from kb.errors import DamagedError, LimitError, LockedError
from kb.failpoints import VARIABLE
from kb.index.lock import acquire
from kb.index.seal import SEAL, STOPS
from kb.maintain import Problem
from kb.write.inspection import inspect
from tests.conftest import CONFIG, ROOT, FakeEncoder, make

TWO = CONFIG + CONFIG.partition('[storage]\npath = ".kb"\n')[2].replace("collections.articles", "collections.others")

ENDING = """\
import os, signal, sys
import kb
from tests.conftest import make
with kb.open(sys.argv[1]) as base:
    articles = base.collection()
    articles.upsert(make(articles, sys.argv[2], body="glaciers"))
    assert articles.search("glaciers", limit=1)
    os.kill(os.getpid(), getattr(signal, sys.argv[3]))
"""

LEAVING = """\
import sys
import kb
from tests.conftest import make
base = kb.open(sys.argv[1])
articles = base.collection()
articles.upsert(make(articles, "a1"))
"""


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    root = tmp_path / "base"
    root.mkdir()
    (root / "config.toml").write_text(CONFIG.replace('"fake"', '"hashing-256"'))
    return root


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def filled(root: Path, count: int = 30) -> None:
    with kb.open(root) as base:
        articles = base.collection()
        articles.upsert(*(make(articles, f"a{n}", body=f"word{n} glacier") for n in range(count)))


def put_aside(root: Path) -> list[str]:
    return sorted(path.name.rpartition("-")[0] for path in (root / ".kb").glob("quarantine/*"))


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT"])
def test_faults_A20_an_index_that_keeps_ending_the_process_is_not_opened_for_ever(fresh: Path, name: str) -> None:
    for number in range(3):
        done = python(ENDING, str(fresh), f"a{number}", name)
        assert done.returncode == -getattr(signal, name), done.stderr
        assert put_aside(fresh) == []
        assert (fresh / ".kb" / STOPS).exists() == (number > 0)
    with kb.open(fresh) as base:
        articles = base.collection()
        assert sorted(hit.id for hit in articles.search("glaciers")) == ["a0", "a1", "a2"]
        articles.upsert(make(articles, "a3"))
        assert put_aside(fresh) == ["chroma"]
        assert list(base.verify(full=True)) == []
    assert not (fresh / ".kb" / STOPS).exists()


def test_a_process_that_has_lived_for_a_while_did_not_end_because_of_its_index(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(fresh)
    (fresh / ".kb" / STOPS).write_text("1")
    (fresh / ".kb" / SEAL).unlink()
    with kb.open(fresh) as base:
        articles = base.collection()
        articles.upsert(make(articles, "b1"))
        assert (fresh / ".kb" / STOPS).read_text() == "2"
        monkeypatch.setattr(kb.index.ownership, "SURVIVAL_SECONDS", 0)
        articles.upsert(make(articles, "b2"))
        assert not (fresh / ".kb" / STOPS).exists()


def test_a_program_that_ends_without_closing_has_closed_the_index(fresh: Path) -> None:
    done = python(LEAVING, str(fresh))
    assert (done.returncode, done.stderr) == (0, "")
    assert (fresh / ".kb" / SEAL).exists()


def test_an_index_that_has_failed_is_looked_at_before_it_is_opened_again(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(fresh)
    with kb.open(fresh) as base:
        generation = base.follow(base.stored_collections()[0])
        with pytest.raises(DamagedError):
            generation.upsert([kb.index.Record("x#0", make_vector(3), "text", {})])
    assert not (fresh / ".kb" / SEAL).exists()


def make_vector(dimension: int) -> object:
    import numpy as np

    return np.ones(dimension, dtype=np.float32)


CRASH = "import os, signal, sys\nif 'kb.write.preflight' in sys.orig_argv: os.kill(os.getpid(), signal.SIGSEGV)\n"
HANG = "import time, sys\nif 'kb.write.preflight' in sys.orig_argv: time.sleep(100)\n"
FAIL = (
    "import os, sys\nif 'kb.write.preflight' in sys.orig_argv:\n    os.write(2, b'no room for it')\n    os._exit(1)\n"
)


@pytest.mark.parametrize(
    ("code", "damage", "hindrance"),
    [
        (CRASH, "reading it ends the process with SIGSEGV", None),
        (HANG, "it could not be read within 1 seconds", None),
        (FAIL, None, "the process that looked at it ended with 1: no room for it"),
    ],
)
def test_faults_A15_the_look_at_an_index_crashes_or_hangs_alone(
    code: str, damage: str, hindrance: str, fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(fresh)
    (tmp_path / "early").mkdir()
    (tmp_path / "early" / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "early"))
    monkeypatch.setattr("kb.write.inspection.SECONDS", 1)
    monkeypatch.setattr("kb.write.inspection.BYTES_A_SECOND", 10**12)
    lock = acquire(fresh / ".kb")
    try:
        verdict = inspect(fresh / ".kb", lock.descriptor)
    finally:
        lock.release()
    assert (verdict.damage, verdict.hindrance) == (damage, hindrance)


def test_what_hinders_the_look_is_named_and_the_index_left_alone(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(fresh)
    (fresh / ".kb" / SEAL).unlink()
    (tmp_path / "early").mkdir()
    (tmp_path / "early" / "sitecustomize.py").write_text(FAIL)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "early"))
    monkeypatch.setattr("kb.search.semantic.SMALL", 0)
    with kb.open(fresh) as base:
        hits = base.collection().search("word7", mode="semantic", limit=1)
        assert hits[0].id == "a7"
        assert hits.report.degraded == (
            "the vector index was stopped without being closed, and cannot be looked at: the process that looked at it "
            "ended with 1: no room for it; answered exactly from the catalog"
        )
    assert put_aside(fresh) == []


def test_faults_A3_a_large_index_is_not_filled_by_a_search(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(fresh)
    (fresh / ".kb" / "chroma" / "chroma.sqlite3").unlink()
    monkeypatch.setattr("kb.search.semantic.SMALL", 0)
    monkeypatch.setattr("kb.write.indexes.MOST_WAITING", 29)
    monkeypatch.setattr("kb.opened.MOST_WAITING", 29)
    for _ in range(2):
        with kb.open(fresh) as base:
            hits = base.collection().search("word7", mode="semantic", limit=1)
            assert (hits[0].id, str(hits.report.strategy)) == ("a7", "exact")
            assert hits.report.degraded == (
                "the vector index lacks 30 documents: kb rebuild brings it up to date; answered exactly from the catalog"
            )
            assert list(base.verify()) == [
                Problem(
                    "index",
                    "articles",
                    "",
                    "the vector index lacks 30 documents: kb rebuild brings it up to date",
                    "kb rebuild -c articles",
                )
            ]
    with kb.open(fresh) as base:
        base.rebuild()
        assert put_aside(fresh) == ["chroma", "words-1-english"]  # nothing of the new one, which was empty
        assert str(base.collection().search("word7", mode="semantic", limit=1).report.strategy) == "chroma"
        assert list(base.verify(full=True)) == []


def halved(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)


WORD_DAMAGES: dict[str, Callable[[Path], object]] = {
    f"{change.__name__}-{part}": lambda folder, part=part, change=change: [change(p) for p in folder.glob(f"*.{part}")]
    for part in ("idx", "pos", "store", "term", "fast", "fieldnorm", "del")
    for change in (halved, flipped, Path.unlink)
} | {
    "flipped-meta": lambda folder: flipped(folder / "meta.json"),
    "halved-meta": lambda folder: halved(folder / "meta.json"),
    "unlink-meta": lambda folder: (folder / "meta.json").unlink(),
    "undeleted": lambda folder: undelete(folder / "meta.json"),
    "a-file": lambda folder: [shutil.rmtree(folder), folder.write_text("a file")],
}


def undelete(path: Path) -> None:
    import json

    meta = json.loads(path.read_text())
    for one in meta["segments"]:
        one["deletes"] = None
    path.write_text(json.dumps(meta))


@pytest.mark.parametrize("stop", ["clean", "unclean"])
@pytest.mark.parametrize("damage", WORD_DAMAGES)
def test_faults_A3_damage_of_the_index_of_words_is_mended(damage: str, stop: str, fresh: Path, tmp_path: Path) -> None:
    root = fresh
    with kb.open(fresh) as base:
        articles = base.collection()
        articles.upsert(*(make(articles, f"a{n}", body=f"word{n} glacier {n % 3}") for n in range(30)))
        articles.delete("a3", "a5")
        texts = ("word7", "glacier 2", '"word8 glacier"', "word3")
        expected = [[(hit.id, hit.score) for hit in articles.search(t, mode="keyword", limit=5)] for t in texts]
        if stop == "unclean":
            root = tmp_path / "copy"
            shutil.copytree(fresh, root)
    (folder,) = (root / ".kb" / "words").iterdir()
    WORD_DAMAGES[damage](folder)
    for _ in range(2):
        with kb.open(root) as base:
            articles = base.collection()
            found = [[(hit.id, hit.score) for hit in articles.search(t, mode="keyword", limit=5)] for t in texts]
            assert found == expected
            assert list(base.verify(full=True)) == []
    assert put_aside(root) == ["words-1-english"]


def test_faults_B8_an_index_without_the_right_to_write_is_named_and_left_alone(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(fresh)
    chroma = fresh / ".kb" / "chroma"
    # The tests may run as somebody whom no mode keeps out.
    monkeypatch.setattr("kb.index.opening.os.access", lambda path, _mode: path != chroma)
    monkeypatch.setattr("kb.search.semantic.SMALL", 0)
    with kb.open(fresh) as base:
        hits = base.collection().search("word7", mode="semantic", limit=1)
        assert (hits[0].id, hits.report.degraded) == (
            "a7",
            f"the vector index cannot be written to: no right to write {chroma}; answered exactly from the catalog",
        )
    assert put_aside(fresh) == []


# Rebuilding.


@pytest.fixture
def two(root: Path, encoder: FakeEncoder) -> kb.KnowledgeBase:
    (root / "config.toml").write_text(TWO)
    return kb.open(root, encoders={"fake": encoder})


def test_faults_A4_a_rebuild_of_one_collection_leaves_the_others_alone(two: kb.KnowledgeBase, root: Path) -> None:
    with two as base:
        for name in ("articles", "others"):
            collection = base.collection(name)
            collection.upsert(*(make(collection, f"{name}{n}", body=f"word{n}") for n in range(20)))
        stored = {one.name: one for one in base.stored_collections()}
        base.follow(stored["articles"]).delete(["articles3#0"])
        base.follow(stored["others"]).delete(["others3#0"])
        assert [(p.collection, p.id, p.command) for p in base.verify() if p.code == "missing"] == [
            ("articles", "articles3#0", "kb rebuild -c articles"),
            ("others", "others3#0", "kb rebuild -c others"),
        ]
        steps = list(base.rebuild_steps(collection="articles"))
        assert [(s.collection, s.done, s.total) for s in steps] == [
            ("", 0, 40),
            ("articles", 20, 40),
            ("articles", 40, 40),
        ]
        assert [p.collection for p in base.verify() if p.code == "missing"] == ["others"]
        assert put_aside(root) == ["chroma", "words-1-english"]
        base.rebuild()
        assert list(base.verify(full=True)) == []


@pytest.mark.parametrize("place", ["rebuild_put_aside", "rebuild_queued", "rebuild_batch", "rebuild_done"])
def test_faults_A4_a_killed_rebuild_loses_nothing(fresh: Path, place: str) -> None:
    filled(fresh)
    done = python(
        "from kb.cli.main import main; main()", *("rebuild", "--yes", "--kb", str(fresh)), **{VARIABLE: place}
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    with kb.open(fresh) as base:
        assert base.collection().search("word7", limit=1)[0].id == "a7"
        assert list(base.verify(full=True)) == []


def test_faults_B4_a_rebuild_without_room_is_refused_with_figures(
    articles: kb.Collection, base: kb.KnowledgeBase, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    articles.upsert(*(make(articles, f"a{n}") for n in range(20)))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1_000_000))
    assert base.plan_rebuild().bytes_free == 1_000_000
    with pytest.raises(LimitError) as caught:
        base.rebuild()
    assert str(caught.value) == "the new indexes take about 2 MB; 1 MB are free"
    assert caught.value.unchanged == "nothing was moved or built"
    assert put_aside(root) == []


def test_a_rebuild_needs_the_lock_and_no_model(fresh: Path) -> None:
    filled(fresh)
    (fresh / "config.toml").write_text(CONFIG.replace('"fake"', '"not-here"'))
    lock = acquire(fresh / ".kb")
    with kb.open(fresh) as base, pytest.raises(LockedError):
        base.rebuild()
    lock.release()


def test_the_command_asks_shows_the_plan_and_says_where_the_old_files_are(
    fresh: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(fresh)
    assert run(["rebuild", "--kb", str(fresh)]) == 2
    asked = capsys.readouterr().err
    assert asked.startswith(
        "error: this would build the indexes again: 30 documents of articles, about a second and 2 MB"
    )
    assert asked.splitlines()[0].endswith("; the old files are kept; say --yes to do it")
    assert run(["rebuild", "--yes", "--kb", str(fresh)]) == 0
    said = capsys.readouterr().err.splitlines()
    kept = sorted((fresh / ".kb" / "quarantine").iterdir())
    assert said == ["30 documents in new indexes", *(f"the old files are in {path}" for path in kept)]
    assert run(["verify", "--full", "--kb", str(fresh)]) == 0


# Verifying.


def test_verify_names_what_mends_each_difference(base: kb.KnowledgeBase, articles: kb.Collection) -> None:
    articles.upsert(*(make(articles, f"a{n}") for n in range(20)))
    catalog = base.own()
    with catalog.write() as connection:
        connection.exec_driver_sql("UPDATE chunks SET end = end - 1 WHERE document_seq = 1")
    (stored,) = base.stored_collections()
    base.follow(stored).delete(["a2#0"])
    found = {(p.code, p.id): p.command for p in base.verify(full=True)}
    assert found["chunks", "a0"] == "kb backup restore"
    assert found["missing", "a2#0"] == "kb rebuild -c articles"


def test_verify_compares_the_model_and_says_when_it_cannot(root: Path) -> None:
    with kb.open(root, encoders={"fake": FakeEncoder()}) as base:
        base.collection().upsert(make(base.collection()))
    with kb.open(root, encoders={"fake": FakeEncoder(seed=3)}) as base:
        (problem,) = base.verify()
        assert (problem.code, problem.collection, problem.command) == ("model", "articles", "kb reembed -c articles")
    notes: list[str] = []
    with kb.open(root) as base:
        assert list(base.verify(on_note=notes.append)) == []
    (note,) = notes
    assert note.startswith("the model of 'articles' was not compared: ")


def test_verify_compares_vectors_to_the_last_digits(base: kb.KnowledgeBase, articles: kb.Collection) -> None:
    articles.upsert(*(make(articles, f"a{n}", body=f"word{n}") for n in range(5)))
    (stored,) = base.stored_collections()
    index = base.follow(stored)
    record = index.get(["a1#0"])["a1#0"]
    vector = record.vector.copy()
    vector[0] += 1e-4
    index.upsert([kb.index.Record("a1#0", vector, record.text, record.metadata)])
    assert [(p.code, p.id, p.message) for p in base.verify(full=True)] == [
        ("record", "a1#0", "its vector differs from the catalog's")
    ]
    base.rebuild()
    assert list(base.verify(full=True)) == []
