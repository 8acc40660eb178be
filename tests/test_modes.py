"""Keyword and hybrid search: what they find, what they leave out, and that filters, pages and ties behave alike."""

from __future__ import annotations

import json
import random
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import kb
from kb import catalog as cat
from kb.errors import DamagedError, QueryError
from kb.index import WordIndex
from kb.search import Mode
from tests.conftest import make

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Ran

BODIES = {
    "a": "the old oak tree stands in the garden behind the house",
    "b": "an oak is a tree that grows slowly and lives for centuries",
    "c": "gradient descent walks downhill on the surface of a loss",
    "d": "the descent from the mountain was steep, the gradient of the path frightening",
    "e": "a recipe for bread with flour, water, salt and yeast",
}


@pytest.fixture
def five(articles: kb.Collection) -> kb.Collection:
    articles.add(
        *(
            make(articles, key, title="Text", body=body, category="ml" if key in "cd" else "nlp")
            for key, body in BODIES.items()
        )
    )
    return articles


def ids(hits: Any) -> list[str]:
    return [hit.id for hit in hits]


def test_keyword_search_finds_documents_that_hold_a_word_in_any_of_its_forms(five):
    hits = five.search("oaks", mode="keyword")
    assert sorted(ids(hits)) == ["a", "b"]
    assert str(hits.report).startswith("returned 2 of 10 · 2 candidates · keyword, words, ")
    assert [hit.rank_score for hit in hits] == sorted((hit.rank_score for hit in hits), reverse=True)


def test_the_score_is_the_cosine_in_every_mode(five):
    scores = {
        mode: {hit.id: hit.score for hit in five.search("gradient descent", mode=mode)}
        for mode in ("semantic", "keyword", "hybrid")
    }
    assert scores["hybrid"] == scores["semantic"]
    assert scores["keyword"].items() <= scores["semantic"].items()


def test_a_phrase_in_quotes_is_required_by_keyword_search(five):
    assert ids(five.search('"gradient descent"', mode="keyword")) == ["c"]
    assert sorted(ids(five.search("gradient descent", mode="keyword"))) == ["c", "d"]


def test_hybrid_search_also_orders_documents_that_hold_no_word(five):
    hits = five.search("oak tree")
    assert len(hits) == 5
    assert set(ids(hits)[:2]) == {"a", "b"}
    assert hits.report.mode is Mode.HYBRID


def test_hybrid_search_without_any_matching_word_is_semantic_search(five):
    assert ids(five.search("zzz qqq")) == ids(five.search("zzz qqq", mode="semantic"))


def test_a_document_that_holds_all_words_of_a_phrase_passes_the_bound(five):
    bound = 0.999
    assert ids(five.search("gradient descent", min_score=bound)) == []
    hits = five.search('"gradient descent"', min_score=bound)
    assert sorted(ids(hits)) == ["c", "d"]
    assert (hits.report.passed, hits.report.below_min_score) == (2, 3)
    assert ids(five.search('"gradient descent"', min_score=bound, mode="semantic")) == []


@pytest.mark.parametrize("mode", list(Mode))
def test_near_copies_of_the_query_can_be_left_out(five, mode):
    text = "Text\n\n" + BODIES["a"]
    everything = five.search(text, mode=mode)
    assert (everything[0].id, everything[0].score) == ("a", 1.0)
    without = five.search(text, mode=mode, max_score=0.99)
    assert ids(without) == ids(everything)[1:]
    assert without.report.above_max_score == 1
    assert "1 near-copies left out" not in str(without.report)
    assert "1 near-copy left out" in str(without.report)


@pytest.mark.parametrize("mode", list(Mode))
def test_the_lowest_score_can_be_a_share_of_the_best(five, mode):
    everything = five.search("the old oak tree", mode=mode)
    best = max(hit.score for hit in everything)
    within = five.search("the old oak tree", mode=mode, within=0.5)
    assert ids(within) == [hit.id for hit in everything if hit.score >= 0.5 * best]
    assert within.report.min_score == pytest.approx(0.5 * best)
    assert within.report.passed == len(within)


@pytest.mark.parametrize("mode", list(Mode))
def test_an_answer_can_stop_at_the_largest_jump(five, mode):
    everything = five.search("an oak is a tree", mode=mode)
    cut = five.search("an oak is a tree", mode=mode, autocut=True)
    assert ids(cut) == ids(everything)[: len(cut)]
    assert cut.report.after_jump == len(everything) - len(cut)


@pytest.mark.parametrize("mode", list(Mode))
def test_filters_hold_in_every_mode(five, mode):
    hits = five.search("descent of the oak tree", mode=mode, where='category = "ml"')
    assert sorted(ids(hits)) == ["c", "d"]
    assert hits.report.candidates == 2


@pytest.mark.parametrize("mode", list(Mode))
def test_faults_G12_pages_are_slices_of_one_order_and_equal_documents_are_ordered_by_id(articles, mode):
    keys = [f"k{n:02}" for n in range(30)]
    random.Random(1).shuffle(keys)
    articles.add(*(make(articles, key, title="Same", body="the same words in all of them") for key in keys))
    pages = [articles.search("same words", mode=mode, limit=7, offset=start) for start in range(0, 35, 7)]
    assert [id for page in pages for id in ids(page)] == sorted(keys)
    assert {page.report.passed for page in pages} == {30}


@pytest.mark.parametrize("mode", list(Mode))
def test_faults_G10_what_was_deleted_or_changed_is_not_found_by_its_words(five, mode):
    five.delete("a")
    five.update("b", body="nothing of the kind any more")
    hits = five.search("oak tree", mode=mode, min_score=None)
    assert "a" not in ids(hits)
    if mode is Mode.KEYWORD:
        assert ids(hits) == []


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize(
    "text", ["title:x AND (oak OR tree)^2 ~ -bread [a TO b]", '"', '""', "the", "\u4e2d\u6587", "!!!"]
)
def test_faults_G1_odd_queries_are_answered_in_every_mode(five, mode, text):
    hits = five.search(text, mode=mode)
    assert len(hits) == hits.report.returned <= 5


@pytest.mark.parametrize("text", ["?!", "…", '"!" -'])
def test_faults_G1_a_query_without_words_finds_nothing_by_words_and_says_why(five, text):
    hits = five.search(text, mode="keyword", explain=True, facets=["tags"])
    assert (ids(hits), hits.report.candidates, hits.report.passed, hits.facets[0].missing) == ([], 0, 0, 0)
    assert hits.report.notes == (
        "the query has no words, and keyword search goes by nothing else: ask in hybrid or semantic mode",
    )
    assert five.search(text, mode="hybrid").report.notes == five.search("zeppelin", mode="keyword").report.notes == ()


def test_what_looks_like_query_syntax_is_plain_words(five):
    assert sorted(ids(five.search("body:oak NOT tree -bread", mode="keyword"))) == ["a", "b", "e"]


def test_an_unknown_mode_is_refused_with_the_nearest(five):
    with pytest.raises(QueryError) as refused:
        five.search("oak", mode="semantics")
    assert str(refused.value) == "there is no search mode 'semantics'"
    assert refused.value.hint == "did you mean 'semantic'? valid: semantic, keyword, hybrid"


def test_faults_G2_offsets_out_of_range_are_refused(five):
    for offset in (-1, 991):
        with pytest.raises(QueryError) as refused:
            five.search("oak", offset=offset)
        assert str(refused.value) == f"offset must be from 0 to 990, not {offset}"


@pytest.mark.parametrize("name", ["offset", "limit"])
@pytest.mark.parametrize("number", [True, 1.0, "1", None, np.int64(1)])
def test_faults_G2_limits_and_offsets_that_are_no_whole_numbers_are_refused(five, name, number):
    with pytest.raises(QueryError) as refused:
        five.search("oak", **{name: number})
    assert (str(refused.value), refused.value.hint) == (
        f"{name} must be a whole number, not {number!r}",
        f"a number from elsewhere becomes one by int(…): {name}=10",
    )


def test_a_hit_explains_its_place(five):
    hit = next(hit for hit in five.search("oak trees", explain=True) if hit.id == "a")
    assert hit.explanation is not None
    assert hit.explanation.words == ("oak", "tree")
    semantic, keyword = hit.explanation.semantic, hit.explanation.keyword
    assert semantic.score == hit.score
    assert keyword.score > 0
    assert keyword.rank in (1, 2)
    weighed = semantic.weight * semantic.standard + keyword.weight * keyword.standard
    assert hit.rank_score == pytest.approx(weighed, abs=1e-5)
    assert five.search("oak trees")[0].explanation is None


def test_faults_G3_an_empty_collection_answers_with_nothing_in_every_mode(articles):
    for mode in Mode:
        assert ids(articles.search("oak", mode=mode)) == []


def test_the_command_line_shows_why(run_kb: Callable[..., Ran], tmp_path: Path):
    rows = [{"id": key, "title": "Text", "body": body, "category": "ml", "published": "2024-01-01", "tags": []}
            for key, body in BODIES.items()]  # fmt: skip
    (tmp_path / "articles.json").write_text(json.dumps(rows))
    assert run_kb("import", "articles.json").code == 0
    ran = run_kb("search", "oak trees", "-k", "2", "--explain", "--format", "json")
    found = json.loads(ran.out)
    assert sorted(hit["id"] for hit in found["hits"]) == ["a", "b"]
    assert found["report"]["mode"] == "hybrid"
    assert set(found["hits"][0]["explanation"]) == {"semantic", "keyword", "words", "reranked"}
    table = run_kb("search", "oak trees", "-k", "1", "--explain", "--format", "table", COLUMNS="120").out
    assert table.split()[:4] == ["score", "rank_score", "id", "text"]
    lines = [line.strip() for line in table.splitlines()]
    number = r"-?\d+\.\d\d\d"
    for leg, weight in (("semantic", "0.75"), ("keyword", "0.25")):
        deviations = rf"[+-]\d+\.\d\d deviations of {number} from {number}, × {weight}"
        assert [line for line in lines if re.fullmatch(rf"{leg} {number} \(place \d\): {deviations}", line)]
    assert "words: oak, tree" in lines
    alone = run_kb("search", "oak trees", "-k", "1", "--mode", "semantic", "--format", "table").out
    assert alone.split()[:3] == ["score", "id", "text"]
    csv = run_kb("search", "oak trees", "-k", "1", "--explain", "--highlight", "--format", "csv").out
    assert csv.partition("\n")[0].startswith("id,score,rank_score,chunk,title,")
    assert csv.partition("\n")[0].endswith(",highlight,explanation")
    assert "× 0.25 · words: oak, tree" in csv


def test_the_sample_is_spread_evenly_over_the_collection(articles, monkeypatch):
    monkeypatch.setattr("kb.catalog.samples.SIZE", 5)
    keys = [f"k{n:02}" for n in range(12)]
    articles.add(*(make(articles, key, title="T", body=f"the text of {key}") for key in keys))
    target = articles.target()
    with target.catalog.read() as connection:
        sample = cat.draw_sample(connection, target.collection.id, target.collection.dimension, 12)
    expected = target.encoder().encode_documents([articles.entry(key).text for key in keys[::3]])
    assert sample.chunks == 12
    assert np.allclose(np.sort(sample.matrix, axis=0), np.sort(expected, axis=0))


@pytest.mark.parametrize("mode", ["keyword", "hybrid"])
def test_faults_G14_an_index_of_words_that_fails_while_it_is_asked_is_not_needed(five, monkeypatch, mode):
    expected = ids(five.search("oak tree", mode=mode))
    on_disk = five._searching(*five._place()).words
    plain = WordIndex.search

    def search(self: WordIndex, *given: Any, **options: Any) -> Any:
        if self is broken:
            raise DamagedError("the index of words cannot be asked: a block is gone")
        return plain(self, *given, **options)

    with five._base.catalog.read() as connection:
        broken = on_disk(connection, False).index
    monkeypatch.setattr(WordIndex, "search", search)
    hits = five.search("oak tree", mode=mode)
    assert ids(hits) == expected
    assert hits.report.degraded == (
        "the index of words cannot be asked: a block is gone; answered exactly from the catalog"
    )
