"""``kb judge``, ``kb eval`` and ``kb compare-models``: what they print and how they end."""

from __future__ import annotations

import csv
import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

import kb
from kb.cli import main, render
from tests.conftest import CONFIG, FakeEncoder, Ran, make

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., Ran]

BODIES = ["red apple pie", "red apple", "green apple", "blue sky", "nothing alike"]


@pytest.fixture
def cli(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``kb`` in this process on five documents."""
    (root / "config.toml").write_text(CONFIG.replace('"fake"', '"hashing-256"'))
    monkeypatch.setenv("KB_HOME", str(root))
    monkeypatch.setenv("KB_WHO", "tester")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    with kb.open(root) as base:
        articles = base.collection()
        articles.upsert(*[make(articles, f"a{n}", title="t", body=body) for n, body in enumerate(BODIES, 1)])

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        code = main.run(list(arguments))
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run


@pytest.fixture
def queries(tmp_path: Path) -> str:
    rows = [
        {"id": "q1", "query": "blue sky", "relevant": ["a4"]},
        {"id": "q2", "query": "green apple", "relevant": {"a3": 2, "a2": 1}},
        {"id": "q3", "query": "zeppelin", "relevant": []},
    ]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "q.jsonl"


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    (tmp_path / "p.csv").write_text(
        "text1,text2,label\nred pie,red pie,1\nred pie,blue sky,0\nred apple,pie red apple,1\n"
    )
    return "p.csv"


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# Judging.


def test_judgements_are_shown_listed_and_removed(cli):
    ran = cli("judge", "red fruit", "a1", "a2", "YES")
    assert (ran.code, ran.err) == (0, "")
    assert [{**row, "at": ""} for row in lines(ran.out)] == [
        {"query": "red fruit", "id": key, "relevant": True, "at": "", "who": "tester"} for key in ("a1", "a2")
    ]
    assert cli("judge", "red fruit", "a1", "no", "--format", "json").code == 0
    assert cli("judge", "the sky", "a4", "yes").code == 0
    ran = cli("judge", "--list")
    assert [(row["query"], row["id"], row["relevant"]) for row in lines(ran.out)] == [
        ("red fruit", "a1", False),
        ("red fruit", "a2", True),
        ("the sky", "a4", True),
    ]
    assert ran.err == "3 judgements of 2 queries\n"
    ran = cli("judge", "--list", "the sky", "--format", "table")
    assert (ran.out.splitlines()[2].split()[:4], ran.err) == (["the", "sky", "a4", "yes"], "1 judgement of 1 query\n")
    ran = cli("judge", "red fruit", "--remove", "--format", "json")
    assert (ran.code, json.loads(ran.out)) == (0, {"removed": 2})
    ran = cli("judge", "red fruit", "--remove", "--format", "table")
    assert (ran.code, ran.out) == (4, "removed 0 judgements\n")
    assert ran.err == "nothing was judged like that: kb judge --list shows what was\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["red"], "error: say QUERY ID yes or QUERY ID no; a QUERY of several words needs quotes"),
        (["red", "a1"], "error: say QUERY ID yes or QUERY ID no; a QUERY of several words needs quotes"),
        (["red", "a1", "maybe"], "error: say QUERY ID yes or QUERY ID no; a QUERY of several words needs quotes"),
        (["--list", "red", "fruit"], "error: --list takes one QUERY; quote one of several words"),
        (["--remove"], "error: --remove needs a QUERY"),
        (["--remove", "--list"], "error: --list and --remove exclude each other"),
        ([" ", "a1", "yes"], "error: the query is empty"),
    ],
)
def test_what_cannot_be_judged(cli, arguments, message):
    ran = cli("judge", *arguments)
    assert (ran.code, ran.out, ran.err.splitlines()[0]) == (2, "", message)


def test_an_unknown_document_cannot_be_judged(cli):
    ran = cli("judge", "red", "a1", "a11", "yes")
    assert (ran.code, ran.out) == (4, "")
    assert ran.err == "error: there is no document 'a11' in 'articles'\n  did you mean 'a1'?\n"
    assert cli("judge", "--list").out == ""


# Queries.


def test_one_row_a_mode(cli, queries):
    ran = cli("eval", queries, "-k", "1", "--min-score", "0.5")
    assert (ran.code, ran.err) == (0, "note: 2 queries with an answer: the intervals of fewer than 20 are too narrow\n")
    rows = lines(ran.out)
    assert [row["mode"] for row in rows] == ["semantic", "keyword", "hybrid"]
    assert list(rows[0]) == [
        "mode",
        *("nDCG@10", "nDCG@10_low", "nDCG@10_high", "recall@1", "recall@1_low", "recall@1_high"),
        *("MRR@10", "MRR@10_low", "MRR@10_high", "queries", "empty", "without_answer", "rightly_empty"),
        *("hits", "right_hits", "precision"),
    ]
    counts = ("recall@1", "MRR@10", "queries", "empty", "without_answer", "rightly_empty")
    assert [rows[0][name] for name in counts] == [0.75, 1.0, 2, 0, 1, 1]
    assert [rows[0][name] for name in ("hits", "right_hits", "precision")] == [2, 2, 1.0]
    table = list(csv.DictReader(io.StringIO(cli("eval", queries, "-k", "1", "--format", "csv").out)))
    assert [row["mode"] for row in table] == ["semantic", "keyword", "hybrid"]


def test_one_row_a_query(cli, queries):
    ran = cli("eval", queries, "--per-query", "--mode", "hybrid", "--mode", "keyword", "-k", "5")
    first, second = lines(ran.out)
    assert {first["id"], second["id"]} == {"q1", "q2"}
    assert list(first) == [
        *("id", "query", "where"),
        *(f"{mode} {name}" for mode in ("keyword", "hybrid") for name in ("nDCG@10", "recall@5", "MRR@10", "rank")),
        "difference",
    ]
    assert (first["hybrid rank"], second["hybrid rank"]) == (1, 1)
    (only, _) = lines(cli("eval", queries, "--per-query", "--mode", "semantic").out)
    assert "difference" not in only


def test_one_object_with_everything(cli, queries):
    found = json.loads(cli("eval", queries, "--format", "json").out)
    assert list(found) == ["collection", "model", "queries", "without_answer", "modes", "differences", "missing"]
    assert (found["collection"], found["model"], found["queries"], found["without_answer"]) == (
        "articles",
        "hashing-256",
        2,
        1,
    )
    assert set(found["modes"]["hybrid"]["nDCG@10"]) == {"mean", "low", "high"}
    assert [(one["first"], one["second"]) for one in found["differences"]] == [
        ("keyword", "semantic"),
        ("hybrid", "semantic"),
        ("hybrid", "keyword"),
    ]
    assert len(json.loads(cli("eval", queries, "--format", "json", "--per-query").out)["per_query"]) == 2


def test_tables_fit_80_columns(cli, queries, pairs):
    ran = cli("eval", queries, "--per-query", "--format", "table")
    shown = ran.out.splitlines()
    assert [line for line in shown if len(line) > 80] == []
    assert shown[0].split() == ["semantic", "keyword", "hybrid"]
    assert [line.split()[0] for line in shown[2:7]] == ["nDCG@10", "recall@1", "recall@5", "recall@10", "MRR@10"]
    assert shown[7].split() == ["no", "hit,", "wrongly", *("0", "of", "2") * 3]
    assert shown[8].split()[:3] == ["no", "hit,", "rightly"]
    assert "2 queries with an answer, 1 without; hashing-256; 95 % intervals" in shown
    assert shown[-1] == "nDCG@10, place of the first relevant document; diff. is hybrid − semantic"
    ran = cli("eval", pairs, "--format", "table", "--threshold", "1")
    assert [line for line in ran.out.splitlines() if len(line) > 80] == []


def test_a_cut_shows_what_it_leaves(cli, queries):
    ran = cli("eval", queries, "--min-score", "0.5", "--mode", "semantic", "--format", "table")
    assert [line.split() for line in ran.out.splitlines()[-5:-1]] == [
        ["no", "hit,", "wrongly", "0", "of", "2"],
        ["no", "hit,", "rightly", "1", "of", "1"],
        ["with", "a", "hit", "2", "of", "3"],
        ["hits", "that", "are", "right", "100", "%", "of", "2"],
    ]
    ran = cli("eval", queries, "--min-score", "1", "--mode", "semantic", "--format", "table")
    assert ran.out.splitlines()[-2].split() == ["hits", "that", "are", "right", "–"]
    assert "with a hit" not in cli("eval", queries, "--format", "table").out
    ran = cli("eval", queries, "--relevance", "normal")
    assert (ran.code, ran.out, ran.err) == (
        2,
        "",
        "error: 'articles' has not been calibrated, so that it has no bound for 'normal'\n"
        "  run kb calibrate -c articles, or give a bound of your own: --min-score\n",
    )
    assert cli("eval", queries, "--relevance", "normal", "--min-score", "0").err == (
        "error: min_score and relevance are both the lowest score of a hit: give one of them\n"
    )


def test_a_bar_is_shown_on_a_terminal_only(cli, queries, monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    assert "asking queries" not in cli("eval", queries).err
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _self: True, raising=False)
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    assert "asking queries" in cli("eval", queries).err
    assert cli("eval", queries, "--quiet").err == ""


def test_a_line_on_a_terminal_does_not_break_before_a_percent_sign(monkeypatch, capsys):
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _self: True, raising=False)
    monkeypatch.setenv("COLUMNS", "20")
    render.say("it tells apart 91.4 % of them (88.3 % – 94.5 %)")
    assert capsys.readouterr().err == "it tells apart\n  91.4 % of them\n  (88.3 % – 94.5 %)\n"


def test_judgements_are_evaluated_without_a_file(cli):
    ran = cli("eval")
    assert (ran.code, ran.err) == (
        2,
        "error: nothing has been judged in 'articles'\n  kb judge QUERY ID yes, or name a file\n",
    )
    cli("judge", "blue sky", "a4", "yes")
    ran = cli("eval", "--mode", "keyword")
    assert ran.err == "note: 1 query with an answer: the intervals of fewer than 20 are too narrow\n"
    (row,) = lines(ran.out)
    assert (row["queries"], row["without_answer"], row["nDCG@10"]) == (1, 0, 1.0)


def test_documents_that_are_not_there_are_named(cli, tmp_path):
    (tmp_path / "q.jsonl").write_text('{"query": "blue sky", "relevant": ["a4", "zz"]}\n')
    ran = cli("eval", "q.jsonl", "--mode", "semantic")
    assert ran.err.splitlines()[0] == "note: 1 relevant document not in 'articles', counted as not found: zz"


# Pairs.


def test_pairs_are_told_by_their_columns(cli, pairs):
    (found,) = lines(cli("eval", pairs, "--threshold", "1").out)
    assert (found["model"], found["pairs"], found["alike"]) == ("hashing-256", 3, 2)
    assert {name: found["given"][name] for name in ("threshold", "accuracy", "precision", "recall", "f1")} == {
        "threshold": 1.0,
        "accuracy": 0.666667,
        "precision": 1.0,
        "recall": 0.5,
        "f1": 0.666667,
    }
    (wrong,) = found["given"]["wrong"]
    assert (wrong["text1"], wrong["text2"], wrong["label"], wrong["line"]) == ("red apple", "pie red apple", 1.0, 4)
    assert (found["best"]["accuracy"], found["best"]["wrong"]) == (1.0, [])
    rows = list(csv.DictReader(io.StringIO(cli("eval", pairs, "--threshold", "1", "--format", "csv").out)))
    assert (rows[0]["threshold"], rows[0]["accuracy"]) == ("1.0", "0.666667")
    assert len(rows) == 2


def test_pairs_need_no_knowledge_base(cli, pairs, monkeypatch):
    monkeypatch.delenv("KB_HOME")
    ran = cli("eval", pairs, "--model", "hashing-256")
    assert (ran.code, lines(ran.out)[0]["model"]) == (0, "hashing-256")


def test_graded_pairs_have_correlations_only(cli, tmp_path):
    (tmp_path / "g.csv").write_text("a,b,score\nred pie,red pie,5\nred pie,red sky,2.5\nred,blue,0\n")
    columns = ["--text1", "a", "--text2", "b", "--label", "score"]
    (found,) = lines(cli("eval", "g.csv", *columns).out)
    assert (found["alike"], found["given"], found["best"], found["spearman"]) == (None, None, None, 1.0)
    ran = cli("eval", "g.csv", *columns, "--format", "table")
    assert ran.out.startswith("3 pairs, graded; Spearman 1.000; Pearson ")
    (row,) = csv.DictReader(io.StringIO(cli("eval", "g.csv", *columns, "--format", "csv").out))
    assert (row["pairs"], row["threshold"], row["spearman"]) == ("3", "", "1.0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["p.csv", "--min-score", "0"], "error: --min-score is about queries, but p.csv holds pairs"),
        (["p.csv", "--mode", "hybrid"], "error: --mode is about queries, but p.csv holds pairs"),
        (["p.csv", "--per-query"], "error: --per-query is about queries, but p.csv holds pairs"),
        (["q.jsonl", "--threshold", "0"], "error: --threshold is about pairs, but q.jsonl holds queries"),
        (["--model", "hashing-256"], "error: --model is about pairs, but judgements are queries"),
        (["q.jsonl", "-k", "0"], "error: recall@k needs a k from 1 to 1,000, not 0"),
        (["q.jsonl", "--within", "2"], "error: within must be above 0 and at most 1, not 2"),
    ],
)
def test_options_that_make_no_sense(cli, queries, pairs, arguments, message):
    ran = cli("eval", *arguments)
    assert (ran.code, ran.out, ran.err.splitlines()[0]) == (2, "", message)


def test_another_file_is_refused(cli, tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    ran = cli("eval", "x.csv")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        "error: x.csv holds neither queries (query, relevant) nor pairs (text1, text2, label), but a, b\n"
        "  name the columns of pairs with --text1, --text2 and --label\n"
    )


# Models.


@pytest.mark.parametrize(("width", "tables"), [("80", 3), ("120", 2), ("200", 1)])
def test_a_matrix_that_is_too_wide_goes_on_below(cli, monkeypatch, width, tables):
    monkeypatch.setenv("COLUMNS", width)
    texts = [f"text {number}" for number in range(1, 12)]
    out = cli("compare", "--model", "hashing-256", "--format", "table", *texts).out
    shown = [line for line in out.splitlines() if line.split()[:1] == ["text"]]
    assert (len(shown), max(map(len, out.splitlines())) <= int(width)) == (tables, True)
    assert [name for line in shown for name in line.split()[1:]] == [str(number) for number in range(1, 12)]
    assert "…" not in out


def test_models_side_by_side(cli, queries, pairs, monkeypatch):
    from kb.embed import known, models

    again = known.known_model("hashing-256")
    monkeypatch.setattr(models, "known_model", lambda name: again if name == "second" else known.known_model(name))
    # Two models under names of their own: a collection remembers what its model calls itself.
    monkeypatch.setattr("kb.model_trials.open_encoder", lambda model, _settings: FakeEncoder(model=model))
    arguments = (
        "compare-models",
        "hashing-256",
        "second",
        "--queries",
        queries,
        "--pairs",
        pairs,
        "--mode",
        "semantic",
    )
    ran = cli(*arguments, "-k", "1")
    first, second = lines(ran.out)
    assert list(first) == [
        *("model", "dimension", "documents", "chunks", "seconds", "documents_per_second"),
        *("model_bytes", "vector_bytes", "index_bytes"),
        *("semantic nDCG@10", "semantic recall@1", "semantic MRR@10"),
        *("pairs accuracy", "pairs threshold", "pairs spearman"),
    ]
    assert (first["model"], second["model"]) == ("hashing-256", "second")
    assert ran.err.count("5 documents stored in ") == 2
    shown = cli(*arguments, "--format", "table").out.splitlines()
    assert [line for line in shown if len(line) > 80] == []
    assert shown[-1] == "second − hashing-256, semantic nDCG@10: +0.000 (+0.000 … +0.000)"
    found = json.loads(cli(*arguments, "--format", "json", "--sample", "3").out)
    assert [(one["documents"], one["answers"]["queries"], one["pairs"]["pairs"]) for one in found] == [(3, 2, 3)] * 2


def test_one_model_is_nothing_to_compare(cli, queries):
    ran = cli("compare-models", "hashing-256", "--queries", queries)
    assert (ran.code, ran.err.splitlines()[0]) == (2, "error: two models or more are needed; kb models lists them")
    ran = cli("compare-models", "hashing-256", "all-MiniLM-L6-v2")
    assert (ran.code, ran.err.splitlines()[0]) == (2, "error: there is nothing to compare models by")
