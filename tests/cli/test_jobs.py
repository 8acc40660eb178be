"""``kb jobs`` on the command line: what it lists, shows, asks and prints."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kb
from kb.catalog import Counts, JobStatus
from kb.catalog.tables import jobs
from kb.cli import main
from kb.cli.running import _lines
from kb.ingest import ImportRequest, Progress
from tests.conftest import CONFIG, Ran, article

Run = Callable[..., Ran]


@pytest.fixture
def home(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (root / "config.toml").write_text(CONFIG.replace('"fake"', '"hashing-256"'))
    monkeypatch.setenv("KB_HOME", str(root))
    monkeypatch.setenv("KB_WHO", "tester")
    monkeypatch.setenv("COLUMNS", "80")
    return root


@pytest.fixture
def cli(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``kb`` in this process."""

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        code = main.run(list(arguments))
        return Ran(code, *capsys.readouterr())

    return run


@pytest.fixture
def job(home: Path, tmp_path: Path) -> str:
    """An import that added one document and changed another."""
    path = tmp_path / "in.jsonl"
    with kb.open(home) as base:
        path.write_text(json.dumps(article("old", body="As it was.")) + "\n")
        base.collection().import_file(path)
        path.write_text(json.dumps(article("old", body="Changed.")) + "\n" + json.dumps(article("new")) + "\n")
        return base.collection().import_file(path).id


def table(text: str) -> dict[str, str]:
    """The two columns of a table that ``jobs show`` prints."""
    rows = [line.split(None, 1) for line in text.splitlines()[2:] if not line.startswith(" ")]
    return {row[0]: row[1].strip() for row in rows}


def store(home: Path, number: int, **values: Any) -> None:
    with kb.open(home) as base, base.own().write() as connection:
        request = ImportRequest(("/data/in.csv",), fingerprints=("x",)).to_json()
        row = {"collection_id": 1, "kind": "import", "status": "done", "pid": 1, "who": "me", "request": request}
        for n in range(number):
            at = {"id": f"20200101-000000-{n:06x}", "started": f"2020-01-01T00:00:00.{n:06}Z"}
            connection.execute(jobs.insert().values(**row | at | values))


def test_a_table_lists_20_jobs_and_says_how_many_more(cli: Run, home: Path, job: str) -> None:
    store(home, 30)
    ran = cli("jobs", "list", "--format", "table")
    shown = re.findall(r"^\d{8}-\d{6}-[0-9a-f]{6}", ran.out, re.MULTILINE)
    assert (ran.code, len(shown), shown[0]) == (0, 20, job)
    assert ran.err == "20 jobs; 12 more: --limit 32\n"
    assert len(cli("jobs").out.splitlines()) == 32
    assert len(cli("jobs", "list", "--limit", "5").out.splitlines()) == 5
    assert max(map(len, ran.out.splitlines())) <= 80


def test_jobs_are_listed_by_status(cli: Run, home: Path, job: str) -> None:
    store(home, 1, status="running")
    assert cli("jobs", "list", "--status", "running").out == ""
    # Nobody runs it.
    (found,) = [json.loads(line) for line in cli("jobs", "list", "--status", "interrupted").out.splitlines()]
    assert (found["job"], found["status"]) == ("20200101-000000-000000", "interrupted")
    assert len(cli("jobs", "list", "--status", "done").out.splitlines()) == 2


def test_jobs_without_a_subcommand_lists_by_status(cli: Run, home: Path, job: str) -> None:
    store(home, 2, status="interrupted")
    assert cli("jobs", "--status", "interrupted").out == cli("jobs", "list", "--status", "interrupted").out != ""
    assert len(cli("jobs", "--limit", "1").out.splitlines()) == 1
    ran = cli("jobs", "--status", "done", "show", job)
    assert (ran.code, ran.err.splitlines()[0]) == (
        2,
        "error: --status and --limit say which jobs are listed: kb jobs list --status STATUS --limit N",
    )


@pytest.mark.parametrize(
    ("width", "columns"),
    [("80", "job status read rejected input"), ("120", "job status read rejected collection seconds input")],
)
def test_the_columns_of_jobs_are_the_same_whatever_stands_in_them(
    cli: Run, home: Path, job: str, monkeypatch: pytest.MonkeyPatch, width: str, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    assert cli("jobs", "--format", "table").out.splitlines()[0].split() == columns.split()
    request = ImportRequest((f"/data/{'long-name-' * 12}.csv",), fingerprints=("x",)).to_json()
    store(home, 1, status="running", read=123_456_789, rejected=1_000_000, seconds=1e6, request=request)
    monkeypatch.setattr("kb.ingest.cancelling.alive", lambda _storage: {"20200101-000000-000000"})
    shown = cli("jobs", "--format", "table").out.splitlines()
    assert shown[0].split() == columns.split()
    assert max(map(len, shown)) <= int(width)
    assert any("20200101-000000-000000 " in line for line in shown)


def test_a_job_is_shown_in_words(cli: Run, job: str, tmp_path: Path) -> None:
    shown = table(cli("jobs", "show", job, "--format", "table").out)
    assert shown.pop("started").endswith(" UTC by tester")
    assert re.fullmatch(r"\d\.\d s, \d+ rows/s", shown.pop("took"))
    assert (
        shown
        == {
            "job": f"{job}, import",
            "status": "done",
            "collection": "articles",
            "input": str(tmp_path / "in.jsonl"),
            "read": "2 rows, 100 % of the input",
            "outcome": "1 new, 1 updated",
            "embedded": "2 texts",
        }
        or shown["input"] == str(tmp_path / "in.jsonl")[: len(shown["input"])]
    )


def test_a_running_job_has_a_rate_and_the_time_that_is_left(
    cli: Run, home: Path, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(
        home, 1, status="running", read=50_000, new=50_000, seconds=50.0, position=250, total=1_000, source="feed",
        warnings='["the id 007 lost its zeros"]',
    )  # fmt: skip
    monkeypatch.setattr("kb.ingest.cancelling.alive", lambda _storage: {"20200101-000000-000000"})
    shown = table(cli("jobs", "show", "20200101-000000-000000", "--format", "table").out)
    assert shown["status"] == "running"
    assert shown["source"] == "feed"
    assert shown["read"] == "50,000 rows, 25 % of the input"
    assert shown["took"] == "50 s, 1,000 rows/s"
    assert shown["time"] == "left    about 2 min"
    assert shown["warning"] == "1    the id 007 lost its zeros"
    assert "running 25 %" in cli("jobs", "--format", "table").out


def test_a_rate_leaves_out_what_an_earlier_run_has_read(
    cli: Run, job: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr("kb.cli.running.time.monotonic", lambda: now)
    with kb.open(home) as base:
        found = replace(base.job(job), status=JobStatus.RUNNING)
    show = _lines()
    for read, position in ((50_000, 600), (50_700, 650)):
        now += 10
        show(Progress(replace(found, counts=Counts(read=read)), position, 1_000))
    assert capsys.readouterr().err == "50,000 rows, 60 %, 0 rows/s\n50,700 rows, 65 %, 70 rows/s\n"


def test_an_undo_asks_only_on_a_terminal(cli: Run, job: str) -> None:
    ran = cli("jobs", "undo", job)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines()[0] == (
        f"error: this would undo {job}: 1 document to delete, 1 document to set back; say --yes to do it"
    )


@pytest.mark.parametrize(("answer", "code"), [(False, 1), (True, 0)])
def test_an_undo_is_confirmed(
    answer: bool, code: int, cli: Run, home: Path, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", lambda question, err: asked.append((question, err)) or answer)
    ran = cli("jobs", "undo", job)
    assert (ran.code, asked) == (code, [(f"Undo {job}: 1 document to delete, 1 document to set back?", True)])
    assert ran.err == ("" if answer else "nothing was undone\n")
    with kb.open(home) as base:
        assert base.collection().keys() == (["old"] if answer else ["new", "old"])


def test_an_undo_is_a_job_and_can_be_undone(cli: Run, home: Path, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = cli("jobs", "undo", job, "--yes", "--format", "table")
    first, second = ran.out.splitlines()
    assert (ran.code, ran.err, first) == (0, "", f"undid {job}: 1 document deleted, 1 document set back")
    match = re.fullmatch(r"0 texts embedded, \d\.\d s, job (\S+)", second)
    assert match
    undone = match[1]
    shown = table(cli("jobs", "show", undone, "--format", "table").out)
    assert (shown["job"], shown["undoes"], shown["outcome"]) == (f"{undone}, undo", job, "1 updated, 1 removed")
    monkeypatch.setenv("COLUMNS", "100")
    assert f"undo of {job}" in cli("jobs", "--format", "table").out
    history = [json.loads(line) for line in cli("history", "old").out.splitlines()]
    assert [entry["job"] for entry in history][-1] == undone
    (row,) = csv.DictReader(io.StringIO(cli("jobs", "undo", undone, "--yes", "--format", "csv").out))
    assert (row["kind"], row["undoes"], row["new"], row["updated"]) == ("undo", undone, "1", "1")
    with kb.open(home) as base:
        assert base.collection().keys() == ["new", "old"]
        assert base.collection().entry("old").fields["body"] == "Changed."


def test_an_undo_is_refused_before_it_asks_and_can_be_forced(cli: Run, job: str) -> None:
    assert cli("update", "old", "body=By hand.").code == 0
    ran = cli("jobs", "undo", job)
    assert (ran.code, ran.err) == (
        1,
        f"error: something else has since changed 1 document that the job {job} touched: old\n"
        "  nothing was undone\n"
        "  kb history old shows by whom; --force sets back those, too\n",
    )
    ran = cli("jobs", "undo", job, "--force")
    assert ran.err.splitlines()[0] == (
        f"error: this would undo {job}: 1 document to delete, 1 document to set back (1 of them changed since); "
        "say --yes to do it"
    )
    assert cli("jobs", "undo", job, "--force", "--yes").code == 0
    assert json.loads(cli("get", "old").out)["fields"]["body"] == "As it was."


def test_an_undo_is_not_resumed(cli: Run, job: str) -> None:
    undone = json.loads(cli("jobs", "undo", job, "--yes").out)["job"]
    ran = cli("jobs", "resume", undone)
    assert (ran.code, ran.err.splitlines()[0]) == (1, f"error: the job {undone} is an undo: it is complete")


def test_a_stopped_job_is_cancelled(cli: Run, home: Path, job: str) -> None:
    store(home, 1, status="interrupted", read=1_200, new=1_000, unchanged=200)
    ran = cli("jobs", "cancel", "20200101-000000-000000", "--format", "table")
    assert (ran.code, ran.err, ran.out) == (
        0,
        "",
        "cancelled 20200101-000000-000000 after 1,200 rows: 1,000 new, 200 unchanged\n",
    )
    ran = cli("jobs", "cancel", job)
    assert (ran.code, ran.err) == (
        1,
        f"error: the job {job} is already done\n  nothing was cancelled\n  kb jobs undo {job} takes back what it did\n",
    )


def test_a_cancellation_that_takes_longer_is_told(
    cli: Run, home: Path, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(home, 1, status="running")
    monkeypatch.setattr("kb.ingest.cancelling.alive", lambda _storage: {"20200101-000000-000000"})
    ran = cli("jobs", "cancel", "20200101-000000-000000", "--wait", "0")
    assert (ran.code, json.loads(ran.out)["status"]) == (1, "running")
    assert ran.err == "20200101-000000-000000 is still writing a batch; it ends with that one\n"
    assert [path.name for path in (home / ".kb" / "cancel").iterdir()] == ["20200101-000000-000000"]
