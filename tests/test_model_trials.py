"""Trying models: what is measured, that nothing stays, and that the knowledge base is only read."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import pytest

import kb
from kb.embed import HashingEncoder
from kb.errors import EncoderError, ModelNotFoundError, UsageError
from kb.evaluate import JudgedQuery, Pair, Wanted
from kb.model_trials import Trial, compare_models
from tests.conftest import FakeEncoder, make

if TYPE_CHECKING:
    from pathlib import Path

QUERIES = (JudgedQuery("blue sky", {"a4": 1}), JudgedQuery("zeppelin", {}))
ASKED = Trial(QUERIES, wanted=Wanted(("semantic",)))


@pytest.fixture
def filled(base: kb.KnowledgeBase) -> kb.KnowledgeBase:
    articles = base.collection("articles")
    bodies = ["red apple pie", "red apple", "green apple", "blue sky", "nothing alike"]
    articles.upsert(*[make(articles, f"a{n}", title="t", body=body) for n, body in enumerate(bodies, 1)])
    return base


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, empty."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_models_are_measured_side_by_side(filled, encoder, scratch):
    before = (list(encoder.texts), filled.collection().entries(), filled.jobs())
    pairs = (Pair("red apple", "red apple", 1.0), Pair("red apple", "blue sky", 0.0))
    other = FakeEncoder("other", seed=3)
    trial = Trial(QUERIES, pairs, wanted=Wanted(("semantic",), (1,)))
    first, second = compare_models(filled, None, ["hashing-256", "other"], trial, encoders={"other": other})
    for one, model in ((first, "hashing-256"), (second, "other")):
        assert (one.model, one.dimension, one.documents, one.chunks, one.model_bytes) == (model, 256, 5, 5, None)
        assert one.vector_bytes == 5 * 256 * 4
        assert one.index_bytes > one.vector_bytes
        assert one.documents_per_second == round(5 / one.seconds, 1)
        assert one.answers is not None
        assert (one.answers.model, one.answers.answerable, one.answers.unanswerable) == (model, 1, 1)
        assert one.answers.modes[0].measures["recall@1"].mean == 1.0
        assert one.pairs is not None
        assert (one.pairs.model, one.pairs.best and one.pairs.best.accuracy) == (model, 1.0)
    assert (encoder.texts, filled.collection().entries(), filled.jobs()) == before
    assert list(scratch.iterdir()) == []


def test_a_sample_keeps_the_answers(filled):
    (one,) = compare_models(filled, None, ["hashing-256"], Trial(QUERIES, sample=2))
    assert (one.documents, one.answers and one.answers.missing) == (2, ())
    (one,) = compare_models(filled, None, ["hashing-256"], Trial((JudgedQuery("x", {"a1": 1, "a2": 1}),), sample=1))
    assert (one.documents, one.answers and one.answers.missing) == (2, ())
    (one,) = compare_models(filled, None, ["hashing-256"], Trial(QUERIES, sample=100))
    assert one.documents == 5


@pytest.mark.parametrize("error", [KeyboardInterrupt, EncoderError])
def test_nothing_stays_of_a_trial_that_ends_early(filled, scratch, monkeypatch, error):
    class Broken(FakeEncoder):
        seen = 0

        def encode_documents(self, texts):
            assert [path.name.startswith("kb-trial-") for path in scratch.iterdir()] == [True]
            if len(texts) > 1:
                raise error("stopped")
            return super().encode_documents(texts)

    with pytest.raises(error):
        list(compare_models(filled, None, ["broken"], ASKED, encoders={"broken": Broken("broken")}))
    assert list(scratch.iterdir()) == []


def test_long_chunks_are_cut_for_a_model_that_reads_less(root, scratch):
    path = root / "config.toml"
    path.write_text(path.read_text().replace('model = "fake"', 'model = "fake"\nchunk_tokens = 200'))
    short = FakeEncoder("short", inner=HashingEncoder())
    type(short).window = property(lambda self: 64 if self.model == "short" else self.inner.window)
    try:
        with kb.open(root, encoders={"fake": FakeEncoder()}) as base:
            articles = base.collection()
            articles.upsert(make(articles, "a1", body=" ".join(f"w{n}" for n in range(150))))
            (one,) = compare_models(base, None, ["short"], ASKED, encoders={"short": short})
    finally:
        type(short).window = property(lambda self: self.inner.window)
    assert (one.documents, one.chunks > 1) == (1, True)


def test_a_model_that_is_not_there_stops_before_any_is_tried(filled, scratch):
    trials = compare_models(filled, None, ["hashing-256", "all-MiniLM-L7"], ASKED)
    with pytest.raises(ModelNotFoundError, match="^there is no model 'all-MiniLM-L7'$"):
        next(trials)


@pytest.mark.parametrize(
    ("models", "trial", "message"),
    [
        (["hashing-256", "hashing-256"], ASKED, "the model 'hashing-256' is named twice"),
        (["hashing-256"], Trial(), "there is nothing to compare models by"),
        (["hashing-256"], Trial(QUERIES, sample=0), "a sample needs at least 1 document, not 0"),
    ],
)
def test_what_makes_no_sense_is_refused(filled, models, trial, message):
    with pytest.raises(UsageError) as caught:
        list(compare_models(filled, None, models, trial))
    assert str(caught.value) == message


def test_without_documents_there_is_nothing_to_try(base):
    with pytest.raises(UsageError, match="^'articles' is empty; there is nothing to compare models on$"):
        list(compare_models(base, None, ["hashing-256"], ASKED))
