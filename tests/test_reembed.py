"""Another generation of a collection: built, compared, promoted, taken back."""

from __future__ import annotations

import json

import pytest

import kb
from kb import catalog as cat
from kb.catalog import JobStatus
from kb.errors import ConflictError, UsageError
from kb.reembedding import ReembedRequest
from tests.conftest import FakeEncoder, make


@pytest.fixture
def other() -> FakeEncoder:
    """A model of the same dimension that puts everything elsewhere."""
    return FakeEncoder(model="other", seed=7)


@pytest.fixture
def base(root, encoder, other):
    with kb.open(root, encoders={"fake": encoder, "other": other}) as opened:
        yield opened


@pytest.fixture
def filled(articles):
    articles.upsert(*(make(articles, f"a{n}", body=f"The body of number {n}.") for n in range(12)))
    return articles


OTHER = ReembedRequest(model="other")


def ids(collection, text="number 3"):
    return [hit.id for hit in collection.search(text, mode="semantic")]


def clean(base):
    return list(base.verify(full=True))


def test_another_model_is_built_beside_the_one_that_serves_then_promoted(base, filled, encoder, other):
    before = ids(filled)
    job = filled.reembed(OTHER)
    assert (job.kind, job.status, job.counts.read, job.counts.unchanged, job.counts.embedded) == (
        *("reembed", JobStatus.DONE, 12, 12, 12),
    )
    assert len(other.texts) == 12
    assert filled.search("x").model == "fake"
    status = filled.generations()
    assert [(one.generation.name, one.generation.state, one.waiting) for one in status] == [
        ("articles-g1", "active", 0),
        ("articles-g2", "building", 0),
    ]
    assert status[1].gate is not None
    assert (status[1].gate.queries, status[1].gate.overlap) == (12, 1.0)
    promoted = filled.promote()
    assert (promoted.name, promoted.state) == ("articles-g2", "active")
    assert filled.search("number 3").model == "other"
    assert ids(filled) == before
    assert other.queries[-1] == "number 3"
    assert clean(base) == []


def test_a_vector_is_never_computed_twice(base, filled, encoder, other):
    first = len(encoder.texts)
    filled.reembed(OTHER)
    filled.discard()
    filled.reembed(OTHER)
    filled.promote()
    filled.update("a3", body="Something new.")
    assert len(other.texts) == 13
    filled.rollback()
    assert len(encoder.texts) == first + 1
    assert filled.reembed(OTHER).counts.embedded == 0
    assert len(other.texts) == 13
    assert len(other.texts) == len(set(other.texts))
    assert clean(base) == []


def test_what_is_written_meanwhile_goes_to_both(base, filled, encoder, other, monkeypatch):
    monkeypatch.setattr("kb.write.generation.BATCH", 5)
    steps = filled.reembed_steps(OTHER)
    for _ in range(3):
        next(steps)
    filled.update("a0", body="Changed while the new one was built.")
    filled.delete("a1", "a11")
    filled.upsert(make(filled, "b1", body="Added while the new one was built."))
    assert "b1" in ids(filled, "added while")
    job = [step.job for step in steps][-1]
    assert job.status is JobStatus.DONE
    filled.update("a2", rating=1.0)
    filled.delete("a4")
    filled.upsert(make(filled, "b2", body="Added before the switch."))
    filled.promote()
    assert filled.keys() == sorted([*(f"a{n}" for n in range(12) if n not in (1, 4, 11)), "b1", "b2"])
    assert ids(filled, "Added before the switch.")[0] == "b2"
    assert ids(filled, "Changed while the new one was built.")[0] == "a0"
    assert [d.id for d in filled.list("rating = 1.0")] == ["a2"]
    assert clean(base) == []
    filled.update("a5", body="Changed after the switch.")
    filled.delete("a6")
    filled.rollback()
    assert ids(filled, "Changed after the switch.")[0] == "a5"
    assert filled.count('title = "Title of a6"') == 0
    assert clean(base) == []


def test_an_import_that_goes_on_meanwhile_goes_to_both(base, filled, other, tmp_path, monkeypatch):
    monkeypatch.setattr("kb.write.generation.BATCH", 5)
    row = {"title": "t", "category": "ml", "published": "2024-01-01"}
    rows = [row | {"id": f"z{n}", "body": f"imported as {n}"} for n in range(150)]
    rows += [row | {"id": "a1", "body": "replaced by the import"}]
    file = tmp_path / "more.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in rows))
    importing, building = filled.import_steps(kb.ImportRequest((str(file),))), filled.reembed_steps(OTHER)
    next(importing)
    for _ in range(4):
        next(building)
    next(importing)
    assert [step.job.status for step in building][-1] is JobStatus.DONE
    assert [step.job.status for step in importing][-1] is JobStatus.DONE
    filled.promote()
    assert (filled.count(), filled.search("imported").model) == (162, "other")
    assert ids(filled, "t replaced by the import")[0] == "a1"
    assert clean(base) == []
    filled.rollback()
    assert ids(filled, "t replaced by the import")[0] == "a1"
    assert clean(base) == []


def test_a_document_that_is_written_while_its_batch_is_embedded_is_taken_over_again(base, filled, other, monkeypatch):
    encode = other.encode_documents

    def interrupted(texts):
        monkeypatch.setattr(other, "encode_documents", encode)
        filled.update("a3", body="Written in between.")
        filled.delete("a4")
        return encode(texts)

    monkeypatch.setattr(other, "encode_documents", interrupted)
    filled.reembed(OTHER)
    filled.promote()
    assert ids(filled, "Written in between.")[0] == "a3"
    assert len(filled.keys()) == 11
    assert clean(base) == []


def test_a_sample_is_compared_and_stores_nothing(base, filled, other):
    path = base.settings.storage / "catalog.sqlite3"
    before = dump(path)
    gate = filled.try_reembed(OTHER, 5)
    assert (gate.documents, gate.queries, gate.judged, gate.overlap) == (5, 5, False, 1.0)
    assert len(other.texts) == 5
    assert dump(path) == before
    with pytest.raises(UsageError, match="at least 1 document"):
        filled.try_reembed(OTHER, 0)


def dump(path):
    import sqlite3

    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def test_judged_queries_tell_how_good_both_are(base, filled):
    filled.upsert(make(filled, "c1", title="Cheese", body="Milk."), make(filled, "c2", title="Milk", body="Cheese."))
    filled.judge("cheese", "c1")
    job = filled.reembed(ReembedRequest(template="{title}"))
    gate = filled.generations()[-1].gate
    assert job.counts.embedded == 14
    assert (gate.queries, gate.judged, gate.documents) == (1, True, 14)
    assert (gate.ndcg_after, gate.rank_change >= 0) == (1.0, True)
    assert 0 < gate.ndcg_before <= 1


def test_another_template_changes_texts_chunks_and_words_and_back(base, filled):
    filled.upsert(make(filled, "long", body=" ".join(f"word{n}" for n in range(90))))
    request = ReembedRequest(template="{title} by {author}", chunk_tokens=16, chunk_overlap=4)
    filled.update("a1", author="Heron")
    filled.reembed(request)
    assert [hit.id for hit in filled.search("heron", mode="keyword")] == []
    filled.promote()
    assert [hit.id for hit in filled.search("heron", mode="keyword")] == ["a1"]
    assert [hit.id for hit in filled.search("word7", mode="keyword")] == []
    assert filled.entry("a1").text == "Title of a1 by Heron"
    assert filled.schema.template.source == "{title} by {author}"
    filled.update("a2", author="Kestrel")
    assert filled.entry("a2").text == "Title of a2 by Kestrel"
    assert clean(base) == []
    filled.rollback()
    assert filled.entry("a2").text == "Title of a2\n\nThe body of number 2."
    assert [hit.id for hit in filled.search("word7", mode="keyword")] == ["long"]
    assert clean(base) == []
    filled.rollback()
    assert filled.entry("a2").text == "Title of a2 by Kestrel"
    assert clean(base) == []


def test_several_retired_generations_keep_their_texts(base, filled):
    filled.reembed(ReembedRequest(model="other"))
    filled.promote()
    filled.reembed(ReembedRequest(template="{title}"))
    filled.promote()
    filled.update("a1", title="Renamed")
    filled.reembed(ReembedRequest(template="{title}\n\n{body}", chunk_tokens=64, chunk_overlap=8))
    filled.promote()
    assert [(g.generation.name, str(g.generation.state)) for g in filled.generations()] == [
        *(("articles-g1", "retired"), ("articles-g2", "retired")),
        *(("articles-g3", "retired"), ("articles-g4", "active")),
    ]
    assert filled.entry("a1").text == "Renamed\n\nThe body of number 1."
    assert clean(base) == []
    filled.rollback()
    assert filled.entry("a1").text == "Renamed"
    assert clean(base) == []


def test_smaller_chunks_are_other_records(base, filled):
    filled.upsert(make(filled, "long", body=" ".join(f"word{n}." for n in range(200))))
    before = base.stats().collections[0].chunks
    filled.reembed(ReembedRequest(chunk_tokens=32, chunk_overlap=0))
    assert base.stats().collections[0].chunks == before
    filled.promote()
    assert base.stats().collections[0].chunks > before
    filled.update("long", body="short now")
    assert base.stats().collections[0].chunks == 13
    assert clean(base) == []
    filled.rollback()
    assert base.stats().collections[0].chunks == 13
    assert clean(base) == []


def test_the_estimate_counts_what_is_new_and_what_is_left(base, filled, other, monkeypatch):
    filled.upsert(make(filled, "twin", title="Title of a1", body="The body of number 1."))
    estimate = filled.estimate_reembed(OTHER)
    assert (estimate.documents, estimate.chunks, estimate.texts, estimate.is_sampled) == (13, 13, 12, False)
    assert estimate.seconds is not None
    assert 0 < estimate.bytes_needed < estimate.bytes_free
    filled.reembed(OTHER)
    filled.update("a1", body="new")
    estimate = filled.estimate_reembed(ReembedRequest(), probe=False)
    assert (estimate.documents, estimate.texts, estimate.seconds) == (1, 1, None)
    monkeypatch.setattr("kb.maintain.reembed_cost.SAMPLE", 5)
    filled.discard()
    estimate = filled.estimate_reembed(ReembedRequest(template="{title}"), probe=False)
    assert (estimate.documents, estimate.is_sampled) == (13, True)


def test_the_rate_is_kept(base, filled, other, monkeypatch):
    pauses = []
    monkeypatch.setattr("kb.write.generation.time.sleep", pauses.append)
    filled.reembed(ReembedRequest(model="other", max_rate=5))
    assert len(pauses) == 3
    assert [pause <= 1 for pause in pauses] == [True, True, True]
    assert pauses[0] > 0
    with pytest.raises(UsageError, match="the rate must be above 0, not 0"):
        ReembedRequest(max_rate=0)


def test_a_cancelled_build_is_gone_on_with_by_another_job(base, filled, other, monkeypatch):
    monkeypatch.setattr("kb.write.generation.BATCH", 5)
    steps = filled.reembed_steps(OTHER)
    first = next(steps).job
    next(steps)
    assert base.cancel(first.id).status is JobStatus.RUNNING
    assert [step.job.status for step in steps][-1] is JobStatus.CANCELLED
    second = filled.reembed()
    assert (second.id != first.id, second.status) == (True, JobStatus.DONE)
    assert len(other.texts) == 12
    filled.promote()
    assert clean(base) == []


def test_an_interrupted_build_is_resumed_by_its_job_or_by_asking_again(base, filled, other, monkeypatch):
    monkeypatch.setattr("kb.write.generation.BATCH", 5)
    steps = filled.reembed_steps(OTHER)
    first = next(steps).job
    for _ in range(2):
        next(steps)
    with pytest.raises(ConflictError, match=rf"the job {first.id} is building a generation of 'articles'"):
        filled.reembed()
    steps.close()
    assert base.job(first.id).status is JobStatus.INTERRUPTED
    steps = base.resume_steps(first.id)
    next(steps)
    next(steps)
    steps.close()
    job = filled.reembed(OTHER)
    assert (job.id, job.status, job.counts.read, job.total) == (first.id, JobStatus.DONE, 12, 12)
    assert len(other.texts) == 12
    with pytest.raises(ConflictError, match="has nothing left to build"):
        base.resume(first.id)


def test_promotion_is_refused_while_something_is_missing_or_being_written(base, filled, other, tmp_path):
    with pytest.raises(ConflictError, match="no generation of 'articles' waits to be promoted") as caught:
        filled.promote()
    assert caught.value.hint == "build one: kb reembed -c articles --model NAME"
    steps = filled.reembed_steps(OTHER)
    next(steps)
    steps.close()
    with pytest.raises(ConflictError, match="the generation 'articles-g2' is not complete: 12 documents wait"):
        filled.promote()
    filled.reembed()
    file = tmp_path / "more.jsonl"
    file.write_text(
        "".join(
            f'{{"id": "z{n}", "title": "t", "body": "b{n}", "category": "ml", "published": "2024-01-01"}}\n'
            for n in range(300)
        )
    )
    importing = filled.import_steps(kb.ImportRequest((str(file),)))
    job = next(importing).job
    with pytest.raises(ConflictError, match=rf"the job {job.id} \(import\) is writing to 'articles'") as caught:
        filled.promote()
    assert caught.value.hint == f"wait for it, or end it: kb jobs cancel {job.id}"
    list(importing)
    assert filled.promote().name == "articles-g2"
    assert clean(base) == []


def test_only_one_is_built_at_a_time_and_it_must_be_another_one(base, filled):
    with pytest.raises(ConflictError, match="'articles' is made like that already: fake, 256 tokens a chunk"):
        filled.reembed()
    filled.reembed(OTHER)
    with pytest.raises(ConflictError, match="another generation of 'articles' is being built: other") as caught:
        filled.reembed(ReembedRequest(template="{title}"))
    assert "--discard" in caught.value.hint
    assert filled.discard() == "articles-g2"
    assert base.indexes.generation_names() == ["articles-g1"]
    with pytest.raises(ConflictError, match="no generation of 'articles' is being built"):
        filled.discard()
    assert filled.reembed(ReembedRequest(template="{title}")).status is JobStatus.DONE
    assert [one.generation.name for one in filled.generations()] == ["articles-g1", "articles-g3"]
    with pytest.raises(ConflictError, match="no generation of 'articles' has served before"):
        filled.rollback()


def test_a_write_that_was_begun_with_the_former_generation_is_refused(base, filled):
    from kb.errors import SupersededError
    from kb.write import put

    target = filled.target()
    filled.reembed(OTHER)
    filled.promote()
    with pytest.raises(SupersededError, match="another generation of 'articles' serves now"):
        put(target, [make(filled, "late")])
    assert filled.count() == 12
    filled.upsert(make(filled, "late"))
    assert clean(base) == []


def test_the_former_declaration_is_accepted_until_its_generation_is_gone(root, encoder, other, caplog):
    from kb import catalog as cat
    from kb.errors import SchemaMismatchError

    encoders = {"fake": encoder, "other": other}
    with kb.open(root, encoders=encoders) as base:
        articles = base.collection("articles")
        articles.upsert(make(articles, "a1"))
        articles.reembed(ReembedRequest(model="other", template="{title}"))
        articles.promote()
    with kb.open(root, encoders=encoders) as base:
        articles = base.collection("articles")
        assert "'articles' is declared as it was before its vectors were made by other" in caplog.text
        assert (articles.model, articles.schema.template.source) == ("other", "{title}")
        articles.upsert(make(articles, "a2"))
        assert articles.search("a2", mode="semantic").model == "other"
        assert clean(base) == []
        catalog, stored = articles._place()
        with catalog.write() as connection:
            (former,) = cat.retired(connection, stored.id)
            cat.drop_generation(connection, former.id)
    with kb.open(root, encoders=encoders) as base, pytest.raises(SchemaMismatchError) as caught:
        base.collection("articles")
    assert caught.value.hint == (
        "put the declaration back, or make the vectors that it asks for, beside those that serve: kb reembed -c articles"
    )


def test_config_toml_gets_the_new_recipe_and_keeps_its_comments(root, encoder, other):
    from kb.first_config import write_recipe

    path = root / "config.toml"
    path.write_text(path.read_text().replace('model = "fake"', 'model = "fake"  # the model'))
    with kb.open(root, encoders={"fake": encoder, "other": other}) as base:
        articles = base.collection("articles")
        articles.upsert(make(articles, "a1"))
        before = articles.generations()[0].generation.recipe
        articles.reembed(ReembedRequest(model="other", chunk_tokens=64, chunk_overlap=8))
        now = articles.promote().recipe
    assert write_recipe(root, "articles", before, now) == ["model", "chunk_tokens", "chunk_overlap"]
    assert write_recipe(root, "nobody", before, now) == []
    assert 'model = "other"  # the model' in path.read_text()
    with kb.open(root, encoders={"fake": encoder, "other": other}) as base:
        assert base.collection("articles").model == "other"
        assert base.collection("articles").declaration.chunk_tokens == 64
    assert write_recipe(root, "articles", now, before) == ["model", "chunk_tokens", "chunk_overlap"]
    assert 'model = "fake"  # the model' in path.read_text()


def test_a_new_declaration_is_what_is_built_when_nothing_is_named(root, encoder, other):
    with kb.open(root, encoders={"fake": encoder, "other": other}) as base:
        articles = base.collection("articles")
        articles.upsert(make(articles, "a1"))
    path = root / "config.toml"
    path.write_text(path.read_text().replace('model = "fake"', 'model = "other"\nchunk_tokens = 64'))
    with kb.open(root, encoders={"fake": encoder, "other": other}) as base:
        request = base.declared_recipe("articles")
        assert request == ReembedRequest(model="other", chunk_tokens=64)
        articles = base.stored_collection("articles")
        articles.reembed(request)
        articles.promote()
    with kb.open(root, encoders={"fake": encoder, "other": other}) as base:
        assert base.collection("articles").search("a1").model == "other"


def test_a_model_for_queries_that_is_taken_out_or_put_in_is_built_as_well(root, encoder, other):
    path = root / "config.toml"
    declared = path.read_text()
    with kb.open(root, encoders={"fake": encoder, "other": other}) as base:
        articles = base.collection("articles")
        articles.upsert(make(articles, "a1"))
    path.write_text(declared.replace('model = "fake"', 'model = "fake"\nquery_model = "other"'))
    with kb.open(root, encoders={"fake": encoder, "other": other}) as base:
        articles = base.stored_collection("articles")
        assert articles.reembed(base.declared_recipe("articles")).counts.embedded == 0
        articles.promote()
        assert base.collection("articles").search("a1", mode="semantic")[0].score < 0.9
        assert other.queries[-1] == "a1"
    path.write_text(declared)
    with kb.open(root, encoders={"fake": encoder, "other": other}) as base:
        assert base.declared_recipe("articles") == ReembedRequest()  # accepted: it has served before


def test_fields_that_were_declared_while_a_generation_was_built_stay(root, encoder):
    with kb.open(root, encoders={"fake": encoder}) as base:
        articles = base.collection("articles")
        articles.add(make(articles))
        articles.reembed(ReembedRequest(template="{body}"))
    config = root / "config.toml"
    config.write_text(config.read_text() + 'extra = { type = "str", required = false }\n')
    with kb.open(root, encoders={"fake": encoder}) as base:
        articles = base.collection("articles")
        articles.add(make(articles, "a2", extra="hello"))
        for switch in (articles.promote, articles.rollback):
            switch()
            assert articles.get("a2").extra == "hello"
            assert [hit.id for hit in articles.search("body", where='extra = "hello"')] == ["a2"]
            assert list(base.verify(full=True)) == []


def test_documents_are_of_the_declared_class_after_a_promotion(root, encoder, other):
    class Note(kb.Document):
        body: kb.Text

    with kb.open(root, encoders={"fake": encoder, "other": other}) as base:
        notes = base.collection("notes", Note, model="fake")
        notes.add(Note(id="n1", body="a note"))
        notes.reembed(OTHER)
        notes.promote()
        assert isinstance(notes.get("n1"), Note)
        assert isinstance(notes.search("note")[0].document, Note)


def test_vectors_that_are_collected_before_they_are_used_are_made_again(base, filled):
    collected = 0
    for step in filled.reembed_steps(OTHER):
        if step.job.counts.embedded and not collected:
            assert base.plan_gc().vectors == 0  # what an unfinished build has made is no garbage, but a purge takes it
            with base.catalog.write() as connection:
                collected = cat.delete_unused_vectors(connection, all_of_them=True)
    assert collected == 12
    assert step.job.status is JobStatus.DONE
    filled.promote()
    assert list(base.verify(full=True)) == []


def test_no_record_stays_of_a_document_that_changed_while_it_was_taken_over(base, articles):
    articles.upsert(make(articles, "a1", body=" ".join(f"word{n}" for n in range(200))), make(articles, "a2"))
    articles.reembed(ReembedRequest(model="other", chunk_tokens=32, chunk_overlap=0))
    articles.delete("a1")
    articles.add(make(articles, "a1", body="short"))
    steps = articles.reembed_steps()
    while next(steps).job.counts.embedded == 0:
        continue
    articles.update("a1", body="shorter")
    for _ in steps:
        continue
    articles.promote()
    assert list(base.verify(full=True)) == []
