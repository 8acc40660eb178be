"""Judged queries and labelled pairs: what a file may hold, and the figures that come of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import kb
from kb.catalog import Judgement, Relevance
from kb.errors import FilterError, LockedError, NotFoundError, QueryError, SourceError, UsageError
from kb.evaluate import (
    Answers,
    Cases,
    Difference,
    Estimate,
    Evaluation,
    EvaluationStep,
    JudgedQuery,
    ModeFigures,
    Pair,
    PairColumns,
    Wanted,
    evaluate,
    evaluate_pairs,
    read_cases,
    read_pairs,
    read_queries,
)
from kb.evaluate.pairs import best_threshold
from kb.index.lock import acquire
from kb.search import Cut
from tests.conftest import SAMPLE, FakeEncoder, make

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# Files.


def test_queries_are_read(tmp_path):
    path = write(
        tmp_path / "q.jsonl",
        {"id": "q1", "query": "red", "relevant": ["a1", 7], "where": "rating > 3"},
        {"query": "blue", "relevant": {"a2": 3, " a3 ": 0}},
        {"query": "none", "relevant": []},
    )
    assert read_cases(path) == Cases(
        str(path),
        (
            JudgedQuery("red", {"a1": 1, "7": 1}, "rating > 3", "q1"),
            JudgedQuery("blue", {"a2": 3, "a3": 0}, None, "2"),
            JudgedQuery("none", {}, None, "3"),
        ),
    )
    assert [query.has_answer for query in read_queries(path)] == [True, True, False]
    with pytest.raises(UsageError, match="^.*q.jsonl holds queries, not pairs of texts$"):
        read_pairs(path)


def test_pairs_are_read(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("left;right;same\na;b;1\nc;d;0.5\n")
    columns = PairColumns("left", "right", "same")
    assert read_pairs(path, columns) == (Pair("a", "b", 1.0, 2), Pair("c", "d", 0.5, 3))
    with pytest.raises(UsageError, match="^.*pairs.csv holds pairs of texts, not queries$"):
        read_queries(SAMPLE / "pairs.csv")


def test_the_sample_is_of_both_kinds():
    assert (len(read_queries(SAMPLE / "queries.jsonl")), len(read_pairs(SAMPLE / "pairs.csv"))) == (84, 60)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"query": " ", "relevant": []}, "'query' must be a text, not ' '"),
        ({"query": 7, "relevant": []}, "'query' must be a text, not 7"),
        ({"query": "x", "relevant": "a1"}, "'relevant' must be a list of ids, or an object of grades by id, as JSON has them"),
        ({"query": "x", "relevant": [["a"]]}, "'relevant' must be a list of ids, or an object of grades by id, as JSON has them"),
        ({"query": "x", "relevant": [""]}, "'relevant': the id is empty"),
        ({"query": "x", "relevant": {"a": -1}}, "the grade of 'a' must be a whole number from 0, not -1"),
        ({"query": "x", "relevant": {"a": True}}, "the grade of 'a' must be a whole number from 0, not True"),
        ({"query": "x", "relevant": [], "where": 1}, "'where' must be a filter, not 1"),
    ],
)  # fmt: skip
def test_a_query_that_makes_no_sense_names_its_line(tmp_path, row, problem):
    path = write(tmp_path / "q.jsonl", {"query": "fine", "relevant": ["a"]}, row)
    with pytest.raises(SourceError) as caught:
        read_cases(path)
    assert str(caught.value) == f"{path}, on line 2: {problem}"


@pytest.mark.parametrize("label", ["yes", "", "nan", "inf"])
def test_a_label_that_is_no_number_names_its_line(tmp_path, label):
    path = tmp_path / "p.csv"
    path.write_text(f"text1,text2,label\na,b,1\nc,d,{label}\n")
    with pytest.raises(SourceError) as caught:
        read_cases(path)
    assert str(caught.value) == f"{path}, on line 3: 'label' must be a number, not {label!r}"


def test_another_shape_is_refused(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("text1,text_2,label\na,b,1\n")
    with pytest.raises(SourceError) as caught:
        read_cases(path)
    assert (str(caught.value), caught.value.unchanged, caught.value.hint) == (
        f"{path} holds neither queries (query, relevant) nor pairs (text1, text2, label), but text1, text_2, label",
        "",
        "name the columns of pairs with --text1, --text2 and --label ('text2': did you mean 'text_2'?)",
    )


def test_nothing_to_read_is_an_error(tmp_path):
    (tmp_path / "q.jsonl").write_text("")
    for name, message in (("q.jsonl", "q.jsonl has no rows"), ("none.jsonl", "none.jsonl")):
        with pytest.raises(SourceError, match=message) as caught:
            read_cases(tmp_path / name)
        assert "import" not in caught.value.unchanged + caught.value.hint
    (tmp_path / "q.jsonl").write_text('{"query": "x", "relevant": []}\n{broken\n')
    with pytest.raises(SourceError, match="on line 2: ") as caught:
        read_cases(tmp_path / "q.jsonl")


# Figures, of answers that are given.

ANSWERS = {
    ("one", "semantic"): ["x", "a"],
    ("one", "hybrid"): ["a", "x"],
    ("two", "semantic"): ["b"],
    ("two", "hybrid"): ["y", "b"],
    ("three", "semantic"): [],
    ("three", "hybrid"): ["c", "d"],
    ("none", "semantic"): [],
    ("none", "hybrid"): ["x"],
}
QUERIES = [
    JudgedQuery("one", {"a": 1}, id="1"),
    JudgedQuery("two", {"b": 1}, id="2"),
    JudgedQuery("three", {"c": 1, "d": 1}, id="3"),
    JudgedQuery("none", {"x": 0}, id="4"),
]


def given(queries: Sequence[JudgedQuery]) -> Answers:
    rankings = [{mode: ANSWERS[query.text, mode] for mode in ("semantic", "hybrid")} for query in queries]
    return Answers(rankings, ("a note",))


def evaluated(queries: Sequence[JudgedQuery], wanted: Wanted, missing: Sequence[str] = ()) -> Evaluation:
    *_, last = evaluate(given, queries, wanted, collection="c", model="m", missing=missing)
    assert last.evaluation is not None
    return last.evaluation


def means(measures: Mapping[str, Estimate]) -> dict[str, float]:
    return {name: figure.mean for name, figure in measures.items()}


def test_figures_by_mode():
    found = evaluated(QUERIES, Wanted(("semantic", "hybrid"), (1, 2)), ["gone"])
    assert (found.collection, found.model, found.answerable, found.unanswerable) == ("c", "m", 3, 1)
    assert (found.missing, found.notes) == (("gone",), ("a note",))
    semantic, hybrid = found.modes
    assert means(semantic.measures) == {"nDCG@10": 0.543643, "recall@1": 0.333333, "recall@2": 0.666667, "MRR@10": 0.5}
    assert means(hybrid.measures) == {"nDCG@10": 0.876977, "recall@1": 0.5, "recall@2": 1.0, "MRR@10": 0.833333}
    assert [(one.mode, one.empty, one.rightly_empty) for one in found.modes] == [("semantic", 1, 1), ("hybrid", 0, 0)]
    assert [(one.hits, one.right_hits, one.precision) for one in found.modes] == [(3, 2, 0.666667), (7, 4, 0.571429)]
    (difference,) = found.differences
    assert difference == Difference("hybrid", "semantic", Estimate(0.333333, -0.36907, 1.0), 2, 0, 1)
    assert [(one.query.id, one.difference, dict(one.ranks)) for one in found.per_query] == [
        ("2", -0.36907, {"semantic": 1, "hybrid": 2}),
        ("1", 0.36907, {"semantic": 2, "hybrid": 1}),
        ("3", 1.0, {"semantic": None, "hybrid": 1}),
    ]


def test_one_mode_has_no_differences_and_shows_the_worst_first():
    found = evaluated(QUERIES, Wanted(("semantic",)))
    assert found.differences == ()
    assert [(one.query.id, one.difference) for one in found.per_query] == [("3", 0.0), ("1", 0.63093), ("2", 1.0)]


def test_without_answers_there_is_nothing_to_measure_but_silence():
    found = evaluated(QUERIES[3:], Wanted(("semantic", "hybrid")))
    assert found.modes == (ModeFigures("semantic", {}, 0, 1, 0, 0), ModeFigures("hybrid", {}, 0, 0, 1, 0))
    assert [one.precision for one in found.modes] == [None, 0.0]
    assert (found.answerable, found.differences, found.per_query) == (0, (), ())
    with pytest.raises(UsageError, match="^there are no queries to evaluate$"):
        evaluated([], Wanted())


@pytest.mark.parametrize(
    ("make_wanted", "message"),
    [
        (lambda: Wanted(recall_at=(0,)), "recall@k needs a k from 1 to 1,000, not 0"),
        (lambda: Wanted(recall_at=(5, 1_001)), "recall@k needs a k from 1 to 1,000, not 1001"),
        (lambda: Wanted(("hybrid", "hybrid")), "name each mode once"),
        (lambda: Wanted(()), "name each mode once"),
        (lambda: Wanted(seed=-1), "the seed must be 0 or more, not -1"),
    ],
)
def test_what_cannot_be_measured_is_refused(make_wanted, message):
    with pytest.raises(UsageError) as caught:
        make_wanted()
    assert str(caught.value) == message


# Figures, of a collection.


@pytest.fixture
def fruit(articles: kb.Collection) -> kb.Collection:
    bodies = ["red apple pie", "red apple", "green apple", "blue sky", "nothing alike"]
    articles.upsert(
        *[make(articles, f"a{n}", title="t", body=body, rating=float(n)) for n, body in enumerate(bodies, 1)]
    )
    return articles


def test_a_collection_is_asked_in_every_mode(fruit):
    queries = [JudgedQuery("blue sky", {"a4": 1, "zz": 2}, id="1"), JudgedQuery("red apple", {"a3": 1}, "rating > 2")]
    found = fruit.evaluate(queries, wanted=Wanted(recall_at=(1, 20)))
    assert [one.mode for one in found.modes] == ["semantic", "keyword", "hybrid"]
    assert [means(one.measures)["recall@1"] for one in found.modes] == [0.75, 0.75, 0.75]
    assert (found.missing, found.collection, found.model) == (("zz",), "articles", "fake")


def test_queries_are_asked_in_batches_and_every_batch_is_told_of(fruit, encoder, monkeypatch):
    batches = []
    encode = FakeEncoder.encode_queries
    monkeypatch.setattr(FakeEncoder, "encode_queries", lambda self, t: (batches.append(list(t)), encode(self, t))[1])
    queries = [JudgedQuery(f"apple {number}", {"a1": 1}, id=str(number)) for number in range(70)]
    steps = list(fruit.evaluate_steps(queries, wanted=Wanted(("semantic", "hybrid"))))
    assert steps[:-1] == [EvaluationStep(0, 70), EvaluationStep(32, 70), EvaluationStep(64, 70)]
    assert (steps[-1].done, steps[-1].total, steps[-1].evaluation is not None) == (70, 70, True)
    assert [len(batch) for batch in batches] == [32, 32, 6]  # each text once, whatever the number of modes
    seen: list[EvaluationStep] = []
    found = fruit.evaluate(queries, wanted=Wanted(("semantic", "hybrid")), progress=seen.append)
    assert (found, seen) == (steps[-1].evaluation, steps)


def test_answers_end_at_a_calibrated_bound(fruit):
    queries = [JudgedQuery("blue sky", {"a4": 1}), JudgedQuery("zeppelin", {})]
    cut = Cut(relevance=Relevance.NORMAL)
    with pytest.raises(QueryError, match="^'articles' has not been calibrated, so that it has no bound for 'normal'$"):
        fruit.evaluate(queries, cut=cut)
    body = "The first sentence of text {0} is about number {0}. The second one has {0} once more in the middle."
    fruit.upsert(*[make(fruit, f"b{n}", body=body.format(n)) for n in range(20)])
    bound = fruit.calibrate().bound(Relevance.NORMAL)
    by_score = fruit.evaluate(queries, cut=Cut(min_score=bound))
    assert fruit.evaluate(queries, cut=cut) == by_score
    # One call for all: what the collection is now is said once.
    fruit.delete(*(f"b{n}" for n in range(10)))
    assert fruit.evaluate(queries, cut=cut).notes == (
        "10 documents have changed since 'articles' was calibrated, when it had 25: run kb calibrate -c articles again",
    )


def test_answers_end_where_a_search_ends(fruit):
    queries = [JudgedQuery("blue sky", {"a4": 1}), JudgedQuery("zeppelin", {})]
    (all_of_them,) = fruit.evaluate(queries, wanted=Wanted(("semantic",))).modes
    (cut,) = fruit.evaluate(queries, wanted=Wanted(("semantic",)), cut=Cut(min_score=0.5)).modes
    assert (all_of_them.empty, all_of_them.rightly_empty) == (0, 0)
    assert (cut.empty, cut.rightly_empty, means(cut.measures)["MRR@10"]) == (0, 1, 1.0)
    assert [(one.hits, one.right_hits) for one in (all_of_them, cut)] == [(10, 1), (1, 1)]
    (strict,) = fruit.evaluate(queries, wanted=Wanted(("semantic",)), cut=Cut(min_score=1.0)).modes
    assert (strict.empty, strict.rightly_empty, means(strict.measures)["MRR@10"]) == (1, 1, 0.0)


def test_a_query_that_cannot_be_asked_is_named_before_any_is_asked(fruit, encoder):
    before = list(encoder.queries)
    fine = JudgedQuery("x", {"a1": 1})
    with pytest.raises(FilterError, match="^query q7: filter, position 0: unknown field 'ratng'"):
        fruit.evaluate([fine, JudgedQuery("x", {}, "ratng > 1", "q7")])
    with pytest.raises(QueryError, match="^query q8: the query is empty$"):
        fruit.evaluate([fine, JudgedQuery(" ", {}, id="q8")])
    with pytest.raises(QueryError, match="^there is no search mode 'fuzzy'$"):
        fruit.evaluate([fine], wanted=Wanted(("fuzzy",)))
    assert encoder.queries == before


def test_an_empty_collection_cannot_be_evaluated(articles):
    with pytest.raises(UsageError, match="^'articles' is empty; there is nothing to evaluate$"):
        articles.evaluate([JudgedQuery("x", {})])
    with pytest.raises(UsageError, match="^nothing has been judged in 'articles'$"):
        articles.evaluate()
    assert (articles.judgements(), articles.forget_judgements("x")) == ([], 0)
    articles.add(make(articles))
    articles.delete(articles.keys()[0])
    with pytest.raises(UsageError, match="^'articles' is empty; there is nothing to evaluate$"):
        articles.evaluate([JudgedQuery("x", {})])


# Judgements.


def said(found: object) -> list[tuple[str, str, bool]]:
    return [(one.query, one.key, one.relevant) for one in found]


def test_judgements_are_kept_replaced_and_forgotten(fruit, base, monkeypatch):
    monkeypatch.setenv("KB_WHO", "heron")
    fruit.judge("red fruit ", "a1", "a2")
    fruit.judge("red fruit", "a4", relevant=False)
    fruit.judge("sea", "a4")
    assert said(fruit.judgements()) == [
        ("red fruit", "a1", True),
        ("red fruit", "a2", True),
        ("red fruit", "a4", False),
        ("sea", "a4", True),
    ]
    fruit.judge("red fruit", "a2", relevant=False)
    (sea,) = fruit.judgements(" sea")
    assert sea == Judgement("sea", "a4", True, sea.at, "heron")
    assert said(fruit.judgements("red fruit"))[1] == ("red fruit", "a2", False)
    assert fruit.judged_queries() == [
        JudgedQuery("red fruit", {"a1": 1, "a2": 0, "a4": 0}, id="1"),
        JudgedQuery("sea", {"a4": 1}, id="2"),
    ]
    assert (fruit.forget_judgements("red fruit", "a1", "a3"), fruit.forget_judgements("red fruit")) == (1, 2)
    assert said(fruit.judgements()) == [("sea", "a4", True)]
    assert list(base.verify(full=True)) == []


def test_all_judgements_are_stored_or_none(fruit):
    with pytest.raises(NotFoundError) as caught:
        fruit.judge("red", "a1", "a11")
    assert (str(caught.value), caught.value.hint) == ("there is no document 'a11' in 'articles'", "did you mean 'a1'?")
    with pytest.raises(QueryError, match="^the query is empty$"):
        fruit.judge(" ", "a1")
    assert fruit.judgements() == []


def test_judgements_measure_a_collection(fruit):
    fruit.judge("blue sky", "a4")
    fruit.judge("zeppelin", "a1", relevant=False)
    found = fruit.evaluate(wanted=Wanted(("keyword",)))
    assert (found.answerable, found.unanswerable, found.modes[0].rightly_empty) == (1, 1, 1)
    assert means(found.modes[0].measures)["nDCG@10"] == 1.0
    fruit.delete("a4")
    again = fruit.evaluate(wanted=Wanted(("keyword",)))
    assert (again.missing, means(again.modes[0].measures)["nDCG@10"]) == (("a4",), 0.0)


def test_who_does_not_own_the_knowledge_base_does_not_judge(fruit, root):
    fruit._base.close()
    lock = acquire(root / ".kb")
    try:
        with kb.open(root, encoders={"fake": FakeEncoder()}) as other, pytest.raises(LockedError):
            other.collection().judge("red", "a1")
    finally:
        lock.release()


# Pairs.

PAIRS = (
    Pair("red apple", "red apple", 1.0),
    Pair("red apple", "red apple pie", 1.0),
    Pair("red apple", "blue sky", 0.0),
    Pair("green tea", "green tree", 0.0),
)


def test_pairs_with_labels(encoder):
    found = evaluate_pairs(encoder, PAIRS, threshold=1.0)
    assert (found.model, found.pairs, found.alike, found.is_hopeless) == ("fake", 4, 2, False)
    assert found.given is not None
    assert found.best is not None
    at = found.given
    assert (at.threshold, at.accuracy, at.precision, at.recall, at.f1) == (1.0, 0.75, 1.0, 0.5, 0.666667)
    assert [one.pair for one in at.wrong] == [PAIRS[1]]
    assert (found.best.accuracy, found.best.f1, found.best.wrong) == (1.0, 1.0, ())
    assert found.best.threshold < at.wrong[0].score
    assert encoder.texts == ["red apple", "red apple pie", "blue sky", "green tea", "green tree"]


def test_wrong_pairs_stand_by_their_distance_from_the_threshold(encoder):
    turned = [Pair(one.text1, one.text2, 1.0 - one.label) for one in PAIRS]
    found = evaluate_pairs(encoder, turned, threshold=0.7)
    assert found.given is not None
    distances = [abs(one.score - 0.7) for one in found.given.wrong]
    assert (found.given.accuracy, found.given.f1) == (0.0, 0.0)
    assert distances == sorted(distances, reverse=True)
    assert found.is_hopeless


def test_graded_pairs_have_correlations(encoder):
    graded = [Pair(one.text1, one.text2, grade) for one, grade in zip(PAIRS, (5.0, 4.0, 0.5, 1.0), strict=True)]
    found = evaluate_pairs(encoder, graded)
    assert (found.alike, found.given, found.best, found.is_hopeless) == (None, None, None, False)
    assert found.spearman is not None
    assert found.spearman > 0.7
    with pytest.raises(UsageError, match="^the labels are graded, so no threshold can be right or wrong$"):
        evaluate_pairs(encoder, graded, threshold=0.5)


@pytest.mark.parametrize(
    ("pairs", "threshold", "message"),
    [((), None, "there are no pairs to evaluate"), (PAIRS, 1.5, "the threshold must be from -1 to 1, not 1.5")],
)
def test_pairs_that_cannot_be_evaluated(encoder, pairs, threshold, message):
    with pytest.raises(UsageError) as caught:
        evaluate_pairs(encoder, pairs, threshold=threshold)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("scores", "labels", "best"),
    [
        ([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0], 0.5),
        ([0.9, 0.5, 0.4, 0.1], [1, 0, 1, 0], 0.7),
        ([0.5, 0.5], [1, 0], -0.25),
        ([0.5], [1], -0.25),
        ([0.5], [0], 0.75),
        ([1.0, -1.0], [1, 0], 0.0),
    ],
)
def test_the_best_threshold_lies_in_the_middle_of_the_widest_gap(scores, labels, best):
    assert best_threshold(scores, labels) == best
