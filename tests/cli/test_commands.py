"""The command line: shapes, streams, exit codes and messages of every command."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

import kb
from kb.catalog import Counts
from kb.cli import main, render
from kb.embed import KNOWN_MODELS, HashingEncoder
from kb.errors import LimitError
from kb.index.lock import acquire
from tests.conftest import CONFIG, ROOT, Ran, article

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., Ran]

HASHING = CONFIG.replace('"fake"', '"hashing-256"')
ROWS = [
    article("a1", title="Red apples", body="They grow on trees.", author="heron"),
    article("a2", title="Green pears", body="So do pears.", category="nlp", rating=None, tags=[]),
    article("a3", title="Blue sky", body="Nothing grows there.", published="2020-02-29", rating=1.0, tags=["x", "y"]),
]


@pytest.fixture
def home(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    (root / "config.toml").write_text(HASHING)
    monkeypatch.setenv("KB_HOME", str(root))
    monkeypatch.setenv("KB_WHO", "tester")
    monkeypatch.chdir(tmp_path)
    return root


@pytest.fixture
def cli(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``kb`` in this process."""

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        code = main.run(list(arguments))
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run


@pytest.fixture
def filled(home: Path, tmp_path: Path) -> list[dict[str, Any]]:
    with kb.open(home) as base:
        base.collection().import_file(save(tmp_path / "first.jsonl", ROWS))
    return ROWS


def save(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def without_nulls(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None and name != "id"}


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


JOB_COMMANDS = ["list", "show", "rejects", "resume", "cancel", "undo"]
COMMANDS = [
    *(name for name in main.COMMANDS if name not in ("bench", "index")),
    "bench index",
    "index serve",
    "index status",
    "backup create",
    "backup restore",
    "backup verify",
    "collections delete",
    *(f"jobs {verb}" for verb in JOB_COMMANDS),
]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_has_two_examples_and_fits_a_terminal(command: str, cli: Run) -> None:
    ran = cli(*command.split(), "--help")
    assert (ran.code, ran.err) == (0, "")
    shown, _, examples = ran.out.partition("Examples:\n")
    assert len(re.findall(rf"^ +(?:echo .* \| )?kb {command}".rstrip(), examples, re.MULTILINE)) >= 2
    assert [line for line in ran.out.splitlines() if len(line) >= 80] == []
    if command:
        for option in ("--kb DIR", "-c, --collection NAME", "--format", "-q, --quiet", "-v, --verbose", "--debug"):
            assert option in ran.out, option
    assert shown


def test_help_lists_every_command(cli: Run) -> None:
    designed = "init import search get list add update delete restore history collections jobs models compare stats verify config"
    assert set(designed.split()) <= set(re.findall(r"^  (\w+) ", cli("--help").out, re.MULTILINE))


def test_the_module_runs(run_kb: Callable[..., Ran]) -> None:
    ran = run_kb("--version")
    assert (ran.code, ran.out, ran.err) == (0, f"kb, version {kb.__version__}\n", "")


# Import and jobs.

JOB_KEYS = ["job", "status", "read", "new", "updated", "fields_only", "unchanged", "conflicts", "rejected", "removed", "embedded", "rejects", "seconds"]  # fmt: skip


def test_import_prints_one_object(cli: Run, tmp_path: Path) -> None:
    ran = cli("import", str(save(tmp_path / "in.jsonl", ROWS)), "--format", "json")
    assert (ran.code, ran.err) == (0, "")
    found = json.loads(ran.out)
    assert list(found) == JOB_KEYS
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", found.pop("job"))
    assert found.pop("seconds") > 0
    assert found == {
        "status": "done",
        "read": 3,
        "new": 3,
        "updated": 0,
        "fields_only": 0,
        "unchanged": 0,
        "conflicts": 0,
        "rejected": 0,
        "removed": 0,
        "embedded": 3,
        "rejects": None,
    }


def test_an_import_with_rejects_is_partial(cli: Run, tmp_path: Path) -> None:
    path = save(tmp_path / "in.jsonl", [*ROWS, article("a4", category="cooking")])
    ran = cli("import", str(path), "--format", "json")
    found = json.loads(ran.out)
    assert (ran.code, found["status"], found["read"], found["rejected"]) == (3, "partial", 4, 1)
    assert ran.err == (
        "row 4, line 4: category: input should be 'ml' or 'nlp', got 'cooking'\n"
        f"rejected rows, with reasons: {found['rejects']}\nmend them there and import that file with the same options\n"
    )
    shown = cli("jobs", "show", found["job"], "--format", "json")
    assert json.loads(shown.out) | {"started": None} == found | {
        "collection": "articles",
        "kind": "import",
        "input": [str(path)],
        "undoes": None,
        "source": None,
        "position": path.stat().st_size,
        "total": path.stat().st_size,
        "percent": 100,
        "who": "tester",
        "started": None,
        "warnings": [],
        "error": None,
    }
    assert [job["job"] for job in lines(cli("jobs").out)] == [found["job"]]
    assert cli("jobs", "list").out == cli("jobs").out
    rejects = cli("jobs", "rejects", found["job"], "--format", "json")
    reason = "category: input should be 'ml' or 'nlp', got 'cooking'"
    assert json.loads(rejects.out) == [{"file": str(path), "number": 4, "line": 4, "reason": reason}]
    assert rejects.err == f"1 of 1 rejected rows; all of them: {found['rejects']}\n"


def test_a_dry_run_says_so(cli: Run, home: Path, tmp_path: Path) -> None:
    path = str(save(tmp_path / "in.jsonl", ROWS))
    ran = cli("import", path, "--dry-run", "--format", "table")
    assert ran.code == 0
    assert ran.out.startswith("would import 3 rows into articles: 3 new\n3 texts to embed, ")
    found = json.loads(cli("import", path, "--dry-run").out)
    assert (found["job"], found["dry_run"], found["new"]) == (None, True, 3)
    assert not (home / ".kb").exists()


def test_import_options_reach_the_import(cli: Run, tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("Nr;Kopf=Zeile;body;category;published;tags;more\n1;Titel;Text;ml;2024-01-31;a|b;x\n", "cp1252")
    options = ["--input", "csv", "--encoding", "cp1252", "--map", "Nr=id", "--map", "Kopf=Zeile=title"]
    ran = cli("import", str(path), *options, "--split", "tags=|", "--unknown-columns", "ignore", "-q")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(cli("get", "1").out)["fields"] == {
        "title": "Titel",
        "body": "Text",
        "category": "ml",
        "published": "2024-01-31",
        "tags": ["a", "b"],
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--map", "a"], "--map a: write COLUMN=FIELD"),
        (["--split", "tags="], "--split tags=: write FIELD=SEP"),
        (["--split", "a=;", "--split", "a=,"], "--split names 'a' twice"),
    ],
)
def test_malformed_assignments_are_usage_errors(arguments: list[str], message: str, cli: Run) -> None:
    ran = cli("import", "in.csv", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert f"error: {message}" in ran.err.splitlines()


def test_no_rows_are_said_and_can_be_an_error(cli: Run, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("")
    ran = cli("import", str(path))
    assert (ran.code, ran.err) == (0, f"note: {path} is empty (0 bytes)\n")
    ran = cli("import", str(path), "--fail-empty")
    assert (ran.code, ran.out, ran.err) == (1, "", f"error: {path}: no rows\n  nothing was imported\n")


def test_an_unknown_job_is_not_found(cli: Run) -> None:
    for verb in ("show", "resume", "rejects", "cancel", "undo"):
        ran = cli("jobs", verb, "nope")
        assert (ran.code, ran.out, ran.err) == (4, "", "error: there is no job 'nope'\n  no job has run yet\n")


def test_a_finished_job_is_not_resumed(cli: Run, filled: object) -> None:
    (job,) = lines(cli("jobs").out)
    ran = cli("jobs", "resume", job["job"])
    assert (ran.code, ran.err) == (
        1,
        f"error: the job {job['job']} is done: there is nothing left to read\n  nothing was imported\n",
    )


def test_faults_E21_standard_input(run_kb: Callable[..., Ran]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in ROWS)
    ran = run_kb("import", "-", "--input", "jsonl", "--format", "json", input=text)
    assert (ran.code, json.loads(ran.out)["new"]) == (0, 3)
    ran = run_kb("import", "-", "--format", "json", input=text)
    assert (ran.code, json.loads(ran.out)["unchanged"]) == (0, 3)
    assert "<stdin> is read as JSON Lines; --input says otherwise" in ran.err
    ran = run_kb("import", "-", input="Dear all,\n\nthis, as you see, is a letter.\n")
    assert (ran.code, ran.out, ran.err) == (
        2,
        "",
        "error: what <stdin> holds is not certain\n  say --input csv|tsv|json|jsonl|parquet|excel|sqlite|markdown\n",
    )
    assert run_kb("import", "-", "--input", "jsonl", input="").code == 0


def test_faults_E21_what_is_no_file(cli: Run, tmp_path: Path) -> None:
    nothing = "  nothing was imported\n"
    (tmp_path / "empty").mkdir()
    for path, what, hint in [
        ("/dev/zero", "/dev/zero is a device, not a file", "use - to read standard input"),
        ("no.csv", "no.csv does not exist", "check the path; a relative one starts at the current directory"),
    ]:
        for options in ([], ["--input", "csv"]):
            ran = cli("import", str(path), *options)
            assert (ran.code, ran.out, ran.err) == (1, "", f"error: {what}\n{nothing}  {hint}\n")
    for options, what, hint in [
        ([], "is a folder without files", "name a folder of Markdown or text files"),
        (["--input", "csv"], "is a directory", "name its files, e.g. with a pattern: *.csv"),
    ]:
        ran = cli("import", str(tmp_path / "empty"), *options)
        assert (ran.code, ran.out, ran.err) == (1, "", f"error: {tmp_path}/empty {what}\n{nothing}  {hint}\n")


def test_faults_E21_a_named_pipe(cli: Run, tmp_path: Path) -> None:
    path = tmp_path / "pipe.jsonl"
    os.mkfifo(path)
    writer = threading.Thread(target=save, args=(path, ROWS), daemon=True)
    writer.start()
    ran = cli("import", str(path), "--format", "json")
    assert (ran.code, json.loads(ran.out)["new"]) == (0, 3)
    writer.join(5)


@pytest.mark.parametrize(
    ("data", "what", "hint"),
    [
        (b"PK\x03\x04....xl/workbook.xml", "an Excel workbook (xlsx), not CSV", "add --input excel"),
        (b"PK\x03\x04....", "a zip archive, not CSV", "unpack it first: unzip"),
        (b"%PDF-1.7", "a PDF, not CSV", "export its text or table first"),
        (b"<!doctype html><html>", "an HTML page, not CSV", "save the data itself, not the page"),
        (b'[{"id": 1}]', "JSON, not CSV", "add --input json"),
        (b"BZh91AY&SY", "bzip2-compressed, not CSV", "unpack it first: bunzip2"),
    ],
)
def test_faults_E22_files_that_are_something_else(data: bytes, what: str, hint: str, cli: Run, tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(data)
    ran = cli("import", str(path))
    assert (ran.code, ran.err) == (1, f"error: {path} is {what}\n  nothing was imported\n  {hint}\n")


# Search and compare.


def test_search_prints_one_object(cli: Run, filled: list[dict[str, Any]]) -> None:
    ran = cli("search", "red apples", "--where", 'category = "ml"', "-k", "1", "--min-score", "0.1", "--format", "json")
    found = json.loads(ran.out)
    model = HashingEncoder()
    text = "Red apples\n\nThey grow on trees."
    score = round(float(model.encode_query("red apples") @ model.encode_documents([text])[0]), 6)
    assert found["report"].pop("milliseconds") >= 0
    assert found["hits"][0].pop("score") == pytest.approx(score, abs=1e-6)
    assert found["hits"][0].pop("rank_score") > 0
    assert found == {
        "query": "red apples",
        "collection": "articles",
        "model": "hashing-256",
        "hits": [{"id": "a1", "text": text, "chunk": 0, "fields": without_nulls(ROWS[0])}],
        "report": {
            "returned": 1,
            "limit": 1,
            "candidates": 2,
            "passed": 1,
            "below_min_score": 1,
            "min_score": 0.1,
            "relevance": None,
            "above_max_score": 0,
            "after_jump": 0,
            "best_rejected": found["report"]["best_rejected"],
            "mode": "hybrid",
            "strategy": "exact",
            "degraded": None,
            "notes": [],
        },
    }
    assert set(found["report"]["best_rejected"]) == {"id", "score"}
    assert found["report"]["best_rejected"]["id"] == "a3"
    assert found["report"]["best_rejected"]["score"] < 0.1
    assert re.fullmatch(
        r"returned 1 of 1 · 2 candidates · 1 below 0\.1 · best rejected -?0\.\d\d · hybrid, exact, \d+ ms\n", ran.err
    )


def test_search_in_other_formats(cli: Run, filled: object) -> None:
    (hit,) = lines(cli("search", "red apples", "-k", "1").out)
    assert list(hit) == ["id", "score", "rank_score", "text", "chunk", "fields"]
    rows = list(csv.DictReader(io.StringIO(cli("search", "red apples", "--format", "csv").out)))
    assert (rows[0]["id"], float(rows[0]["score"])) == ("a1", hit["score"])
    assert list(rows[0]) == "id score rank_score chunk title body category published author tags rating".split()
    table = cli("search", "red apples", "--format", "table").out
    assert re.search(rf"{hit['score']:.3f} +{hit['rank_score']:.3f} +a1 +Red apples", table)


def test_no_hit_is_a_normal_answer(cli: Run, filled: object) -> None:
    ran = cli("search", "red", "--where", "rating > 4.9", "--format", "json")
    assert (ran.code, json.loads(ran.out)["hits"]) == (0, [])
    ran = cli("search", "zzz", "--min-score", "1")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.startswith("returned 0 of 10 · 3 candidates · 3 below 1 · best rejected ")


def test_searching_before_the_first_import(cli: Run, home: Path) -> None:
    ran = cli("search", "anything", "--format", "json")
    assert (ran.code, json.loads(ran.out)["report"]["candidates"]) == (0, 0)
    assert not (home / ".kb").exists()


def test_a_cut_query_is_noted(cli: Run, filled: object) -> None:
    err = cli("search", "apple " * 1_000).err
    assert err.splitlines()[1] == "note: the query is 5,999 characters long; the first 2,000 were used"


def test_words_without_quotes_are_queries_of_their_own(cli: Run, filled: object) -> None:
    ran = cli("search", "red", "apples", "-k", "1")
    assert [hit["query"] for hit in lines(ran.out)] == ["red", "apples"]
    assert ran.err.splitlines()[-1] == "note: these were 2 queries; one of several words needs quotes"
    assert "note:" not in cli("search", "red apples", "sky", "-k", "1").err


def test_a_text_that_begins_with_a_dash_stands_last(cli: Run, filled: object) -> None:
    ran = cli("search", "-foo")
    assert (ran.code, ran.err) == (
        2,
        "error: No such option '-f'.\n  put a text that begins with a dash last, after --\n  kb search --help shows how\n",
    )
    assert cli("search", "-k", "1", "--", "-red").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([""], "error: the query is empty\n  say what to look for; kb list shows documents without a query\n"),
        (["x", "-k", "0"], "error: limit must be from 1 to 1,000, not 0\n"),
        (
            ["x", "--min-score", "nan"],
            "error: min_score must be from -1 to 1, not nan\n"
            "  it is a cosine similarity: 1 is the same meaning, 0 is unrelated\n",
        ),
    ],
)
def test_faults_G8_bad_searches_are_usage_errors(arguments: list[str], message: str, cli: Run, filled: object) -> None:
    ran = cli("search", *arguments)
    assert (ran.code, ran.out, ran.err) == (2, "", message)


def test_faults_G8_a_decimal_comma_is_a_usage_error(cli: Run, filled: object) -> None:
    ran = cli("search", "x", "--min-score", "0,5")
    assert (ran.code, ran.out) == (2, "")
    assert "'0,5' is not a valid float" in ran.err


def test_compare_needs_no_knowledge_base(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KB_HOME")
    ran = cli("compare", "one word", "one word", "different", "--model", "hashing-256", "--format", "json")
    found = json.loads(ran.out)
    assert list(found) == ["model", "texts", "scores"]
    assert (found["model"], found["texts"]) == ("hashing-256", ["one word", "one word", "different"])
    assert [row[:2] for row in found["scores"][:2]] == [[1.0, 1.0], [1.0, 1.0]]
    assert found["scores"][0][2] == found["scores"][2][0] < 1
    pairs = lines(cli("compare", "a b", "a b", "c", "--model", "hashing-256").out)
    assert [(p["text1"], p["text2"]) for p in pairs] == [("a b", "a b"), ("a b", "c"), ("a b", "c")]
    assert cli("compare", "alone", "--model", "hashing-256").code == 2


# Documents.


def test_get_prints_a_document(cli: Run, filled: list[dict[str, Any]]) -> None:
    ran = cli("get", "a3", "--format", "json")
    found = json.loads(ran.out)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT.*", found.pop("updated"))
    assert found == {
        "id": "a3",
        "text": "Blue sky\n\nNothing grows there.",
        "fields": without_nulls(ROWS[2]),
        "revision": 1,
    }
    assert ran.err == ""
    assert json.loads(cli("get", "a3").out)["id"] == "a3"
    (row,) = csv.DictReader(io.StringIO(cli("get", "a3", "--format", "csv").out))
    assert (row["tags"], row["rating"]) == ("x;y", "1.0")
    assert re.search(r"published +2020-02-29", cli("get", "a3", "--format", "table").out)


def test_list_filters_sorts_and_pages(cli: Run, filled: object) -> None:
    def ids(*arguments: str) -> list[str]:
        return [row["id"] for row in lines(cli("list", *arguments).out)]

    assert ids() == ["a1", "a2", "a3"]
    assert ids("--where", "rating >= 1") == ["a1", "a3"]
    assert ids("--sort", "rating") == ["a3", "a1", "a2"]
    assert ids("--sort", "-rating") == ["a1", "a3", "a2"]
    assert ids("--sort", "-id", "--limit", "2", "--offset", "1") == ["a2", "a1"]
    assert ids("-k", "1", "--all") == ["a1", "a2", "a3"]
    assert cli("list", "--where", "rating > 0", "-k", "1").err == "1 of 2 documents\n"
    assert json.loads(cli("list", "--format", "json", "--where", "rating > 9").out) == []
    table = cli("list", "--format", "table").out
    assert re.search(r"^a1 +Red apples", table, re.MULTILINE)
    assert [r["id"] for r in csv.DictReader(io.StringIO(cli("list", "--format", "csv").out))] == ["a1", "a2", "a3"]


@pytest.mark.parametrize("command", [["get", "a4"], ["list"], ["search", "=1+1", "-k", "1"]])
def test_csv_quotes_what_a_spreadsheet_would_run(cli: Run, filled: object, command: list[str]) -> None:
    cli("add", "id=a4", "title==1+1", "body=B", "category=ml", "published=2024-01-31", "tags=-x;y")
    found = {row["id"]: row for row in csv.DictReader(io.StringIO(cli(*command, "--format", "csv").out))}["a4"]
    assert (found["title"], found["tags"], found["_quoted"]) == ("'=1+1", '\'["-x", "y"]', "title,tags")
    found = {row["id"]: row for row in csv.DictReader(io.StringIO(cli(*command, "--format", "csv", "--raw").out))}["a4"]
    assert (found["title"], found["tags"], "_quoted" in found) == ("=1+1", "-x;y", False)
    ran = cli(*command, "--format", "json", "--raw")
    assert (ran.code, ran.err.splitlines()[0]) == (
        2,
        "error: --raw is about the cells of CSV: say --format csv as well",
    )


def test_a_history_cuts_no_job_id(cli: Run, filled: object, monkeypatch: pytest.MonkeyPatch) -> None:
    (job,) = [row["job"] for row in lines(cli("jobs").out)]
    monkeypatch.setenv("KB_WHO", "somebody with a name as long as that of a job, and longer")
    cli("update", "a1", "rating=1", "published=2020-02-02")
    monkeypatch.setenv("COLUMNS", "80")
    shown = cli("history", "a1", "--format", "table").out
    assert max(map(len, shown.splitlines())) <= 80
    assert re.search(rf" {job}(\s|$)", shown)


def test_a_long_id_is_shown_whole(cli: Run, filled: object, monkeypatch: pytest.MonkeyPatch) -> None:
    id = "x" * 100
    cli("add", f"id={id}", "title=T", "body=B", "category=ml", "published=2024-01-31")
    monkeypatch.setenv("COLUMNS", "80")
    for command in (["list", "--where", 'title = "T"'], ["search", "T", "-k", "1"]):
        shown = cli(*command, "--format", "table").out
        assert shown.count("x") >= 100
        assert max(map(len, shown.splitlines())) <= 80


def test_an_empty_csv_has_its_header(cli: Run, filled: object) -> None:
    assert cli("list", "--format", "csv", "--where", "rating > 9").out.startswith("id")


PUT_KEYS = ["ids", "new", "updated", "fields_only", "unchanged", "embedded"]


def test_add_update_and_history(cli: Run) -> None:
    values = ["title=T=1", "body=B", "category=ml", "published=2024-01-31", "tags=a;b", "rating=2"]
    ran = cli("add", "id=n1", *values, "--format", "json")
    assert (ran.code, json.loads(ran.out)) == (0, dict(zip(PUT_KEYS, [["n1"], 1, 0, 0, 0, 1], strict=True)))
    assert json.loads(cli("get", "n1").out)["fields"]["tags"] == ["a", "b"]
    ran = cli("add", "id=n1", *values)
    assert (ran.code, ran.err) == (
        1,
        "error: the document 'n1' exists already\n  nothing was added\n  kb update n1 …\n",
    )
    assert json.loads(cli("update", "n1", "rating=3").out) == dict(zip(PUT_KEYS, [["n1"], 0, 0, 1, 0, 0], strict=True))
    assert json.loads(cli("update", "n1", "body=C").out)["updated"] == 1
    assert json.loads(cli("update", "n1", "rating=", "tags=").out)["fields_only"] == 1
    assert json.loads(cli("update", "n1", "body=C").out)["unchanged"] == 1
    fields = json.loads(cli("get", "n1").out)["fields"]
    assert (fields.get("rating"), fields["tags"], fields["body"]) == (None, [], "C")
    rows = json.loads(cli("history", "n1", "--format", "json").out)
    assert [(r["revision"], r["action"], r["changed"], r["who"], r["job"]) for r in rows] == [
        (1, "add", [], "tester", None),
        (2, "fields_only", ["rating"], "tester", None),
        (3, "update", ["body"], "tester", None),
        (4, "fields_only", ["tags", "rating"], "tester", None),
    ]
    assert rows[0]["fields"]["rating"] == 2.0
    assert cli("add", "id=n2", *values, "--format", "table").out == "n2: added\n"
    assert cli("update", "n2", "rating=1", "--format", "table").out == "n2: updated, its text is the same\n"


def test_add_takes_an_object_from_standard_input(run_kb: Callable[..., Ran]) -> None:
    ran = run_kb("add", "-", input=json.dumps(ROWS[0]))
    assert (ran.code, json.loads(ran.out)["ids"]) == (0, ["a1"])
    ran = run_kb("add", "-", input="[1]")
    assert (ran.code, ran.err.count("Traceback")) == (2, 0)
    assert ran.err.splitlines()[0] == (
        'error: stdin must hold one JSON object, e.g. {"id": "a1", "title": "…"}: the row is a list, not an object'
    )
    ran = run_kb("add", "-", input='{"id": "b1", "title": "one", "title": "two"}')
    assert (ran.code, "title" in ran.err) == (2, True)


def test_a_change_that_does_not_fit_changes_nothing(cli: Run, filled: object) -> None:
    ran = cli("update", "a1", "rating=9", "category=x")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        "error: document 'a1': category: input should be 'ml' or 'nlp', got 'x'; "
        "rating: input should be less than or equal to 5, got 9.0\n  nothing was stored of it\n"
    )
    assert json.loads(cli("get", "a1").out)["revision"] == 1


def test_delete_and_restore(cli: Run, filled: object) -> None:
    ran = cli("delete", "a1", "nope", "a1", "--format", "json")
    assert (ran.code, json.loads(ran.out)) == (3, {"deleted": 1, "ids": ["a1"], "missing": ["nope"], "dry_run": False})
    assert ran.err == "there is no document 'nope'\n"
    ran = cli("delete", "a1")
    assert (ran.code, json.loads(ran.out)) == (4, {"deleted": 0, "ids": [], "missing": ["a1"], "dry_run": False})
    ran = cli("get", "a1")
    assert ran.code == 4
    assert re.fullmatch(
        r"error: there is no document 'a1' in 'articles': it was deleted at \S+ by tester\n  kb restore a1\n", ran.err
    )
    assert json.loads(cli("restore", "a1").out)["new"] == 1
    assert json.loads(cli("get", "a1").out)["revision"] == 3
    ran = cli("restore", "a1")
    assert (ran.code, ran.err) == (
        1,
        "error: the document 'a1' is not deleted\n  nothing was restored\n"
        "  to set it back, name a revision: kb history a1, then kb restore a1 --revision N\n",
    )
    assert cli("update", "a1", "rating=1").code == 0
    assert json.loads(cli("restore", "a1", "--revision", "1").out)["fields_only"] == 1
    assert json.loads(cli("get", "a1").out)["fields"]["rating"] == 4.5
    assert cli("delete", "a2", "--format", "table").out == "deleted 1 document\n"


def test_faults_H2_a_missing_document_names_the_nearest(cli: Run, filled: object) -> None:
    for command in (["get", "aa1"], ["update", "aa1", "rating=1"], ["history", "aa1"], ["restore", "aa1"]):
        ran = cli(*command)
        assert (ran.code, ran.out) == (4, "")
        assert ran.err == "error: there is no document 'aa1' in 'articles'\n  did you mean 'a1'?\n"
    ran = cli("get", "nothing-like-it")
    assert ran.err == "error: there is no document 'nothing-like-it' in 'articles'\n  kb list shows the ids\n"


def test_faults_H5_deleting_by_filter_must_be_confirmed(cli: Run, filled: object) -> None:
    ran = cli("delete", "--where", 'category = "ml"')
    assert (ran.code, ran.out) == (2, "")
    assert "error: this would delete 2 of 3 documents; say --yes to do it" in ran.err.splitlines()
    ran = cli("delete", "--where", "rating > 0 or rating is null", "--yes")
    assert (ran.code, ran.out) == (2, "")
    assert "error: the filter matches all 3 documents; say --all if that is meant" in ran.err.splitlines()
    assert cli("delete", "--all").code == 2
    assert len(lines(cli("list").out)) == 3
    rehearsed = json.loads(cli("delete", "--where", 'category = "ml"', "--dry-run").out)
    assert rehearsed == {"deleted": 2, "ids": ["a1", "a3"], "missing": [], "dry_run": True}
    done = json.loads(cli("delete", "--where", 'category = "ml"', "--yes").out)
    assert done == rehearsed | {"dry_run": False}
    assert [row["id"] for row in lines(cli("list").out)] == ["a2"]
    assert json.loads(cli("delete", "--where", "rating > 9", "--yes").out)["deleted"] == 0
    assert json.loads(cli("delete", "--all", "--yes").out)["deleted"] == 1
    assert cli("list").out == ""


def test_faults_H5_a_dry_run_of_ids_equals_the_real_run(cli: Run, filled: object) -> None:
    rehearsed = cli("delete", "a1", "nope", "--dry-run")
    real = cli("delete", "a1", "nope")
    assert (rehearsed.code, json.loads(rehearsed.out) | {"dry_run": False}) == (real.code, json.loads(real.out))


@pytest.mark.parametrize("arguments", [[], ["a1", "--all"], ["a1", "--where", "rating > 1"], ["--all", "--where", "x"]])
def test_delete_takes_one_way_of_naming(arguments: list[str], cli: Run, filled: object) -> None:
    ran = cli("delete", *arguments)
    assert ran.code == 2
    assert "error: name the documents in one way: by ID, by --where FILTER, or by --all" in ran.err.splitlines()


# Everything else.


@pytest.mark.parametrize("width", [80, 90, 120])
def test_a_table_of_models_breaks_no_name(
    cli: Run, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    far = f"{tmp_path}/nowhere"
    (home / "config.toml").write_text(
        f'{HASHING}\n[models.far]\npath = "{far}"\n[models.api]\nurl = "http://localhost:1/v1"\ndimension = 8\n'
    )
    monkeypatch.setattr(
        "kb.embed.models.KNOWN_MODELS", tuple(m for m in KNOWN_MODELS if m.id.startswith(("para", "hash")))
    )
    monkeypatch.setattr("kb.embed.models.hub_folder", lambda *_names, **_options: None)
    ran = cli("models", "--format", "table")
    lines = [line.split() for line in ran.out.splitlines()]
    name = "paraphrase-multilingual-MiniLM-L12-v2"
    assert max(map(len, ran.out.splitlines())) <= width
    if width == 80:
        assert lines[0] == ["model", "dimension", "window", "MB", "weights"]
        assert lines[2:6] == [
            [name, "384", "128", "471", "not", "here"],
            ["transformer"],
            ["hashing-256", "256", "256", "–", "built", "in"],
            ["hashing"],
        ]
    else:
        assert lines[0] == ["model", "kind", "dimension", "window", "MB", "weights"]
        assert lines[2:] == [
            [name, "transformer", "384", "128", "471", "not", "here"],
            ["hashing-256", "hashing", "256", "256", "–", "built", "in"],
            ["far", "transformer", "–", "–", "–", "unusable"],
            ["api", "http", "8", "512", "–", "server"],
        ]
    assert ran.err == f"note: far: model 'far': there is no folder {far}\n"


def test_collections_models_stats_verify_and_config(cli: Run, home: Path, filled: object) -> None:
    (found,) = json.loads(cli("collections", "--format", "json").out)
    assert found == {
        "name": "articles",
        "documents": 3,
        "model": "hashing-256",
        "key": "id",
        "text": "{title}\n\n{body}",
        "fields": {
            "title": "str",
            "body": "text, prose",
            "category": "str, one of ml, nlp",
            "published": "date",
            "author": "str, optional",
            "tags": "list[str]",
            "rating": "float, optional, 0 ≤ value ≤ 5",
        },
    }
    known = {model["id"]: model for model in json.loads(cli("models", "--format", "json").out)}
    assert {"all-MiniLM-L6-v2", "all-mpnet-base-v2", "hashing-256"} <= set(known)
    assert (known["hashing-256"]["dimension"], known["hashing-256"]["local"]) == (256, True)
    stats = json.loads(cli("stats", "--format", "json").out)
    assert (stats["collections"][0]["documents"], stats["collections"][0]["behind"]) == (3, 0)
    assert stats["catalog_bytes"] > 0
    assert stats["index_bytes"] > 0
    assert json.loads(cli("verify", "--full", "--format", "json").out) == []
    ran = cli("verify", "--format", "table")
    assert (ran.code, ran.out, ran.err) == (0, "", "no differences\n")
    assert json.loads(cli("config", "--format", "json").out) == {
        "root": str(home),
        "storage": str(home / ".kb"),
        "index": "embedded",
        "store_text": True,
        "collections": ["articles"],
        "models": [],
        "imports": {},
    }


@pytest.mark.parametrize("format", ["table", "json", "jsonl", "csv"])
@pytest.mark.parametrize(
    "command",
    [
        *(["search", "red"], ["get", "a1"], ["list"], ["history", "a1"], ["collections"], ["jobs"], ["models"]),
        *(["compare", "a", "b"], ["stats"], ["config"], ["update", "a1", "rating=1"], ["delete", "a1"]),
    ],
    ids=" ".join,
)
def test_faults_I17_stdout_is_the_result_alone(format: str, command: list[str], cli: Run, filled: object) -> None:
    ran = cli(*command, "--format", format)
    assert ran.code == 0
    if format == "json":
        json.loads(ran.out)
    elif format == "jsonl":
        assert all(isinstance(row, dict) for row in lines(ran.out))
        assert ran.out == cli(*command[:1], *command[1:], "-q").out or command[0] in (
            "search",
            "update",
            "delete",
            "stats",
        )
    elif format == "csv":
        header, *rows = csv.reader(io.StringIO(ran.out))
        assert rows
        assert all(len(row) == len(header) for row in rows)
    else:
        assert ran.out.strip()
    assert cli(*command, "--format", format, "-q").err == ""


def test_the_format_is_json_lines_when_piped(cli: Run, filled: object) -> None:
    assert cli("list").out == cli("list", "--format", "jsonl").out


def test_quiet_leaves_stderr_empty(cli: Run, filled: object, tmp_path: Path) -> None:
    bad = str(save(tmp_path / "in.jsonl", [article("b", rating=9)]))
    for command in (["search", "red"], ["list"], ["delete", "nope"], ["import", bad], ["jobs", "--format", "table"]):
        assert cli(*command, "-q").err == ""


def test_init_makes_a_working_knowledge_base(cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KB_HOME")
    ran = cli("init", "notes", "--name", "notes", "--field", "title=str", "--field", "stars=int?", "--text", "{title}", "--model", "hashing-256", "--format", "json")  # fmt: skip
    assert (ran.code, json.loads(ran.out), ran.err) == (
        0,
        {"config": str(tmp_path / "notes" / "config.toml"), "collection": "notes"},
        "edit it, then: kb import FILE\n",
    )
    assert cli("add", "id=1", "title=red apples", "--kb", "notes").code == 0
    assert lines(cli("search", "apples", "--kb", "notes").out)[0]["fields"] == {"title": "red apples"}
    ran = cli("init", "notes")
    assert (ran.code, ran.err) == (
        1,
        "error: notes/config.toml exists already\n  nothing was written\n  edit it, or name another folder\n",
    )
    ran = cli("init", "other", "--field", "title=strr")
    assert (ran.code, (tmp_path / "other").exists()) == (2, False)
    assert "did you mean 'str'?" in ran.err


def test_the_example_of_init_takes_its_own_documents(cli: Run, tmp_path: Path) -> None:
    assert cli("init", "library", "--model", "hashing-256").code == 0
    path = str(save(tmp_path / "in.jsonl", ROWS))
    assert cli("import", path, "--kb", "library").code == 0


def test_where_the_knowledge_base_is(cli: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def root_of(*arguments: str) -> str:
        return str(json.loads(cli("config", *arguments).out)["root"])

    other = tmp_path / "other"
    (other / "deep" / "er").mkdir(parents=True)
    (other / "config.toml").write_text(HASHING)
    assert root_of() == str(home)
    assert root_of("--kb", "other") == str(other)
    monkeypatch.delenv("KB_HOME")
    monkeypatch.chdir(other / "deep" / "er")
    assert root_of() == str(other)
    monkeypatch.chdir(tmp_path)
    ran = cli("search", "x")
    assert (ran.code, ran.out, ran.err) == (
        10,
        "",
        f"error: there is no knowledge base in {tmp_path} or above: no config.toml\n  kb init, or name one with --kb DIR\n",
    )
    ran = cli("search", "x", "--kb", "nowhere")
    assert (ran.code, ran.err) == (
        10,
        "error: there is no knowledge base in nowhere: no config.toml\n  kb init nowhere\n",
    )


# Errors.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serch", "x"], "there is no command 'serch'; did you mean 'search'?"),
        (["collections", "lst"], "there is no command 'lst'; did you mean 'list'? valid: delete, list"),
        (["search", "x", "--limitt", "3"], "--limitt"),
        (["search"], "say what to look for, or name a document with --like"),
        (["import", "in.csv", "--input", "xml"], "'xml'"),
        (["jobs", "shw", "x"], "shw"),
        (["list", "--limit", "0"], "0"),
    ],
)
def test_usage_errors_are_one_line_and_name_the_nearest(arguments: list[str], message: str, cli: Run) -> None:
    ran = cli(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "Traceback" not in ran.err
    first = ran.err.splitlines()[0]
    assert first.startswith("error: ")
    assert message in first


def test_an_unknown_option_names_the_nearest(cli: Run) -> None:
    assert "--limit" in cli("search", "x", "--limitt", "3").err.replace("--limitt", "")


def test_unknown_names_get_the_nearest(cli: Run, filled: object) -> None:
    valid = "title, body, category, published, author, tags, rating"
    ran = cli("list", "--sort", "ratng")
    assert (ran.code, ran.err) == (2, f"error: unknown field 'ratng'\n  did you mean 'rating'? valid: {valid}\n")
    ran = cli("search", "x", "--where", 'categry = "ml"')
    assert ran.code == 2
    assert ran.err.startswith("error: ")
    assert "did you mean 'category'?" in ran.err
    ran = cli("search", "x", "-c", "artikles")
    assert (ran.code, ran.err) == (
        4,
        "error: there is no collection 'artikles'\n  did you mean 'articles'? valid: articles\n",
    )
    ran = cli("update", "a1", "ratng=1")
    assert ran.code == 1
    assert "ratng: unknown field; did you mean 'rating'?" in ran.err


def test_several_collections_must_be_named(cli: Run, home: Path) -> None:
    (home / "config.toml").write_text(HASHING + HASHING.partition("\n\n")[2].replace("articles", "notes"))
    ran = cli("list")
    assert (ran.code, ran.err) == (4, "error: there are several collections\n  name one with -c: articles, notes\n")
    assert cli("list", "-c", "notes").code == 0


def test_debug_shows_the_traceback_and_keeps_the_exit_code(run_kb: Callable[..., Ran]) -> None:
    ran = run_kb("get", "a1")
    assert (ran.code, "Traceback" in ran.err) == (4, False)
    ran = run_kb("get", "a1", "--debug")
    assert (ran.code, "Traceback" in ran.err, "NotFoundError" in ran.err) == (4, True, True)


@pytest.mark.parametrize("error", [LimitError("the disk is full"), OSError(28, "No space left on device")])
def test_faults_B1_no_space_is_exit_14(error: Exception, cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(kb.Collection, "ask_all", fail)
    ran = cli("search", "x")
    assert (ran.code, ran.out) == (14, "")
    assert ran.err.startswith("error: ")


def test_faults_C1_a_second_writer_is_refused_at_once(cli: Run, home: Path, filled: object) -> None:
    lock = acquire(home / ".kb")
    try:
        began = time.monotonic()
        ran = cli("update", "a1", "rating=1")
        assert time.monotonic() - began < 2
        assert (ran.code, ran.out) == (11, "")
        assert re.fullmatch(
            rf"error: the knowledge base in {re.escape(str(home))}/\.kb is owned by process {os.getpid()} on \S+ "
            r"\(.*\) since .* UTC\n  nothing was written\n"
            r"  wait until it has finished, or stop it; searching and reading work meanwhile\n",
            ran.err,
        )
        assert lines(cli("search", "red apples", "-k", "1").out)[0]["id"] == "a1"
        assert cli("get", "a1").code == 0
    finally:
        lock.release()


def test_damage_is_exit_12(cli: Run, home: Path, filled: object) -> None:
    with closing(sqlite3.connect(home / ".kb" / "catalog.sqlite3")) as database, database:
        database.execute("UPDATE documents SET text = 'tampered' WHERE key = 'a1'")
    ran = cli("verify", "--full", "--format", "json")
    assert ran.code == 12
    assert [problem["code"] for problem in json.loads(ran.out) if problem["id"] == "a1"]
    assert {"code", "collection", "id", "message", "command"} == set(json.loads(ran.out)[0])


def test_faults_D7_another_model_in_the_configuration_is_refused(cli: Run, home: Path, filled: object) -> None:
    (home / "config.toml").write_text(HASHING.replace("hashing-256", "all-MiniLM-L6-v2"))
    for command in (["search", "red"], ["import", "in.csv"], ["list"]):
        ran = cli(*command)
        assert (ran.code, ran.out) == (13, "")
        assert ran.err == (
            "error: the collection 'articles' was stored under another declaration: "
            "the model was hashing-256 and is all-MiniLM-L6-v2\n  nothing was changed\n"
            "  put the declaration back, or make the vectors that it asks for, beside those that serve: "
            "kb reembed -c articles\n"
        )


@pytest.mark.slow
def test_faults_B17_D6_other_weights_under_the_same_name_are_refused(
    cli: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sentence_transformers")
    from tests.embed.conftest import make_tiny_model

    monkeypatch.setenv("KB_CACHE", str(tmp_path / "cache"))
    first, second = make_tiny_model(tmp_path / "first"), make_tiny_model(tmp_path / "second", seed=1)
    config = HASHING.replace("hashing-256", "tiny") + '\n[models.tiny]\npath = "weights"\n'
    (home / "config.toml").write_text(config)
    (home / "weights").symlink_to(first)
    path = str(save(tmp_path / "in.jsonl", ROWS))
    assert cli("import", path).code == 0
    assert cli("search", "cat").code == 0
    (home / "weights").unlink()
    (home / "weights").symlink_to(second)
    new = str(save(tmp_path / "new.jsonl", [article("new")]))
    for command in (["search", "cat"], ["import", new], ["update", "a1", "body=the cat sat"]):
        ran = cli(*command)
        assert (ran.code, ran.out) == (13, "")
        assert re.match(
            r"error: the model 'tiny' is not the one that made the vectors of 'articles': "
            r"its answers to three fixed sentences agree to -?[01]\.\d+ only\n"
            r"  nothing was searched or written\n  put the former weights back, or make all vectors anew, "
            r"beside those that serve: kb reembed -c articles\n",
            ran.err,
        )
    assert [row["id"] for row in lines(cli("list").out)] == ["a1", "a2", "a3"]
    assert cli("update", "a1", "rating=1").code == 0, "fields alone need no model"
    (home / "weights").unlink()
    ran = cli("search", "cat")
    assert (ran.code, ran.out) == (13, "")
    assert ran.err.startswith("error: ")


def test_faults_B16_a_model_that_is_not_here_does_not_hang(
    run_kb: Callable[..., Ran], root: Path, tmp_path: Path
) -> None:
    (root / "config.toml").write_text(HASHING.replace("hashing-256", "paraphrase-multilingual-MiniLM-L12-v2"))
    began = time.monotonic()
    ran = run_kb(
        "import",
        str(save(tmp_path / "in.jsonl", ROWS)),
        HF_HUB_OFFLINE="0",
        HF_ENDPOINT="http://127.0.0.1:9",
        HF_HUB_CACHE=str(tmp_path / "hub"),
        KB_CACHE=str(tmp_path / "cache"),
    )
    assert time.monotonic() - began < 30
    assert (ran.code, ran.out) == (13, "")
    assert ran.err.splitlines()[0].startswith("error: ")
    assert "paraphrase-multilingual-MiniLM-L12-v2" in ran.err
    assert "Traceback" not in ran.err


# Terminals and pipes.

EVIL = "\x1b]52;c;aGVsbG8=\x07\x1b[2J\x1b[31mred\x9b31m \u202eevil\u202c"


def test_faults_I16_a_cell_can_do_nothing_to_a_terminal() -> None:
    for shown in (render.plain(EVIL), render.short(EVIL), render.short([EVIL])):
        assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
        assert "evil" in shown


def test_faults_I16_tables_are_harmless_and_json_is_faithful(cli: Run, home: Path) -> None:
    with kb.open(home) as base:
        articles = base.collection()
        values = article("a1", title=EVIL, body=f"{EVIL}\nline [bold]two[/bold]", author=EVIL, tags=[EVIL])
        articles.upsert(articles.schema.document(values, textual=False, separators={}))
    for command in (["list"], ["get", "a1"], ["search", "evil"], ["history", "a1"], ["compare", EVIL, "x"]):
        out = cli(*command, "--format", "table").out
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", out), command
    assert "[bold]two[/bold]" in cli("get", "a1", "--format", "table").out
    assert json.loads(cli("get", "a1").out)["fields"]["title"] == EVIL
    ran = cli("get", EVIL)
    assert ran.code == 4
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", ran.err)


def in_terminal(root: Path, *arguments: str) -> str:
    """Run ``kb`` with a terminal as its output and return what reaches it."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "kb", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "KB_HOME": str(root), "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "60"},
    ) as process:
        os.close(theirs)
        read = b""
        try:
            while block := os.read(ours, 65_536):
                read += block
        except OSError:
            pass  # the other end is closed
        os.close(ours)
    assert process.returncode == 0
    return read.decode()


def test_a_terminal_gets_a_table(home: Path, filled: object) -> None:
    shown = in_terminal(home, "get", "a1")
    assert re.search(r"title +Red apples", shown)
    assert "{" not in shown


def test_notes_are_broken_between_words_on_a_terminal(home: Path, filled: object) -> None:
    shown = in_terminal(home, "search", "red apples", "-k", "1", "--min-score", "0.1").replace("\r\n", "\n")
    said = shown[shown.index("returned ") :].splitlines()
    assert max(map(len, said)) <= 60
    assert said[1].startswith("  ")
    assert re.fullmatch(
        r"returned 1 of 1 · 3 candidates · \d below 0\.1 · best rejected -?0\.\d\d · hybrid, exact, \d+ ms",
        " ".join(line.strip() for line in said),
    )


@pytest.mark.parametrize(
    ("environment", "format", "codec"),
    [
        ({"LANG": "C", "LC_ALL": "C"}, "json", "utf-8"),
        ({"PYTHONIOENCODING": "ascii"}, "json", "ascii"),
        ({"PYTHONIOENCODING": "cp1252"}, "jsonl", "cp1252"),
        ({"PYTHONIOENCODING": "ascii"}, "table", "ascii"),
    ],
)
def test_faults_B13_any_output_encoding_will_do(
    environment: dict[str, str], format: str, codec: str, home: Path
) -> None:
    title = "naïve 日本 🙂"
    with kb.open(home) as base:
        articles = base.collection()
        articles.upsert(articles.schema.document(article("ä", title=title), textual=False, separators={}))
    done = subprocess.run(
        [sys.executable, "-m", "kb", "list", "--format", format],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        check=False,
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    out = done.stdout.decode(codec)
    if format == "table":
        assert "na" in out
    else:
        found = json.loads(out)
        assert (found[0] if format == "json" else found)["fields"]["title"] == title


def test_faults_B14_a_closed_pipe_is_no_error(home: Path, tmp_path: Path) -> None:
    with kb.open(home) as base:
        job = base.collection().import_file(
            save(tmp_path / "in.jsonl", [article(f"a{n}", body="long " * 500) for n in range(300)])
        )
        assert job.counts == Counts(read=300, new=300, embedded=job.counts.embedded)
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m kb list --all | head -1; echo ${{PIPESTATUS[0]}} >&2"],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        check=False,
        text=True,
    )
    assert json.loads(done.stdout)["id"] == "a0"
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert done.stderr.splitlines()[-1] == "0"


def test_the_first_line_comes_without_loading_models(home: Path) -> None:
    code = (
        "import sys; from kb.cli.main import run; run(['--help']); run(['list', '--help']); run(['config']);"
        "assert not {'torch', 'chromadb', 'sqlalchemy', 'pandas', 'onnxruntime'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
