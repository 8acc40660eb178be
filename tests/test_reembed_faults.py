"""Generations when something goes wrong: kills, models that change or fail, a full disk, searches during the switch."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections import namedtuple

import numpy as np
import pytest

import kb
from kb import catalog as cat
from kb.catalog import JobStatus
from kb.errors import EncoderError, LimitError, ModelMismatchError
from kb.reembedding import ReembedRequest
from tests.conftest import CONFIG, ROOT, FakeEncoder, make


class Smaller(FakeEncoder):
    """A model of 64 dimensions."""

    dimension = 64

    def _turned(self, vectors: np.ndarray) -> np.ndarray:
        folded = np.abs(vectors).reshape(*vectors.shape[:-1], 4, 64).sum(axis=-2)
        return folded / np.linalg.norm(folded, axis=-1, keepdims=True)


DOCUMENTS = 230
WORDS = [f"word{n}" for n in range(300)]
OTHER = ReembedRequest(model="other")
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def imported(run_kb, tmp_path):
    """A knowledge base of more documents than one batch, to be worked on by commands."""
    file = tmp_path / "many.jsonl"
    # Words of all kinds: texts that are nearly the same lie too close for any graph to tell them apart.
    chance = random.Random(0)
    rows = [
        {"id": f"a{n:03}", "title": f"Title {n}", "body": " ".join(chance.choices(WORDS, k=12)), "category": "ml"}
        for n in range(DOCUMENTS)
    ]
    file.write_text("".join(json.dumps(row | {"published": "2024-01-31"}) + "\n" for row in rows))
    assert run_kb("import", str(file)).code == 0
    return run_kb


def answer(run):
    found = run("search", "word17 word18 word19", "--mode", "semantic", "--format", "json")
    assert found.code == 0, found.err
    return [(hit["id"], hit["score"]) for hit in json.loads(found.out)["hits"]]


def states(run):
    found = [json.loads(line) for line in run("reembed", "--status").out.splitlines()]
    return [(one["name"], one["state"], one["waiting"]) for one in found]


@pytest.mark.parametrize("place", ["gen_building", "gen_building:2", "gen_built"])
def test_faults_A4_a_build_that_is_killed_leaves_what_serves_and_goes_on(imported, place):
    before = answer(imported)
    killed = imported("reembed", "--template", "{body}", KB_FAILPOINT=place)
    assert killed.code == -signal.SIGKILL
    assert answer(imported) == before
    assert imported("verify", "--full").out == ""
    assert imported("delete", "a001").code == 0
    jobs = [json.loads(line) for line in imported("jobs", "--status", "interrupted").out.splitlines()]
    assert [(job["kind"], job["input"]) for job in jobs] == [("reembed", [])]
    assert imported("jobs", "resume", jobs[0]["job"]).code == 0
    assert states(imported) == [("articles-g1", "active", 0), ("articles-g2", "building", 0)]
    assert imported("reembed", "--promote").code == 0
    assert answer(imported) != before
    assert imported("verify", "--full").out == ""


def test_faults_A4_a_promotion_that_is_killed_before_its_commit_has_not_happened(imported):
    before = answer(imported)
    assert imported("reembed", "--template", "{body}").code == 0
    assert imported("reembed", "--promote", KB_FAILPOINT="gen_before_flip").code == -signal.SIGKILL
    assert answer(imported) == before
    assert states(imported) == [("articles-g1", "active", 0), ("articles-g2", "building", 0)]
    assert imported("verify", "--full").out == ""


def test_faults_A5_a_promotion_that_is_killed_after_its_commit_has_happened(imported):
    before = answer(imported)
    assert imported("reembed", "--template", "{body}").code == 0
    assert imported("reembed", "--promote", KB_FAILPOINT="after_flip").code == -signal.SIGKILL
    after = answer(imported)
    assert after != before
    assert states(imported) == [("articles-g1", "retired", 0), ("articles-g2", "active", 0)]
    assert imported("verify", "--full").out == ""
    assert imported("reembed", "--rollback", KB_FAILPOINT="after_flip").code == -signal.SIGKILL
    assert answer(imported) == before
    assert imported("verify", "--full").out == ""


@pytest.fixture
def other() -> FakeEncoder:
    return FakeEncoder(model="other", seed=7)


@pytest.fixture
def base(root, encoder, other):
    with kb.open(root, encoders={"fake": encoder, "other": other}) as opened:
        yield opened


@pytest.fixture
def filled(articles):
    articles.upsert(*(make(articles, f"a{n}", body=f"The body of number {n}.") for n in range(40)))
    return articles


def figures(hits):
    return [(hit.id, hit.score) for hit in hits]


@pytest.mark.parametrize("mode", ["semantic", "hybrid", "keyword"])
@pytest.mark.parametrize("small", [20_000, 0])
def test_faults_C11_a_search_during_the_switch_is_all_old_or_all_new(base, filled, monkeypatch, mode, small):
    monkeypatch.setattr("kb.search.semantic.SMALL", small)
    expected = [figures(filled.search("number 3", mode=mode))]
    filled.reembed(ReembedRequest(model="other", template="{body} is it, {title}"))
    answers, errors, done = [], [], threading.Event()
    asked = base.stored_collection("articles")  # a handle of its own, which nobody tells of the switch

    def search():
        try:
            while not done.is_set():
                answers.append(figures(asked.search("number 3", mode=mode)))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    filled.promote()
    expected.append(figures(filled.search("number 3", mode=mode)))
    for _ in range(4):
        filled.rollback()
    done.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert answers
    assert [one for one in answers if one not in expected] == []
    assert expected[0] != expected[1]


def test_faults_C11_a_switch_between_the_embedding_and_the_looking_is_noticed(base, filled, encoder, other):
    old = figures(filled.search("number 3", mode="semantic"))
    filled.reembed(ReembedRequest(model="other", template="{title}"))
    encode = encoder.encode_query

    def switching(text):
        encoder.encode_query = encode
        filled.promote()
        return encode(text)

    encoder.encode_query = switching
    hits = filled.search("number 3", mode="semantic")
    assert hits.model == "other"
    assert figures(hits) == figures(filled.search("number 3", mode="semantic"))
    assert figures(hits) != old
    stale = base.stored_collection("articles")
    filled.rollback()
    assert figures(stale.search("number 3", mode="semantic")) == old


READER = """
import json, sys
from pathlib import Path
import kb
from kb import catalog as cat
with kb.open(sys.argv[1]) as base:
    articles = base.collection("articles")
    while True:
        is_last = Path(sys.argv[2]).exists()
        hits = articles.search("number 3", mode=sys.argv[3])
        print(json.dumps([[hit.id, hit.score] for hit in hits]), flush=True)
        if is_last:
            break
"""


@pytest.mark.parametrize("mode", ["semantic", "hybrid"])
def test_faults_C11_a_search_of_another_process_is_all_old_or_all_new(root, tmp_path, mode):
    (root / "config.toml").write_text(CONFIG.replace('"fake"', '"hashing-256"'))
    stop = tmp_path / "stop"
    with kb.open(root) as base:
        articles = base.collection("articles")
        articles.upsert(*(make(articles, f"a{n}", body=f"The body of number {n}.") for n in range(40)))
        old = figures(articles.search("number 3", mode=mode))
        articles.reembed(ReembedRequest(template="{body} is it, {title}", chunk_tokens=64, chunk_overlap=0))
        reader = subprocess.Popen(
            [sys.executable, "-c", READER, str(root), str(stop), mode],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert reader.stdout is not None
        lines = [reader.stdout.readline() for _ in range(3)]
        articles.promote()
        lines += [reader.stdout.readline() for _ in range(3)]
        new = figures(articles.search("number 3", mode=mode))
        articles.rollback()
        lines += [reader.stdout.readline() for _ in range(3)]
        articles.rollback()
        stop.touch()
        lines += reader.communicate()[0].splitlines()
    answers = [[tuple(hit) for hit in json.loads(line)] for line in lines]
    assert reader.returncode == 0
    assert [one for one in answers if one not in (old, new)] == []
    assert (answers[0], answers[-1]) == (old, new)
    assert old != new


def test_faults_D6_another_model_of_equal_dimension_is_refused_and_reembed_is_the_way_out(root, encoder, other):
    with kb.open(root, encoders={"fake": encoder}) as base:
        articles = base.collection("articles")
        articles.upsert(make(articles, "a1"), make(articles, "a2"))
    changed = FakeEncoder(seed=3)
    with kb.open(root, encoders={"fake": changed}) as base:
        articles = base.collection("articles")
        for call in (lambda: articles.search("x"), lambda: articles.upsert(make(articles, "a3"))):
            with pytest.raises(ModelMismatchError, match="the model 'fake' is not the one that made the") as caught:
                call()
            assert caught.value.hint == (
                "put the former weights back, or make all vectors anew, beside those that serve: kb reembed -c articles"
            )
        job = articles.reembed()
        assert (job.status, job.counts.embedded) == (JobStatus.DONE, 2)
        gate = articles.generations()[-1].gate
        assert gate is not None
        assert gate.queries == 0
        assert gate.reason.startswith("the model 'fake' is not the one that made the vectors of 'articles'")
        articles.promote()
        assert articles.search("Title of a1", mode="semantic")[0].id == "a1"
        articles.upsert(make(articles, "a3"))
        assert list(base.verify(full=True)) == []
    with kb.open(root, encoders={"fake": encoder}) as base, pytest.raises(ModelMismatchError):
        base.collection("articles").search("x")


@pytest.mark.parametrize(
    ("row", "changed"),
    [
        ("D6", FakeEncoder(model="other", seed=9)),
        ("D7", Smaller(model="other")),
    ],
)
def test_faults_D6_D7_a_build_does_not_go_on_with_a_model_that_has_changed(root, encoder, other, row, changed):
    with kb.open(root, encoders={"fake": encoder, "other": other}) as base:
        articles = base.collection("articles")
        articles.upsert(make(articles, "a1"), make(articles, "a2"))
        steps = articles.reembed_steps(OTHER)
        job = next(steps).job
        steps.close()
    with kb.open(root, encoders={"fake": encoder, "other": changed}) as base:
        articles = base.collection("articles")
        for call in (articles.reembed, lambda: base.resume(job.id)):
            with pytest.raises(ModelMismatchError, match="the model 'other' is not the one that made the vectors"):
                call()
        assert changed.texts == []
        assert len(articles.search("Title of a1")) == 2
        articles.discard()
        assert articles.reembed(OTHER).counts.embedded == 2
        articles.promote()
        assert articles.search("Title of a1", mode="semantic")[0].id == "a1"
        assert list(base.verify(full=True)) == []


def test_faults_D7_another_dimension_is_refused_before_chroma_sees_it(root, encoder):
    with kb.open(root, encoders={"fake": encoder}) as base:
        articles = base.collection("articles")
        articles.upsert(make(articles, "a1"))
    smaller = Smaller()
    with kb.open(root, encoders={"fake": smaller}) as base:
        articles = base.collection("articles")
        for call in (lambda: articles.search("x"), lambda: articles.upsert(make(articles, "a2"))):
            with pytest.raises(
                ModelMismatchError, match="its vectors have 64 dimensions, the stored ones 256"
            ) as caught:
                call()
            assert "kb reembed -c articles" in caught.value.hint
        articles.reembed()
        articles.promote()
        articles.upsert(make(articles, "a2"))
        assert len(articles.search("Title", mode="semantic")) == 2
        assert list(base.verify(full=True)) == []


def test_faults_H1_a_model_that_fails_leaves_what_serves_and_the_job_can_be_resumed(base, filled, other, monkeypatch):
    monkeypatch.setattr("kb.write.generation.BATCH", 10)
    before = figures(filled.search("number 3", mode="semantic"))
    other.dies_on = "number 25."
    with pytest.raises(EncoderError, match="the model failed on 'number 25.'"):
        filled.reembed(OTHER)
    (job,) = base.jobs(limit=1)
    assert (job.kind, job.status, job.counts.read, job.error) == (
        *("reembed", JobStatus.FAILED, 20, "the model failed on 'number 25.'"),
    )
    assert figures(filled.search("number 3", mode="semantic")) == before
    filled.update("a1", rating=2.0)
    other.dies_on = None
    other.texts.clear()
    assert base.resume(job.id).status is JobStatus.DONE
    assert len(other.texts) == 20
    filled.promote()
    assert list(base.verify(full=True)) == []


@pytest.mark.parametrize("broken", [[[1.0]], None], ids=["wrong shape", "none"])
def test_faults_H1_a_model_that_answers_nonsense_changes_nothing(base, filled, other, broken):
    other.broken = "nonsense" if broken is None else broken
    with pytest.raises(EncoderError):
        filled.reembed(OTHER)
    assert len(filled.search("number 3")) == 10
    other.broken = None
    assert filled.reembed().status is JobStatus.DONE


def test_faults_H1_a_promotion_whose_model_fails_has_not_happened(base, filled, other):
    filled.reembed(OTHER)
    filled.upsert(make(filled, "late", body="Written at last."))
    other.dies_on = "at last"
    with pytest.raises(EncoderError):
        filled.promote()
    assert filled.search("at last").model == "fake"
    other.dies_on = None
    filled.promote()
    assert filled.search("Written at last.", mode="semantic")[0].id == "late"


def test_faults_B4_a_generation_that_would_not_fit_is_refused_with_numbers(base, filled, other, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10**9, 10**9 - 10_000, 10_000))
    with pytest.raises(
        LimitError, match=r"^another generation needs about 0\.\d MB of disk; 0\.0 MB are free$"
    ) as caught:
        filled.reembed(OTHER)
    assert caught.value.unchanged == "nothing was done; the generation that serves is untouched"
    assert [one.generation.name for one in filled.generations()] == ["articles-g1"]
    assert [job.kind for job in base.jobs()] == []
    assert other.texts == []


def space_counts(base):
    with base.catalog.read() as connection:
        return connection.exec_driver_sql("SELECT count(*) FROM vectors").scalar_one()


def test_garbage_keeps_the_vectors_of_a_generation_that_is_not_complete(base, filled, other):
    plain = other.encode_documents
    calls = []

    def stopping(texts):
        calls.append(len(texts))
        if len(calls) == 2:
            raise EncoderError("the model has stopped")
        return plain(texts)

    other.encode_documents = stopping
    with pytest.raises(EncoderError, match="the model has stopped"):
        filled.reembed(ReembedRequest(model="other", max_rate=20))
    assert space_counts(base) == 60
    assert base.plan_gc().vectors == 0
    base.compact(base.plan_compact())
    assert filled.reembed().counts.embedded == 40
    assert calls == [20, 20, 20]


def test_vectors_that_a_purge_takes_from_a_build_are_made_again(base, filled, other):
    filled.delete("a39")
    plain = other.encode_documents
    calls = []

    def purging(texts):
        calls.append(len(texts))
        if len(calls) == 2:
            with base.catalog.write() as connection:
                cat.delete_unused_vectors(connection, all_of_them=True)
        return plain(texts)

    other.encode_documents = purging
    assert filled.reembed(ReembedRequest(model="other", max_rate=20)).counts.read == 39
    assert calls == [20, 19, 20]
    filled.promote()
    assert list(base.verify(full=True)) == []
