"""How the index of words follows the catalog, and what is searched when it cannot."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import kb
from kb import catalog as cat
from kb.errors import ConfigError, DamagedError
from kb.index import Generation, OpenWords, WordIndex
from tests.conftest import CONFIG, ROOT, FakeEncoder, article, make

OWNER = """
import json, sys, kb
from kb.write import Indexes
with kb.open(sys.argv[1]) as base:
    articles = base.collection()
    for raw in json.loads(sys.argv[2]):
        articles.upsert(articles.schema.document(raw, textual=False, separators={}))
    print("ready", flush=True)
    while sys.stdin.readline():
        Indexes.follow_words = lambda self, stored: None
        articles.update("a1", body="tides")
        print("ready", flush=True)
"""
DYING = """
import json, os, sys, kb
from kb.index import WordIndex
replace = WordIndex.replace
def die(self, documents, gone):
    if sys.argv[3] == "after":
        replace(self, documents, gone)
    os._exit(9)
with kb.open(sys.argv[1]) as base:
    articles = base.collection()
    articles.upsert(articles.schema.document(json.loads(sys.argv[2])[0], textual=False, separators={}))
    WordIndex.replace = die
    articles.update("a1", body="tides")
"""


def start(folder: Path, script: str, root: Path, rows: list[dict[str, object]], *more: str) -> subprocess.Popen[str]:
    path = folder / "owner.py"
    path.write_text(script)
    return subprocess.Popen(
        [sys.executable, str(path), str(root), json.dumps(rows), *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    )


@pytest.fixture
def childs_root(root: Path) -> Path:
    """A knowledge base that a child process can open."""
    (root / "config.toml").write_text(CONFIG.replace('"fake"', '"hashing-256"'))
    return root


@pytest.fixture
def reopen(root: Path, encoder: FakeEncoder) -> Callable[[], kb.KnowledgeBase]:
    return lambda: kb.open(root, encoders={"fake": encoder})


def stored(base: kb.KnowledgeBase) -> cat.StoredCollection:
    return base.stored_collections()[0]


def opened(base: kb.KnowledgeBase) -> OpenWords:
    with base.catalog.read() as connection:
        return base.words(stored(base), connection)


def found(base: kb.KnowledgeBase, text: str) -> list[str]:
    index = opened(base).index
    seqs = index.search(index.parse(text), 10).seqs.tolist()
    with base.catalog.read() as connection:
        keys = cat.keys_of(connection, seqs)
    return [keys[seq] for seq in seqs]


def waiting(base: kb.KnowledgeBase) -> dict[str, int]:
    with base.catalog.read() as connection:
        return {target: cat.pending(connection, 1, target) for target in cat.TARGETS}


def folder(root: Path, language: str = "english") -> Path:
    return root / ".kb" / "words" / f"1-{language}"


def failing(*_: object) -> None:
    raise DamagedError("the index of words cannot be written: it is broken")


def test_every_write_is_found_by_its_words(base, articles):
    articles.upsert(make(articles, "a1", body="glaciers"), make(articles, "a2", body="tides"), make(articles, "a3"))
    assert (found(base, "glacier"), found(base, "tide")) == (["a1"], ["a2"])
    articles.update("a1", body="rivers")
    assert (found(base, "glacier"), found(base, "river")) == ([], ["a1"])
    articles.delete("a2")
    assert (found(base, "tide"), opened(base).index.documents) == ([], 2)
    articles.restore("a2")
    assert found(base, "tide") == ["a2"]
    assert waiting(base) == {"vectors": 0, "words": 0}
    assert list(base.verify(full=True)) == []


def test_a_document_that_comes_back_before_the_index_follows_is_found_once(base, articles, monkeypatch):
    articles.upsert(make(articles, "a1", body="glaciers"))
    with monkeypatch.context() as patch:
        patch.setattr(base, "follow", lambda _stored: None)
        articles.delete("a1")
        articles.add(make(articles, "a1", body="glaciers again"))
    assert found(base, "glacier") == ["a1"]
    assert opened(base).index.documents == 1


def test_a_change_of_other_fields_writes_no_words(base, articles, monkeypatch):
    articles.upsert(make(articles, "a1", body="glaciers"))
    monkeypatch.setattr(WordIndex, "replace", failing)
    articles.update("a1", rating=1.0)
    assert waiting(base) == {"vectors": 0, "words": 0}


def test_a_search_of_one_process_leaves_the_lock_alone_unless_something_waits(root, reopen, base, articles):
    articles.upsert(make(articles, "a1", body="glaciers"))
    base.close()
    with reopen() as later:
        assert found(later, "glacier") == ["a1"]
        assert (opened(later).degraded, later.is_owner) == (None, False)
        with later.catalog.write() as connection:
            cat.enqueue_all(connection, 1, cat.WORDS)
        assert (found(later, "glacier"), later.is_owner) == (["a1"], True)
        assert opened(later).degraded is None


def test_a_reader_follows_what_the_owner_has_indexed_and_reads_the_rest_from_the_catalog(tmp_path, childs_root):
    process = start(tmp_path, OWNER, childs_root, [article("a1", body="glaciers"), article("a2", body="rivers")])
    assert process.stdout.readline() == "ready\n"
    with kb.open(childs_root) as base:
        assert (found(base, "glacier"), opened(base).degraded) == (["a1"], None)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n"
        assert waiting(base)["words"] == 1
        assert (found(base, "glacier"), found(base, "tide"), found(base, "river")) == ([], ["a1"], ["a2"])
        seen = opened(base)
        assert seen.degraded == (
            f"the index of words is behind, and owned by {base.other_owner()}; the words were read from the catalog"
        )
        assert opened(base).index is seen.index
        process.communicate()
        assert (found(base, "tide"), opened(base).degraded, base.is_owner) == (["a1"], None, True)
    assert process.returncode == 0


@pytest.mark.parametrize("moment", ["before", "after"])
def test_faults_A2_a_process_that_dies_around_its_commit_of_words_loses_nothing(tmp_path, childs_root, moment):
    process = start(tmp_path, DYING, childs_root, [article("a1", body="glaciers")], moment)
    process.communicate(timeout=60)
    assert process.returncode == 9
    with kb.open(childs_root) as base:
        assert waiting(base) == {"vectors": 0, "words": 0}
        assert (found(base, "glacier"), found(base, "tide")) == ([], ["a1"])
        assert opened(base).index.documents == 1
        assert list(base.verify(full=True)) == []


def test_an_index_that_fails_does_not_keep_the_other_from_following(base, articles, monkeypatch, caplog):
    articles.upsert(make(articles, "a1", body="glaciers"))
    with monkeypatch.context() as patch:
        patch.setattr(WordIndex, "replace", failing)
        articles.update("a1", body="tides")
        assert waiting(base) == {"vectors": 0, "words": 1}
        assert "the index of words cannot be written" in caplog.text
        assert base.stats().collections[0].behind == 1
        seen = opened(base)
        assert (
            seen.degraded == "the index of words cannot be written: it is broken; the words were read from the catalog"
        )
        assert found(base, "tide") == ["a1"]
        assert [(p.code, p.message) for p in base.verify()] == [
            ("index", "the index of words cannot be written: it is broken")
        ]
    with monkeypatch.context() as patch:
        patch.setattr(Generation, "upsert", failing)
        articles.update("a1", body="rivers")
        assert waiting(base) == {"vectors": 1, "words": 0}
    assert list(base.verify(full=True)) == []


def test_a_document_that_the_index_of_words_refuses_is_found_by_halving(base, articles, monkeypatch):
    replace = WordIndex.replace

    def picky(self: WordIndex, documents: Iterator[object], gone: list[str]) -> None:
        documents = list(documents)
        if any("quicksilver" in one.text for one in documents):
            raise DamagedError("no quicksilver here")
        replace(self, documents, gone)

    monkeypatch.setattr(WordIndex, "replace", picky)
    articles.upsert(*(make(articles, f"a{n}", body="quicksilver" if n == 5 else f"text{n}") for n in range(9)))
    assert opened(base).index.documents == 8
    assert [(p.code, p.id, p.message) for p in base.verify()] == [
        ("refused", "a5", "the index of words does not take it: no quicksilver here")
    ]
    articles.update("a5", body="mercury")
    assert found(base, "mercury") == ["a5"]
    articles.update("a5", body="quicksilver again")
    assert found(base, "mercury") == []
    articles.delete("a5")
    assert list(base.verify(full=True)) == []


DAMAGES: dict[str, Callable[[Path], object]] = {
    "folder": shutil.rmtree,
    "segments": lambda path: [file.unlink() for file in path.glob("*.term")],
    "truncated": lambda path: [os.truncate(file, 10) for file in path.glob("*.idx")],
    "emptied": lambda path: [os.truncate(file, 0) for file in path.iterdir() if not file.name.startswith(".")],
    "meta": lambda path: (path / "meta.json").write_text("no json"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_is_built_again_by_the_next_search_or_write(root, reopen, base, articles, damage, caplog):
    articles.upsert(make(articles, "a1", body="glaciers"), make(articles, "a2", body="rivers"))
    base.close()
    for heal in (lambda b: None, lambda b: b.collection().update("a2", body="tides")):
        DAMAGES[damage](folder(root))
        with reopen() as later:
            heal(later)
            assert (found(later, "glacier"), opened(later).degraded) == (["a1"], None)
            assert list(later.verify(full=True)) == []
    assert ("it is built again" in caplog.text) == (damage != "folder")


def test_documents_that_an_index_has_lost_are_noticed_at_the_next_opening(root, reopen, base, articles, caplog):
    articles.upsert(make(articles, "a1", body="glaciers"), make(articles, "a2", body="rivers"))
    opened(base).index.replace((), ["a1"])
    base.close()
    with reopen() as later:
        assert found(later, "glacier") == ["a1"]
        assert list(later.verify()) == []
    assert "the index of words of 'articles' has lost documents; it is built again" in caplog.text


def test_files_that_are_taken_away_from_an_open_index_are_built_again_by_the_next_write(root, base, articles):
    articles.upsert(make(articles, "a1", body="glaciers"))
    shutil.rmtree(folder(root).parent)
    assert found(base, "glacier") == ["a1"]
    articles.upsert(make(articles, "a2", body="rivers"))
    assert (found(base, "glacier"), found(base, "river")) == (["a1"], ["a2"])
    assert list(base.verify(full=True)) == []


def test_where_nothing_can_be_written_a_damaged_index_is_replaced_by_one_in_memory(
    root, reopen, base, articles, monkeypatch
):
    articles.upsert(make(articles, "a1", body="glaciers"))
    base.close()
    (folder(root) / "meta.json").write_text("{")

    def read_only(_storage: Path) -> None:
        raise PermissionError(30, "Read-only file system", "lock")

    monkeypatch.setattr("kb.index.ownership.acquire", read_only)
    with reopen() as later:
        assert found(later, "glacier") == ["a1"]
        assert opened(later).degraded == (
            "[Errno 30] Read-only file system: 'lock'; the words were read from the catalog"
        )


def test_verify_names_what_the_index_of_words_has_wrong(base, articles):
    articles.upsert(*(make(articles, f"a{n}", body="glaciers") for n in range(1, 4)))
    index = opened(base).index
    seq = next(seq for seq, mark in index.marks().items() if index.search(index.parse("a1"), 1).seqs[0] == seq)
    from kb.index import WordRecord

    index.replace([WordRecord("a1", seq, 5, "other"), WordRecord("x", 99, 5, "other")], ["a2"])
    problems = [(p.code, p.collection, p.id, p.message) for p in base.verify(full=True)]
    assert problems == [
        ("record", "articles", "a1", "the index of words holds another version of its text"),
        ("missing", "articles", "a2", "is not in the index of words"),
        ("surplus", "articles", "99", "a document of this number is in the index of words only"),
    ]
    assert [p.code for p in base.verify()] == ["missing", "surplus"]


def with_language(root: Path, language: str) -> None:
    (root / "config.toml").write_text(CONFIG.replace('model = "fake"', f'model = "fake"\nlanguage = "{language}"'))


def test_another_language_is_another_index(root, reopen, base, articles):
    articles.upsert(make(articles, "a1", body="les chevaux"), make(articles, "a2", body="un cheval"))
    assert found(base, "chevaux") == ["a1"]
    recipe = stored(base).recipe
    base.close()
    with_language(root, "french")
    with reopen() as later:
        later.collection()
        assert (stored(later).language, stored(later).recipe) == ("french", recipe)
        assert sorted(found(later, "chevaux")) == ["a1", "a2"]
        assert [path.name for path in folder(root).parent.iterdir()] == ["1-french"]
        later.collection().delete("a1")
        assert list(later.verify(full=True)) == []
    with_language(root, "none")
    with reopen() as later:
        later.collection().update("a2", body="un chevalier")
        assert (found(later, "cheval"), found(later, "chevalier")) == ([], ["a2"])
        assert list(later.verify(full=True)) == []


def test_an_unknown_language_is_refused_with_the_nearest(root, base):
    with_language(root, "englisch")
    with pytest.raises(ConfigError) as caught:
        kb.config.load_settings(root)
    assert str(caught.value) == (
        f"{root / 'config.toml'}: [collections.articles] there are no stems of the language 'englisch'"
    )
    assert caught.value.hint.startswith("did you mean 'english'? valid: none, arabic, danish, ")


class Note(kb.Document):
    body: kb.Text


def test_a_class_says_its_language_where_it_is_declared(reopen, base):
    notes = base.collection("notes", Note, model="fake", language="german")
    notes.upsert(Note(id="a1", body="Häuser"))
    assert stored(base).language == "german"
    assert found(base, "Haus") == ["a1"]
    with pytest.raises(ConfigError, match="^the collection 'more': there are no stems of the language 'klingon'$"):
        base.collection("more", Note, language="klingon")
    base.close()
    with reopen() as later:
        later.collection("notes", Note)
        assert stored(later).language == "german"


def test_former_versions_are_cleared_away_while_writing_goes_on(base, articles):
    articles.upsert(*(make(articles, f"a{n}") for n in range(20)))
    for number in range(25):
        articles.update("a1", body=f"version{number}")
    assert not opened(base).index.is_worn
    assert (found(base, "version24"), found(base, "version23")) == (["a1"], [])
    assert list(base.verify(full=True)) == []
