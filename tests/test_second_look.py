"""What a search does with its best candidates: examples, diversity, rerankers, highlights, several queries at once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import kb
from kb.errors import NotFoundError, QueryError
from kb.search import Example, Mode, Query
from tests.conftest import make

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.conftest import FakeEncoder, Ran

BODIES = {
    "oak1": "the oak is an old tree of the forest",
    "oak2": "an oak is a tree that grows in a forest",
    "oak3": "oak trees of the old forest grow slowly",
    "loss": "gradient descent walks down the surface of a loss",
    "bread": "a recipe for bread with flour and yeast. Knead the dough for ten minutes. Let it rest overnight.",
}


@pytest.fixture
def five(articles: kb.Collection) -> kb.Collection:
    articles.add(*(make(articles, key, title="Text", body=body) for key, body in BODIES.items()))
    return articles


def ids(hits: Any) -> list[str]:
    return [hit.id for hit in hits]


def test_similar_documents_are_found_and_the_example_is_left_out(five):
    hits = five.similar("oak1", limit=2)
    assert sorted(ids(hits)) == ["oak2", "oak3"]
    assert (hits.report.candidates, hits.report.passed) == (4, 4)
    assert "oak1" not in ids(five.similar("oak1", where='category = "ml"'))


def test_similar_documents_have_pages_cuts_and_highlights_as_a_search_has(articles):
    articles.add(*(make(articles, f"d{n:02}", body=f"{'oak ' * (n % 9)}tree. Number {n}.") for n in range(40)))
    options = {"where": 'category = "ml"', "within": 0.5, "autocut": True, "highlight": True}
    for size in (5, 20):
        pages = [articles.similar("d05", limit=size, offset=at, **options) for at in range(0, 40, size)]
        asked = [
            articles.search(like=["d05"], mode="semantic", limit=size, offset=at, **options)
            for at in range(0, 40, size)
        ]
        assert [page.hits for page in pages] == [page.hits for page in asked]
        assert [page.report.after_jump for page in pages] == [page.report.after_jump for page in asked]
        shown = [hit.id for page in pages for hit in page]
        cut = articles.similar("d05", limit=40, **options)
        assert (shown, 0 < len(shown) < cut.report.passed < 40) == (ids(cut), True)
    assert all(hit.highlight for hit in cut)


def test_an_example_turns_a_query(five):
    without = five.search("old things", mode="semantic", limit=5)
    toward = five.search("old things", mode="semantic", limit=5, like=["bread"])
    away = five.search("old things", mode="semantic", limit=5, unlike=["oak1"])
    scores = {hit.id: hit.score for hit in without}
    assert "bread" not in ids(toward)
    assert "oak1" not in ids(away)
    assert {hit.id: hit.score for hit in away}["oak2"] < scores["oak2"]


def test_an_example_that_does_not_exist_is_an_error(five):
    for options in ({"like": ["nobody"]}, {"unlike": ["nobody"]}):
        with pytest.raises(NotFoundError) as refused:
            five.search("oak", **options)
        assert str(refused.value) == "there is no document 'nobody' in 'articles'"
        assert refused.value.hint == "kb list shows the ids"


def test_a_document_cannot_be_wanted_and_not_wanted_at_once(five):
    with pytest.raises(QueryError) as refused:
        five.search("oak", like=["bread", "oak1"], unlike=["oak1"])
    assert str(refused.value) == "'oak1' cannot be wanted and not wanted at once"


def test_examples_are_no_hits_themselves(articles):
    articles.add(make(articles, "a", title="x", body="one two"), make(articles, "b", title="x", body="one two"))
    hits = articles.search(like=["a"], unlike=["b"])
    assert ids(hits) == []  # half of the way back still points there, and both are examples


@pytest.mark.parametrize("mode", ["keyword", "hybrid", "semantic"])
def test_pages_are_full_although_examples_are_left_out(articles, mode):
    articles.add(*[make(articles, f"a{n:02}", title="x", body="oak " + "leaf " * n) for n in range(20)])
    for options in ({}, {"where": 'category = "ml"'}, {"min_score": -1.0}):
        hits = articles.search("oak", mode=mode, limit=10, like=["a00"], unlike=["a19"], **options)
        every = articles.search("oak", mode=mode, limit=100, like=["a00"], unlike=["a19"], **options)
        assert (len(hits), hits.report.candidates, len(every)) == (10, 18, 18)
        assert ids(hits) == ids(every)[:10]
        assert not {"a00", "a19"} & set(ids(every))


def test_a_search_needs_a_text_or_an_example_that_is_wanted(five):
    with pytest.raises(QueryError) as refused:
        five.search(unlike=["oak1"])
    assert str(refused.value) == "the query is empty"


def test_diverse_hits_differ_from_those_above_them(five):
    plain = five.search("oak tree forest", limit=3)
    diverse = five.search("oak tree forest", limit=3, diverse=0.9)
    assert sorted(ids(plain)) == ["oak1", "oak2", "oak3"]
    assert ids(diverse)[0] == ids(plain)[0]
    assert len({key[:3] for key in ids(diverse)}) == 3
    assert ids(five.search("oak tree forest", limit=3, diverse=0.0)) == ids(plain)


def test_the_strength_of_diversity_has_a_range(five):
    for strength in (-0.1, 1.1, float("nan")):
        with pytest.raises(QueryError) as refused:
            five.search("oak", diverse=strength)
        assert str(refused.value) == f"diverse must be from 0 to 1, not {strength:g}"


def test_the_best_sentence_of_a_hit_is_shown(five):
    (hit,) = five.search("knead the dough", limit=1, highlight=True)
    assert (hit.id, hit.highlight) == ("bread", "Knead the dough for ten minutes.")
    assert five.search("knead the dough", limit=1)[0].highlight is None


class Backwards:
    """Stands for a cross-encoder: it likes what stands late in the alphabet."""

    def score(self, query: str, texts: Sequence[str]) -> np.ndarray:
        return np.array([float("gradient" in text) for text in texts], dtype=np.float32)


def test_a_reranker_orders_the_best_candidates_again(five, monkeypatch):
    monkeypatch.setattr("kb.wiring.open_reranker", lambda *_: Backwards())
    hits = five.search("oak tree", limit=2, rerank="some/model")
    assert (hits[0].id, hits[0].rank_score) == ("loss", 1.0)
    (first, *_) = five.search("oak tree", limit=2, rerank="some/model", explain=True)
    assert first.explanation.reranked == 1.0
    assert hits[0].score == next(hit.score for hit in five.search("oak tree") if hit.id == "loss")


def test_a_reranker_needs_a_text(five):
    with pytest.raises(QueryError) as refused:
        five.search(like=["oak1"], rerank="some/model")
    assert str(refused.value) == "a reranker needs the text of a query"


def test_several_queries_are_embedded_together_and_answered_alike(five, encoder: FakeEncoder):
    texts = ["oak tree", "yeast", "descent"]
    alone = [five.search(text) for text in texts]
    encoder.queries.clear()
    together = five.ask_all([Query(text) for text in texts])
    assert [ids(hits) for hits in together] == [ids(hits) for hits in alone]
    assert [hits.query for hits in together] == texts
    assert encoder.queries == texts


def test_examples_alone_go_by_meaning(five):
    hits = five.ask(Query("", mode=Mode.HYBRID, example=Example(("oak1",))))
    assert [hit.rank_score for hit in hits] == [hit.score for hit in hits]


def test_the_command_line_knows_all_of_it(run_kb: Callable[..., Ran], tmp_path: Path):
    rows = [{"id": key, "title": "Text", "body": body, "category": "ml", "published": "2024-01-01", "tags": []}
            for key, body in BODIES.items()]  # fmt: skip
    (tmp_path / "articles.json").write_text(json.dumps(rows))
    assert run_kb("import", "articles.json").code == 0
    similar = [json.loads(line)["id"] for line in run_kb("similar", "oak1", "-k", "2").out.splitlines()]
    assert sorted(similar) == ["oak2", "oak3"]
    options = ("-k", "1", "--offset", "1", "--within", "0.01", "--autocut", "--highlight")
    (second,) = map(json.loads, run_kb("similar", "oak1", *options).out.splitlines())
    assert (second["id"], bool(second["highlight"])) == (similar[1], True)
    several = json.loads(run_kb("search", "oak", "yeast", "-k", "1", "--format", "json").out)
    assert [found["query"] for found in several] == ["oak", "yeast"]
    hit = json.loads(run_kb("search", "knead", "-k", "1", "--highlight", "--diverse").out)
    assert hit["highlight"] == "Knead the dough for ten minutes."
    assert run_kb("search").code == 2


@pytest.mark.parametrize("options", [{"diverse": 0.5}, {"rerank": "some/model"}, {"diverse": 0.5, "rerank": "m"}])
def test_faults_G12_pages_of_a_second_look_are_slices_of_one_order(articles, monkeypatch, options):
    class Odd:
        def score(self, query: str, texts: Sequence[str]) -> np.ndarray:
            return np.array([len(text) % 7 for text in texts], dtype=np.float32)

    monkeypatch.setattr("kb.wiring.open_reranker", lambda *_: Odd())
    articles.add(*(make(articles, f"d{n:03}", title="oak", body="tree " * (n % 11) + "w" * n) for n in range(120)))
    pages = [articles.search("oak tree", limit=10, offset=start, **options) for start in range(0, 130, 10)]
    assert sorted(id for page in pages for id in ids(page)) == [f"d{n:03}" for n in range(120)]


def test_an_example_in_a_collection_that_nobody_has_stored_is_an_error(articles):
    with pytest.raises(NotFoundError) as refused:
        articles.similar("nobody")
    assert str(refused.value) == "there is no document 'nobody' in 'articles'"
