"""Another generation of a collection: built, compared, promoted, taken back."""

from __future__ import annotations

import pytest

import kb
from kb.catalog import JobStatus
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
