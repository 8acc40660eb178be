"""Catalogs of earlier releases, and declarations that have changed since the documents were stored."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command

import kb
from kb.catalog.tables import HEAD
from kb.errors import SchemaMismatchError
from tests import legacy
from tests.conftest import CONFIG, FakeEncoder, Ran, article, make

EXPECTED = {
    "documents": "SELECT key, fields, text, fields_hash, text_hash, revision, change FROM documents ORDER BY key",
    "chunks": 'SELECT d.key, c.ordinal, c.start, c."end", v.space, v.text_hash, v.vector FROM chunks c '
    "JOIN documents d ON d.seq = c.document_seq JOIN vectors v ON v.id = c.vector_id ORDER BY 1, 2",
    "vectors": "SELECT space, text_hash, vector FROM vectors ORDER BY space, text_hash",
    "revisions": 'SELECT key, document_seq, revision, action, change, "before" FROM revisions ORDER BY key, revision',
    "collections": "SELECT name, schema, recipe, dimension, fingerprint, change, language FROM collections",
    "generations": "SELECT name, recipe_hash, state FROM generations",
    "queue": "SELECT count(*) FROM index_queue",
    "jobs": "SELECT kind, status, read, new, updated, fields_only, unchanged, rejected, embedded FROM jobs",
    "rejects": "SELECT number, line, reason FROM rejects",
    "indexes": "SELECT name FROM sqlite_master WHERE type = 'index' ORDER BY name",
}


def contents(root: Path) -> dict[str, list[Any]]:
    """Return what a catalog holds, without times and the ids of jobs."""
    with closing(sqlite3.connect(f"file:{root}/.kb/catalog.sqlite3?mode=ro", uri=True)) as database:
        return {name: database.execute(query).fetchall() for name, query in EXPECTED.items()}


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return list(database.iterdump())


def base_in(folder: Path) -> Path:
    (folder / ".kb").mkdir(parents=True)
    (folder / "config.toml").write_text(legacy.CONFIG)
    return folder


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What this release makes of the history that the earlier ones wrote."""
    root = base_in(tmp_path_factory.mktemp("fresh") / "base")
    path = root / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in legacy.ROWS))
    with kb.open(root) as base:
        articles = base.collection()
        articles.import_file(path)
        articles.update("a3", rating=2.0)
        articles.update("a5", body="Other words.")
        articles.delete("a6")
    return root


def answers(root: Path) -> list[Any]:
    with kb.open(root) as base:
        articles = base.collection()
        hits = [articles.search("apples and words", mode=mode, limit=5) for mode in ("semantic", "keyword", "hybrid")]
        return [[(hit.id, hit.score, hit.text, hit.fields) for hit in found] for found in hits] + [
            [(entry.id, entry.document.model_dump(), entry.revision) for entry in articles.entries()],
            [hit.id for hit in articles.search("article", where='author = "heron" and rating = 2')],
        ]


@pytest.mark.parametrize("queued", [False, True], ids=["closed", "killed"])
@pytest.mark.parametrize("revision", legacy.REVISIONS)
def test_faults_D1_D9_a_catalog_of_an_earlier_release_equals_a_fresh_import(
    tmp_path: Path, fresh: Path, revision: str, queued: bool
) -> None:
    root = base_in(tmp_path / "base")
    legacy.write_catalog(root / ".kb", revision, queued=queued)
    with kb.open(root) as base:
        assert list(base.verify(full=True)) == []
    assert contents(root) == contents(fresh)
    assert answers(root) == answers(fresh)
    with kb.open(root) as base:
        articles = base.collection()
        (job,) = base.jobs()
        assert (job.id, str(job.status), job.counts.rejected) == (legacy.JOB, "partial", 1)
        assert [reject.number for reject in base.rejects(job.id)] == [4]
        articles.restore("a6")
        articles.restore("a5", revision=1)
        assert articles.get("a5").body == "The body of article a5."
        plan = base.undo_plan(job.id)
        assert (plan.deleted, plan.conflicts, plan.some) == (5, 1, ("a3",))
        assert list(base.verify(full=True)) == []


@pytest.mark.parametrize("revision", [number for number in legacy.REVISIONS if number >= "0005"])
def test_faults_D1_what_was_judged_is_kept(tmp_path: Path, revision: str) -> None:
    root = base_in(tmp_path / "base")
    legacy.write_catalog(root / ".kb", revision, queued=False)
    with kb.open(root) as base:
        assert [(one.query, one.key, one.relevant) for one in base.collection().judgements()] == [("pears", "a2", True)]


@pytest.mark.parametrize("revision", [number for number in legacy.REVISIONS if number != HEAD])
def test_faults_D1_a_copy_is_made_before_a_catalog_is_migrated(tmp_path: Path, revision: str) -> None:
    root = base_in(tmp_path / "base")
    path = legacy.write_catalog(root / ".kb", revision, queued=True)
    before = dump(path)
    with kb.open(root) as base:
        assert base.collection().count() == 4
    assert dump(root / ".kb" / f"catalog.before-{HEAD}.sqlite3") == before


@pytest.mark.parametrize("revision", [number for number in legacy.REVISIONS if number != HEAD])
def test_faults_D5_an_upgrade_that_fails_leaves_what_the_earlier_release_wrote(
    tmp_path: Path, fresh: Path, revision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = base_in(tmp_path / "base")
    path = legacy.write_catalog(root / ".kb", revision, queued=False)
    before = dump(path)
    upgrade = command.upgrade

    def fail(*arguments: Any) -> None:
        upgrade(*arguments)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", fail)
        with pytest.raises(OSError, match="No space left"):
            kb.open(root)
    assert dump(path) == before
    with kb.open(root) as base:
        assert list(base.verify()) == []
    assert contents(root) == contents(fresh)


@pytest.mark.parametrize("revision", [number for number in legacy.REVISIONS if number != HEAD])
def test_faults_D2_an_earlier_release_refuses_what_has_been_migrated(
    tmp_path: Path, revision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = base_in(tmp_path / "base")
    legacy.write_catalog(root / ".kb", revision, queued=False)
    with kb.open(root) as base:
        base.stats()
    path = root / ".kb" / "catalog.sqlite3"
    before = dump(path)
    monkeypatch.setattr("kb.catalog.migrating.HEAD", revision)
    monkeypatch.setattr("kb.catalog.migrating._known_revisions", lambda: {n for n in legacy.REVISIONS if n <= revision})
    with pytest.raises(kb.errors.NewerCatalogError, match=r" was written by kb .*, which is newer than this kb "):
        kb.open(root)
    assert dump(path) == before


FIELDS = CONFIG.partition("[collections.articles.fields]\n")[2]


def changed(config: str, changes: Mapping[str, str]) -> str:
    for old, new in changes.items():
        assert old in config
        config = config.replace(old, new)
    return config


@pytest.fixture
def stored(root: Path, encoder: FakeEncoder) -> Path:
    with kb.open(root, encoders={"fake": encoder}) as base:
        articles = base.collection()
        articles.upsert(make(articles, "a1"), make(articles, "a2", author="heron"))
    return root


@pytest.mark.parametrize(
    ("changes", "differences"),
    [
        ({'rating = { type = "float", min = 0, max = 5, required = false }\n': ""}, "the field 'rating' is gone"),
        (
            {"author = ": "writer = "},
            "the field 'author' is gone",
        ),
        ({"tags = ": 'editor = "str"\ntags = '}, "the field 'editor' is new and required"),
        ({'"float", min = 0, max = 5': '"int", min = 0, max = 5'}, "the field 'rating' was float and is int"),
        ({'published = "date"': 'published = "str"'}, "the field 'published' was date and is str"),
        ({'"list[str]", separator = ";"': '"str"'}, "the field 'tags' was list[str] and is str"),
        ({'author = { type = "str", required = false }': 'author = "str"'}, "the field 'author' is required now"),
        ({'["ml", "nlp"]': '["ml"]'}, "the field 'category' offers fewer choices"),
        ({"max = 5": "max = 4"}, "the field 'rating' has narrower bounds"),
        (
            {'"{title}\\n\\n{body}"': '"{title}. {body}"'},
            "the text template was '{title}\\n\\n{body}' and is '{title}. {body}'",
        ),
        (
            {"author = ": "writer = ", 'published = "date"': 'published = "datetime"'},
            "the field 'published' was date and is datetime; the field 'author' is gone",
        ),
    ],
)
def test_faults_D8_a_declaration_that_stored_documents_do_not_fit_is_refused(
    stored: Path, changes: dict[str, str], differences: str
) -> None:
    before = dump(stored / ".kb" / "catalog.sqlite3")
    (stored / "config.toml").write_text(changed(CONFIG, changes))
    with (
        kb.open(stored, encoders={"fake": FakeEncoder()}) as base,
        pytest.raises(SchemaMismatchError) as caught,
    ):
        base.collection()
    other = "declare the new one as another collection and import into it"
    if differences.startswith("the text template"):
        other = "make the vectors that it asks for, beside those that serve: kb reembed -c articles"
    assert (str(caught.value), caught.value.unchanged, caught.value.hint) == (
        f"the collection 'articles' was stored under another declaration: {differences}",
        "nothing was changed",
        f"put the declaration back, or {other}",
    )
    assert dump(stored / ".kb" / "catalog.sqlite3") == before


@pytest.mark.parametrize(
    ("changes", "values"),
    [
        ({"tags = ": 'editor = "str?"\ntags = '}, {"editor": "ibis"}),
        ({"tags = ": 'related = "list[str]"\ntags = '}, {"related": ["a2"]}),
        ({'["ml", "nlp"]': '["ml", "nlp", "cv"]'}, {"category": "cv"}),
        ({'category = { type = "str", choices = ["ml", "nlp"] }': 'category = "str"'}, {"category": "else"}),
        ({"min = 0, max = 5": "min = -1, max = 6"}, {"rating": 6.0}),
        ({'published = "date"': 'published = "date?"'}, {"published": None}),
    ],
)
def test_faults_D8_a_wider_declaration_is_taken_over_without_the_model(
    stored: Path, changes: dict[str, str], values: dict[str, Any]
) -> None:
    (stored / "config.toml").write_text(changed(CONFIG, changes))
    encoder = FakeEncoder()
    with kb.open(stored, encoders={"fake": encoder}) as base:
        articles = base.collection()
        assert articles.get("a2").author == "heron"
        articles.update("a1", **values)
        name, value = next(iter(values.items()))
        found = articles.get("a1").model_dump()[name]
        assert found == value
        assert list(base.verify(full=True)) == []
    assert encoder.texts == []


def test_faults_D8_documents_move_to_another_declaration_by_an_export(
    run_kb: Callable[..., Ran], root: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "in.jsonl"
    rows.write_text("".join(json.dumps(article(f"a{n}", author="heron")) + "\n" for n in range(3)))
    assert run_kb("import", str(rows)).code == 0
    assert run_kb("export", "-o", str(tmp_path / "out.jsonl")).code == 0
    config = (root / "config.toml").read_text()
    renamed = FIELDS.replace("author = ", "writer = ").replace('published = "date"', 'published = "str"')
    (root / "config.toml").write_text(
        f'{config}\n[collections.renamed]\nmodel = "hashing-256"\ntext = "{{title}}\\n\\n{{body}}"\n'
        f"[collections.renamed.fields]\n{renamed}"
    )
    ran = run_kb("import", "-c", "renamed", str(tmp_path / "out.jsonl"), "--map", "author=writer", "--format", "json")
    assert (ran.code, json.loads(ran.out)["new"], json.loads(ran.out)["embedded"]) == (0, 3, 0)
    moved = json.loads(run_kb("get", "a1", "-c", "renamed").out)
    assert (moved["fields"]["writer"], moved["fields"]["published"]) == ("heron", "2024-01-31")
    assert run_kb("verify", "--full").code == 0
