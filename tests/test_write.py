"""The write path: what a write decides, embeds, commits and takes back."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import event

import kb
from kb import catalog as cat
from kb.errors import ConflictError, DocumentError, EncoderError, LimitError, NotFoundError, UsageError
from kb.filters import check, parse
from kb.index import Generation, Record
from kb.write import Action, Put
from tests.conftest import CONFIG, FakeEncoder, article, make

PARAGRAPHS = [
    f"{word} one two three four five six seven eight nine ten."
    for word in ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot")
]
NOTES = """
[collections.notes]
model = "fake"
text = "{body}"
chunk_tokens = 16
chunk_overlap = 0

[collections.notes.fields]
body = "text"
"""


@pytest.fixture
def notes(root: Path, encoder: FakeEncoder):
    """A collection with short chunks and nothing but text."""
    (root / "config.toml").write_text(CONFIG + NOTES)
    with kb.open(root, encoders={"fake": encoder}) as base:
        yield base.collection("notes")


def note(notes: kb.Collection, *paragraphs: str, id: str = "n1") -> kb.Document:
    return notes.schema.document({"id": id, "body": "\n\n".join(paragraphs)}, textual=False, separators={})


def generation(collection: kb.Collection) -> Generation:
    base = collection._base
    with base.catalog.read() as connection:
        stored = cat.find_collection(connection, collection.name)
    return base.follow(stored)


def records(collection: kb.Collection) -> dict[str, Record]:
    index = generation(collection)
    return index.get(sorted(index.ids()))


def rows(collection: kb.Collection, sql: str) -> list[tuple[object, ...]]:
    with collection._base.catalog.read() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(sql)]


def vector_bytes(collection: kb.Collection, key: str = "a1") -> list[tuple[object, ...]]:
    return rows(
        collection,
        "SELECT v.id, v.vector FROM documents d JOIN chunks c ON c.document_seq = d.seq"
        f" JOIN vectors v ON v.id = c.vector_id WHERE d.key = '{key}' ORDER BY c.ordinal",
    )


def everything(collection: kb.Collection) -> dict[str, list[tuple[object, ...]]]:
    tables = ("documents", "chunks", "vectors", "revisions", "index_queue", "collections")
    return {table: rows(collection, f"SELECT * FROM {table}") for table in tables}


def found(collection: kb.Collection, text: str, **options: object) -> list[str]:
    return [hit.id for hit in collection.search(text, **options)]


def actions(collection: kb.Collection, key: str = "a1") -> list[tuple[int, str]]:
    return [(entry.revision, entry.action) for entry in collection.history(key)]


@pytest.mark.parametrize(
    ("changes", "action", "embedded"),
    [
        ({}, Action.UNCHANGED, 0),
        ({"rating": 1.0}, Action.FIELDS_ONLY, 0),
        ({"rating": None, "tags": []}, Action.FIELDS_ONLY, 0),
        ({"body": "The body of article a1. "}, Action.FIELDS_ONLY, 0),
        ({"title": "Another"}, Action.UPDATED, 1),
        ({"body": "Another", "rating": 1.0}, Action.UPDATED, 1),
    ],
)
def test_a_write_is_decided_by_fingerprints(articles, encoder, changes, action, embedded):
    assert articles.upsert(make(articles)) == Put((Action.NEW,), 1)
    encoder.texts.clear()
    assert articles.upsert(make(articles, **changes)) == Put((action,), embedded)
    assert len(encoder.texts) == embedded
    assert articles.get("a1") == make(articles, **changes)
    assert articles.entry("a1").revision == (1 if action is Action.UNCHANGED else 2)


def test_an_unchanged_document_leaves_no_trace(articles):
    articles.upsert(make(articles, "a1"), make(articles, "a2"))
    before = everything(articles)
    articles.upsert(make(articles, "a2"), make(articles, "a1"))
    assert everything(articles) == before


def test_the_actions_of_a_batch_are_in_its_order(articles):
    articles.upsert(make(articles, "a1"), make(articles, "a2"), make(articles, "a3"))
    batch = [
        make(articles, "a3", body="new"),
        make(articles, "a4"),
        make(articles, "a1"),
        make(articles, "a2", category="nlp"),
    ]
    put = articles.upsert(*batch)
    assert put == Put((Action.UPDATED, Action.NEW, Action.UNCHANGED, Action.FIELDS_ONLY), 2)
    assert put.counts == cat.Counts(read=4, new=1, updated=1, fields_only=1, unchanged=1, rejected=0, embedded=2)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.zeros((1, 256)), "the model returned a zero vector for text 0 of 1"),
        (np.full((1, 256), np.nan), "the model returned a NaN or infinite vector for text 0 of 1"),
        (np.full((1, 256), np.inf), "the model returned a NaN or infinite vector for text 0 of 1"),
        (np.ones((1, 5)), "the model returned an array of shape (1, 5) where (1, 256) was expected"),
        (np.ones((2, 256)), "the model returned an array of shape (2, 256) where (1, 256) was expected"),
        (np.ones(256), "the model returned an array of shape (256,) where (1, 256) was expected"),
        ("text", "the model returned no array of numbers: could not convert string to float: 'text'"),
        (None, "the model failed on 'quantum'"),
    ],
)
def test_faults_H1_a_failing_model_leaves_the_old_version_searchable(articles, encoder, answer, message):
    articles.upsert(make(articles, "a1", body="old words about glaciers"), make(articles, "a2"))
    before = everything(articles)
    if answer is None:
        encoder.fail_on = "quantum"
    else:
        encoder.broken = answer
    with pytest.raises(EncoderError) as caught:
        articles.update("a1", body="new words about quantum", rating=1.0)
    assert (str(caught.value), caught.value.unchanged) == (message, "nothing was stored")
    encoder.broken = encoder.fail_on = None
    assert everything(articles) == before
    assert articles.get("a1") == make(articles, "a1", body="old words about glaciers")
    assert found(articles, "old words about glaciers", limit=1) == ["a1"]


@pytest.mark.parametrize("error", [MemoryError, TimeoutError, KeyboardInterrupt])
def test_faults_H1_a_model_that_breaks_off_leaves_the_old_version(articles, encoder, monkeypatch, error):
    articles.upsert(make(articles))
    before = everything(articles)

    def break_off(_texts: object) -> None:
        raise error

    monkeypatch.setattr(encoder, "encode_documents", break_off)
    with pytest.raises(error):
        articles.upsert(make(articles, "a1", body="new"), make(articles, "a2"))
    assert everything(articles) == before


def test_faults_G9_vectors_of_any_length_are_stored_at_unit_length(articles, encoder):
    encoder.broken = 7 * encoder.inner.encode_documents(["glaciers"])
    articles.upsert(make(articles, body="glaciers"))
    ((_, stored),) = vector_bytes(articles)
    assert np.linalg.norm(np.frombuffer(stored, "<f4")) == pytest.approx(1, abs=1e-6)


def test_faults_H2_a_missing_document_is_not_updated_or_deleted(articles):
    assert articles.delete("art-9") == []
    with pytest.raises(NotFoundError) as caught:
        articles.update("art-9", rating=1.0)
    assert (str(caught.value), caught.value.hint) == (
        "there is no document 'art-9' in 'articles'",
        "the collection is empty",
    )
    articles.upsert(make(articles, "art-1"), make(articles, "b2"))
    with pytest.raises(NotFoundError) as caught:
        articles.update("art-9", rating=1.0)
    assert (str(caught.value), caught.value.hint) == (
        "there is no document 'art-9' in 'articles'",
        "did you mean 'art-1'?",
    )
    assert caught.value.exit_code == 4
    assert articles.delete("b2", "art-9", "art-1", "b2") == ["b2", "art-1"]
    assert articles.count() == 0


def test_faults_H3_a_change_of_fields_alone_calls_no_model(articles, encoder):
    articles.upsert(make(articles, "a1"), make(articles, "a2"))
    assert found(articles, "body", where="rating < 2") == []
    before, encoder.texts[:] = vector_bytes(articles), []
    encoder.fail_on = ""
    assert articles.update("a1", rating=1.5, tags=["y", "z"]) == Put((Action.FIELDS_ONLY,), 0)
    assert encoder.texts == []
    assert vector_bytes(articles) == before
    assert articles.keys("rating < 2") == found(articles, "body", where="rating < 2") == ["a1"]
    assert records(articles)["a1#0"].metadata == {
        "title": "Title of a1",
        "category": "ml",
        "published": 20240131,
        "tags": ["y", "z"],
        "rating": 1.5,
        "document": "a1",
        "chunk": 0,
    }


def test_faults_H4_a_value_taken_away_is_gone_everywhere(articles):
    articles.upsert(make(articles, author="heron", tags=["x"]), make(articles, "a2", author="wren"))
    assert articles.update("a1", author=None, rating=None, tags=[]) == Put((Action.FIELDS_ONLY,), 0)
    document = articles.get("a1")
    assert (document.author, document.rating, document.tags) == (None, None, [])
    assert articles.keys("author is null") == articles.keys("rating is null") == ["a1"]
    assert articles.keys('author = "heron" or tags has "x" or rating > 0') == ["a2"]
    assert found(articles, "body", where='author = "heron"') == []
    assert records(articles)["a1#0"].metadata == {
        "title": "Title of a1",
        "category": "ml",
        "published": 20240131,
        "document": "a1",
        "chunk": 0,
    }
    assert articles.history("a1")[-1].changed == ("author", "tags", "rating")


def test_faults_F11_a_document_of_nothing_but_text_is_stored_and_found(notes):
    notes.upsert(note(notes, "alpha"))
    assert found(notes, "alpha") == ["n1"]
    assert records(notes)["n1#0"].metadata == {"document": "n1", "chunk": 0}


def test_faults_F13_every_part_of_a_long_text_is_found(notes):
    notes.upsert(note(notes, *PARAGRAPHS), note(notes, "something else", id="n2"))
    for number, paragraph in enumerate(PARAGRAPHS):
        hit = notes.search(paragraph, limit=1)[0]
        assert (hit.id, hit.chunk, hit.text) == ("n1", number, paragraph)
        assert hit.score == pytest.approx(1, abs=1e-5)


def test_equal_texts_share_one_vector(articles, encoder):
    same = {"title": "T", "body": "same"}
    assert articles.upsert(*(make(articles, f"a{n}", **same) for n in range(3))).embedded == 1
    assert articles.upsert(make(articles, "a3", **same)).embedded == 0
    assert encoder.texts == ["T\n\nsame"]
    assert len({number for n in range(4) for number, _ in vector_bytes(articles, f"a{n}")}) == 1
    assert rows(articles, "SELECT count(*) FROM vectors") == [(1,)]


def test_only_chunks_whose_text_changes_are_embedded_again(notes, encoder):
    assert notes.upsert(note(notes, *PARAGRAPHS)).embedded == len(PARAGRAPHS)
    before = vector_bytes(notes, "n1")
    encoder.texts.clear()
    changed = "golf " + PARAGRAPHS[2]
    outcome = notes.upsert(note(notes, *PARAGRAPHS[:2], changed, *PARAGRAPHS[3:]))
    assert outcome == Put((Action.UPDATED,), 1, divided=1, most_chunks=6)
    assert [text.strip() for text in encoder.texts] == [changed]
    after = vector_bytes(notes, "n1")
    assert [n for n in range(len(after)) if after[n] != before[n]] == [2]
    assert {name: record.text.strip() for name, record in records(notes).items()} == {
        f"n1#{n}": text for n, text in enumerate([*PARAGRAPHS[:2], changed, *PARAGRAPHS[3:]])
    }


def test_a_shrinking_document_leaves_no_stale_records(notes, encoder):
    notes.upsert(note(notes, *PARAGRAPHS))
    assert sorted(records(notes)) == [f"n1#{n}" for n in range(len(PARAGRAPHS))]
    encoder.texts.clear()
    notes.upsert(note(notes, *PARAGRAPHS[3:5]))
    assert {name: record.text.strip() for name, record in records(notes).items()} == {
        "n1#0": PARAGRAPHS[3],
        "n1#1": PARAGRAPHS[4],
    }
    assert [hit.chunk for hit in notes.search(PARAGRAPHS[4], limit=1)] == [1]
    assert notes.search(PARAGRAPHS[5], limit=1)[0].score < 0.99
    assert list(notes._base.verify(full=True)) == []


def test_a_document_that_shrinks_twice_before_the_index_follows_leaves_no_stale_records(notes, monkeypatch):
    notes.upsert(note(notes, *PARAGRAPHS))
    with monkeypatch.context() as patch:
        patch.setattr(notes._base, "follow", lambda _stored: None)
        notes.upsert(note(notes, *PARAGRAPHS[:3]))
        notes.upsert(note(notes, *PARAGRAPHS[:1]))
    assert list(records(notes)) == ["n1#0"]


def test_a_deleted_document_is_gone_from_every_answer(articles):
    articles.upsert(make(articles, "a1", body="glaciers"), make(articles, "a2"))
    assert found(articles, "glaciers", limit=1) == ["a1"]
    assert articles.delete("a1") == ["a1"]
    assert found(articles, "glaciers") == articles.keys() == ["a2"]
    assert list(records(articles)) == ["a2#0"]
    with pytest.raises(NotFoundError) as caught:
        articles.get("a1")
    deleted = articles.history("a1")[-1]
    assert str(caught.value) == (
        f"there is no document 'a1' in 'articles': it was deleted at {deleted.at} by {deleted.who}"
    )
    assert caught.value.hint == "kb restore a1"


def test_faults_H6_a_deleted_document_is_restored_with_its_vector(articles, encoder):
    articles.upsert(make(articles, "a1", author="heron"), make(articles, "a2"))
    before, record = vector_bytes(articles), records(articles)["a1#0"]
    articles.delete("a1")
    encoder.texts.clear()
    assert articles.restore("a1") == Put((Action.NEW,), 0)
    assert encoder.texts == []
    assert articles.get("a1") == make(articles, "a1", author="heron")
    assert vector_bytes(articles) == before
    assert records(articles)["a1#0"].metadata == record.metadata
    assert actions(articles) == [(1, "add"), (2, "delete"), (3, "restore")]


def test_faults_H6_a_document_is_set_back_to_a_revision(articles, encoder):
    articles.upsert(make(articles))
    before = vector_bytes(articles)
    articles.update("a1", title="Second", rating=1.0)
    articles.update("a1", rating=2.0)
    encoder.texts.clear()
    assert articles.restore("a1", revision=1) == Put((Action.UPDATED,), 0)
    assert articles.get("a1") == make(articles)
    assert vector_bytes(articles) == before
    assert articles.restore("a1", revision=2).actions == (Action.UPDATED,)
    assert articles.get("a1") == make(articles, title="Second", rating=1.0)
    assert actions(articles) == [(1, "add"), (2, "update"), (3, "fields_only"), (4, "restore"), (5, "restore")]


def test_a_restoration_that_cannot_be_done_changes_nothing(articles):
    with pytest.raises(NotFoundError, match=r"^there is no document 'a1' in 'articles'$"):
        articles.restore("a1")
    articles.upsert(make(articles, "a1"), make(articles, "a2"))
    articles.delete("a1")
    articles.restore("a1")
    articles.delete("a2")
    before = everything(articles)
    with pytest.raises(ConflictError) as caught:
        articles.restore("a2", "a1")
    assert str(caught.value) == "the document 'a1' is not deleted"
    assert caught.value.unchanged == "nothing was restored"
    assert caught.value.hint == "to set it back, name a revision: kb history a1, then kb restore a1 --revision N"
    with pytest.raises(NotFoundError) as caught:
        articles.restore("a1", revision=2)
    assert str(caught.value) == "the document 'a1' has no content at revision 2"
    assert caught.value.hint == "revisions with content: 1, 3"
    with pytest.raises(NotFoundError, match=r"^the document 'a1' has no content at revision 4$"):
        articles.restore("a1", revision=4)
    assert everything(articles) == before


def test_history_says_who_did_what_and_what_changed(articles, monkeypatch):
    monkeypatch.setenv("KB_WHO", "heron")
    articles.upsert(make(articles))
    articles.update("a1", rating=1.0, author="wren")
    monkeypatch.setenv("KB_WHO", "wren")
    articles.update("a1", title="T")
    articles.delete("a1")
    articles.upsert(make(articles, body="B"))
    stored = {name: value for name, value in article().items() if name != "id"}
    second = {**stored, "rating": 1.0, "author": "wren"}
    history = [(e.revision, e.action, e.who, e.job, e.changed, e.fields) for e in articles.history("a1")]
    assert history == [
        (1, "add", "heron", None, (), stored),
        (2, "fields_only", "heron", None, ("rating", "author"), second),
        (3, "update", "wren", None, ("title",), {**second, "title": "T"}),
        (4, "delete", "wren", None, (), None),
        (5, "add", "wren", None, (), {**stored, "body": "B"}),
    ]
    assert articles.entry("a1").revision == 5
    assert [entry.at for entry in articles.history("a1")] == sorted(entry.at for entry in articles.history("a1"))


def test_a_document_added_again_after_deletion_continues_its_revisions(articles):
    articles.upsert(make(articles))
    articles.delete("a1")
    assert articles.add(make(articles, body="again")).actions == (Action.NEW,)
    assert actions(articles) == [(1, "add"), (2, "delete"), (3, "add")]
    assert articles.entry("a1").revision == 3
    with pytest.raises(ConflictError, match=r"^the document 'a1' is not deleted$"):
        articles.restore("a1")


def test_adding_what_exists_is_a_conflict_and_adds_nothing(articles):
    articles.upsert(make(articles, "a2"), make(articles, "a3"))
    before = everything(articles)
    with pytest.raises(ConflictError) as caught:
        articles.add(make(articles, "a1"), make(articles, "a3"), make(articles, "a2"))
    assert str(caught.value) == "the document 'a2' exists already"
    assert (caught.value.unchanged, caught.value.hint) == ("nothing was added", "kb update a2 …")
    assert caught.value.http_status == 409
    assert everything(articles) == before


@pytest.mark.parametrize("write", [kb.Collection.add, kb.Collection.upsert])
def test_a_batch_with_one_invalid_document_writes_nothing(articles, encoder, write):
    bad = make(articles, "a2")
    bad.rating = 6.0
    with pytest.raises(
        DocumentError, match=r"^document 'a2': rating: input should be less than or equal to 5, got 6.0$"
    ):
        write(articles, make(articles, "a1"), bad)
    with pytest.raises(UsageError, match=r"^the document 'a1' is given twice$"):
        write(articles, make(articles, "a1"), make(articles, " a1 "))
    assert (articles.count(), encoder.texts) == (0, [])


def test_a_batch_with_one_text_that_the_model_fails_on_writes_nothing(articles, encoder):
    encoder.fail_on = "a2"
    with pytest.raises(EncoderError):
        articles.upsert(make(articles, "a1"), make(articles, "a2"))
    assert articles.count() == 0
    assert rows(articles, "SELECT count(*) FROM vectors") == [(0,)]


@pytest.mark.parametrize(
    "step", ["insert_vectors", "insert_documents", "replace_chunks", "insert_revisions", "enqueue"]
)
def test_faults_P2_a_commit_that_fails_at_any_step_changes_nothing(articles, monkeypatch, step):
    articles.upsert(make(articles, "a1"))
    before = everything(articles)

    def fail(*_: object, **__: object) -> None:
        raise OSError(step)

    with monkeypatch.context() as patch:
        patch.setattr(cat, step, fail)
        with pytest.raises(OSError, match=step):
            articles.upsert(make(articles, "a1", body="changed"), make(articles, "a2"))
    assert everything(articles) == before
    assert found(articles, "changed", limit=5) == ["a1"]
    assert articles.upsert(make(articles, "a1", body="changed")).actions == (Action.UPDATED,)


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("Cafe\u0301", "Café"),
        ("Café", "Cafe\u0301"),
        (" a1 ", "a1"),
        ("a#1", "a#1"),
        ("a/b?c#d%e", "a/b?c#d%e"),
        ("שלום👍🏽", "שלום👍🏽"),
    ],
)
def test_faults_E18_a_document_is_found_by_its_id_however_it_is_spelled(articles, given, asked):
    articles.upsert(make(articles, given, body="glaciers"), make(articles, "a"))
    assert articles.get(asked).body == "glaciers"
    articles.update(asked, rating=1.0)
    assert articles.entry(asked).revision == len(articles.history(asked)) == 2
    assert len(found(articles, "glaciers")) == 2
    assert len(articles.delete(asked)) == 1
    assert found(articles, "glaciers") == ["a"]


def test_faults_E18_ids_that_differ_in_case_are_different(articles):
    articles.upsert(make(articles, "a"), make(articles, "A"))
    assert articles.keys() == ["A", "a"]


def test_ids_that_look_like_records_of_each_other_do_not_mix(articles):
    articles.upsert(*(make(articles, key) for key in ("a", "a#0", "a#1", "a#0#0")))
    articles.delete("a#0")
    assert sorted(records(articles)) == ["a#0", "a#0#0#0", "a#1#0"]
    assert list(articles._base.verify(full=True)) == []


def test_a_field_may_have_the_name_of_an_argument(root, encoder):
    fields = '[collections.odd]\nmodel = "fake"\n[collections.odd.fields]\nbody = "text"\nkey = "str?"\nself = "str?"\n'
    (root / "config.toml").write_text(fields)
    with kb.open(root, encoders={"fake": encoder}) as base:
        odd = base.collection("odd")
        odd.upsert(odd.schema.document({"id": "a", "body": "B"}, textual=False, separators={}))
        odd.update("a", key="k", self="s")
        assert odd.get("a").__dict__ == {"id": "a", "body": "B", "key": "k", "self": "s"}


def test_a_field_called_updated_is_what_it_is_sorted_by(root, encoder):
    fields = '[collections.odd]\nmodel = "fake"\n[collections.odd.fields]\nbody = "text"\nupdated = "int"\n'
    (root / "config.toml").write_text(fields)
    with kb.open(root, encoders={"fake": encoder}) as base:
        odd = base.collection("odd")
        for key, updated in (("a", 2), ("b", 1)):
            odd.upsert(odd.schema.document({"id": key, "body": key, "updated": updated}, textual=False, separators={}))
        assert [document.id for document in odd.list(sort="updated")] == ["b", "a"]


def test_writing_continues_after_reopening(root, encoder):
    with kb.open(root, encoders={"fake": encoder}) as base:
        base.collection().upsert(make(base.collection(), "a1"), make(base.collection(), "a2"))
    encoder.texts.clear()
    with kb.open(root, encoders={"fake": encoder}) as base:
        articles = base.collection()
        assert articles.upsert(make(articles, "a1"), make(articles, "a2", rating=1.0), make(articles, "a3")) == Put(
            (Action.UNCHANGED, Action.FIELDS_ONLY, Action.NEW), 1
        )
        assert encoder.texts == ["Title of a3\n\nThe body of article a3."]
        assert list(base.verify(full=True)) == []


def test_a_range_filter_uses_the_index_of_its_field(root, tmp_path, encoder):
    lines = [json.dumps(article(f"a{n}", title="T", body="B", rating=n % 50 / 10)) for n in range(1_000)]
    (tmp_path / "many.jsonl").write_text("\n".join(lines))
    with kb.open(root, encoders={"fake": encoder}) as base:
        assert base.collection().import_file(tmp_path / "many.jsonl").counts.new == 1_000
    with kb.open(root, encoders={"fake": encoder}) as base:
        for where in ("rating >= 4.9", "rating in (4.8, 4.9)"):
            assert "INDEX field_1_rating" in plan(base.collection(), where)


def plan(collection: kb.Collection, where: str) -> str:
    condition = cat.compile_condition(1, check(parse(where), collection.schema), collection.schema)
    with collection._base.catalog.read() as connection:
        sql = f"EXPLAIN QUERY PLAN SELECT documents.seq FROM documents WHERE {condition.sql}"
        return str(connection.exec_driver_sql(sql, condition.values).all())


def test_lookups_read_no_whole_table_by_the_statistics_of_a_smaller_one(articles: kb.Collection) -> None:
    """An import of a few rows leaves such statistics; before a join, SQLite then may fill a Bloom filter from all rows."""
    articles.upsert(*(make(articles, f"a{n}") for n in range(10)))
    target = articles.target()
    target.catalog.analyse()
    asked: list[tuple[str, object]] = []
    engine = target.catalog._engine

    @event.listens_for(engine, "before_cursor_execute")
    def remember(_: object, __: object, statement: str, parameters: object, *___: object) -> None:
        if "wanted" in statement:
            asked.append((statement, parameters))

    articles.upsert(*(make(articles, f"b{n}") for n in range(900)))
    event.remove(engine, "before_cursor_execute", remember)
    with target.catalog.read() as connection:
        plans = [
            row.detail
            for statement, parameters in asked
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]
    assert len(asked) >= 3
    assert [plan for plan in plans if "BLOOM" in plan or re.match(r"SCAN (?!wanted|\d+ CONSTANT)", plan)] == []


@pytest.mark.parametrize("error", [LimitError("no space left for the queue"), OSError(28, "No space left on device")])
def test_a_write_that_was_committed_succeeds_whatever_the_index_fails_with(
    base, articles, error, monkeypatch, caplog
) -> None:
    articles.add(make(articles, "a1"))

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(base.indexes, "follow", fail)
    assert articles.add(make(articles, "a2")).actions == (Action.NEW,)
    assert f"{error}; the write is in the catalog" in caplog.text
    assert sorted(entry.id for entry in articles.list()) == ["a1", "a2"]


def test_a_search_for_which_the_index_finds_no_room_is_exact(base, articles, monkeypatch) -> None:
    articles.add(make(articles, "a1"))
    monkeypatch.setattr("kb.search.semantic.SMALL", 0)

    def fail(*_: object) -> None:
        raise LimitError("no space left for the queue")

    monkeypatch.setattr(base.indexes, "catch_up", fail)
    hits = articles.search("body", mode="semantic")
    assert [hit.id for hit in hits] == ["a1"]
    assert hits.report.degraded == "no space left for the queue; answered exactly from the catalog"


def test_the_index_has_fields_that_another_process_has_declared_meanwhile(root, encoder, monkeypatch) -> None:
    with kb.open(root, encoders={"fake": encoder}) as base:
        articles = base.collection("articles")
        articles.add(make(articles, "a1"))
        (before,) = base.stored_collections()
    config = root / "config.toml"
    config.write_text(config.read_text() + 'extra = { type = "str", required = false }\n')
    with kb.open(root, encoders={"fake": encoder}) as base:
        articles = base.collection("articles")
        monkeypatch.setattr(articles, "_follow", lambda _stored: None)
        articles.add(make(articles, "a2", extra="hello"))
        index = base.follow(before)
        assert index.get(["a2#0"])["a2#0"].metadata["extra"] == "hello"
        assert list(base.verify(full=True)) == []
