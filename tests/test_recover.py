"""Row A19: the catalog is gone, there is no backup, and the index gives its documents back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import kb
from kb.catalog import RESTORE
from kb.config import load_settings
from kb.errors import ConflictError, LockedError, NotFoundError, UsageError
from kb.maintain import Recovered, recover
from tests.conftest import CONFIG, ROOT, FakeEncoder, Ran, make


@pytest.fixture
def bereft(root: Path, encoder: FakeEncoder) -> Path:
    """A knowledge base whose catalog is gone."""
    with kb.open(root, encoders={"fake": encoder}) as base:
        articles = base.collection("articles")
        for number in range(5):
            articles.upsert(make(articles, f"a{number}", body=f"All about {number}. " + f"word{number} " * 900))
        articles.update("a1", author="heron", published="2023-12-01")
    (root / ".kb" / "catalog.sqlite3").unlink()
    return root


def rescue(root: Path, file: Path, collection: str | None = None, *, force: bool = False) -> Recovered:
    schemas = {name: one.schema for name, one in load_settings(root, {}).collections.items()}
    return recover(root / ".kb", schemas, collection, file, force=force)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_faults_A19_the_index_gives_back_what_can_be_imported_again(bereft: Path, tmp_path: Path) -> None:
    before = contents(bereft)
    file = tmp_path / "rescued.jsonl"
    assert rescue(bereft, file) == Recovered("articles", 5, (), ())
    after = contents(bereft)
    assert {name: data for name, data in after.items() if not name.endswith("lock")} == {
        name: data for name, data in before.items() if not name.endswith("lock")
    }
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["id"] for row in rows] == ["a0", "a1", "a2", "a3", "a4"]
    assert rows[1] == {
        "id": "a1",
        "title": "Title of a1",
        "body": ("All about 1. " + "word1 " * 900).strip(),
        "category": "ml",
        "published": "2023-12-01",
        "author": "heron",
        "tags": ["x"],
        "rating": 4.5,
    }
    shutil.move(bereft / ".kb", tmp_path / "away")
    with kb.open(bereft, encoders={"fake": FakeEncoder()}) as base:
        assert base.collection("articles").import_file(file).counts.new == 5


def test_faults_A19_the_refusal_names_the_command_and_it_works(
    bereft: Path, tmp_path: Path, run_kb: Callable[..., Ran]
) -> None:
    ran = run_kb("list")
    assert (ran.code, ran.out) == (12, "")
    hint = "without one, kb recover --from-index FILE.jsonl writes what the index has"
    assert ran.err.splitlines()[-1] == f"  {RESTORE}; {hint}"
    file = tmp_path / "rescued.jsonl"
    ran = run_kb("recover", "--from-index", str(file), "--format", "table")
    assert (ran.code, ran.out) == (0, f"wrote 5 documents of articles to {file}\n")
    assert ran.err == f"move {bereft}/.kb away, then: kb import {file}\n"
    assert run_kb("recover", "--from-index", str(file)).code == 1
    assert run_kb("recover", "--from-index", "x.csv").code == 2


def test_prose_that_cannot_be_told_from_the_text_is_named(root: Path, tmp_path: Path, encoder: FakeEncoder) -> None:
    (root / "config.toml").write_text(CONFIG + 'notes = "text?"\n')
    with kb.open(root, encoders={"fake": encoder}) as base:
        base.collection("articles").upsert(make(base.collection("articles"), notes="nowhere else"))
    assert rescue(root, tmp_path / "x.jsonl") == Recovered("articles", 1, (), ("notes",))


def test_what_cannot_be_recovered_is_refused(bereft: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    with pytest.raises(NotFoundError, match="^the index holds no collection 'article'$") as caught:
        rescue(bereft, file, "article")
    assert caught.value.hint == "did you mean 'articles'? valid: articles"
    file.write_text("mine")
    with pytest.raises(ConflictError):
        rescue(bereft, file)
    assert file.read_text() == "mine"
    shutil.rmtree(bereft / ".kb" / "chroma")
    with pytest.raises(NotFoundError, match="^there is no index in "):
        rescue(bereft, file)


def test_several_collections_are_named(bereft: Path, tmp_path: Path, root: Path) -> None:
    import chromadb

    client = chromadb.PersistentClient(str(root / ".kb" / "chroma"))
    client.create_collection("other", embedding_function=None, configuration={"hnsw": {"space": "cosine"}})
    client.close()
    with pytest.raises(UsageError) as caught:
        rescue(bereft, tmp_path / "x.jsonl")
    assert caught.value.hint == "name one with -c: articles, other"
    assert rescue(bereft, tmp_path / "x.jsonl", "articles").documents == 5


def test_an_index_in_use_is_not_copied(root: Path, tmp_path: Path, encoder: FakeEncoder) -> None:
    with kb.open(root, encoders={"fake": encoder}) as base:
        base.collection("articles").upsert(make(base.collection("articles")))
        with pytest.raises(LockedError):
            rescue(root, tmp_path / "x.jsonl")


def test_faults_A20_an_index_that_ends_the_process_does_not_end_the_one_that_recovers(
    bereft: Path, tmp_path: Path, run_kb: Callable[..., Ran]
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "if 'kb.write.preflight' in ' '.join(sys.orig_argv):\n"
        "    os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    before = contents(bereft / ".kb" / "chroma")
    ran = run_kb("recover", "--from-index", str(tmp_path / "out.jsonl"), PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert ran.code == 12
    assert ran.err.splitlines()[:2] == [
        "error: the index cannot be read: reading it ends the process with SIGSEGV",
        "  nothing was written; the index was left as it is",
    ]
    assert contents(bereft / ".kb" / "chroma") == before
    assert not (tmp_path / "out.jsonl").exists()
