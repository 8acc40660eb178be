"""``kb export``: what goes to stdout and to files, and what is said about it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

import kb
from kb.cli import main
from tests.conftest import ROOT, Ran, make

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., Ran]


@pytest.fixture
def run(run_kb: Run, root: Path) -> Run:
    """``kb`` on three documents, one of them with a formula in it."""
    with kb.open(root) as base:
        articles = base.collection("articles")
        articles.upsert(make(articles, "a1"), make(articles, "a2", title="=1+1", rating=1.0), make(articles, "a3"))
    return run_kb


def test_json_lines_on_stdout_are_the_default(run: Run) -> None:
    ran = run("export", "--fields", "rating,title")
    assert (ran.code, ran.err) == (0, "exported 3 documents\n")
    assert ran.out.splitlines()[1] == '{"id": "a2", "rating": 1.0, "title": "=1+1"}'


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_an_export_piped_into_an_import_changes_nothing(run: Run, root: Path, format: str) -> None:
    """``kb export | kb import -``, both at once."""
    command = [sys.executable, "-m", "kb", "export", "--kb", str(root), "-q"]
    exporting = subprocess.Popen([*command, "--to", format], stdout=subprocess.PIPE, cwd=ROOT)
    importing = [sys.executable, "-m", "kb", "import", "-", "--kb", str(root), "--format", "json"]
    done = subprocess.run(importing, stdin=exporting.stdout, capture_output=True, cwd=ROOT, check=False)
    assert exporting.stdout is not None
    exporting.stdout.close()
    found = json.loads(done.stdout)
    assert (exporting.wait(), done.returncode, found["read"], found["unchanged"]) == (0, 0, 3, 3)


def test_the_format_is_that_of_the_file(run: Run, tmp_path: Path) -> None:
    ran = run("export", "--where", "rating < 2", "--fields", "title", "-o", "out.csv")
    assert (ran.code, ran.out, ran.err) == (0, "", "exported 1 document to out.csv\n")
    assert (tmp_path / "out.csv").read_bytes() == b"id,title,_quoted\na2,'=1+1,title\n"
    ran = run("export", "--where", "rating < 2", "--fields", "title", "-o", "out.csv", "--force", "--raw", "-q")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert (tmp_path / "out.csv").read_bytes() == b"id,title\na2,=1+1\n"
    assert run("export", "-o", "out.txt", "--to", "jsonl", "--fields", "id").code == 0
    assert (tmp_path / "out.txt").read_text() == '{"id": "a1"}\n{"id": "a2"}\n{"id": "a3"}\n'


def test_the_format_of_results_is_taken_for_that_of_documents(run: Run) -> None:
    assert run("export", "--format", "csv", "--fields", "rating").out == "id,rating\na1,4.5\na2,1.0\na3,4.5\n"


def test_parquet_goes_through_a_pipe(run: Run, root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kb", "export", "--kb", str(root), "--to", "parquet"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        check=True,
    )
    assert pq.read_table(io.BytesIO(done.stdout), use_threads=False)["id"].to_pylist() == ["a1", "a2", "a3"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--to", "xml"], 2, "error: Invalid value for '--to': 'xml' is not one of 'csv', 'jsonl', 'parquet'."),
        (["--format", "json"], 2, "error: documents cannot be exported as json: say --to csv, jsonl or parquet"),
        (["--force"], 2, "error: --force is about a file: name it with -o FILE"),
        (["-o", "out.cvs"], 2, "error: '.cvs' at the end of a file's name is no format to export to"),
        (["--raw"], 2, "error: raw cells are a matter of CSV, not of jsonl"),
        (["--fields", "titel"], 2, "error: unknown field 'titel'"),
        (["--where", "titel = 1"], 2, "error: filter, position 0: unknown field 'titel'"),
        (["-o", "nowhere/out.csv"], 1, "cannot be written: No such file or directory"),
        (["-o", "there.csv"], 1, "there.csv exists already"),
        (["-c", "others"], 4, "error: there is no collection 'others'"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_written(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("mine")
    assert main.run(["export", "--kb", str(root), *arguments]) == code
    out, err = capsys.readouterr()
    assert message in err.splitlines()[0]
    assert out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "there.csv"]
    assert (tmp_path / "there.csv").read_text() == "mine"


def test_what_is_listed_as_csv_can_be_imported_and_runs_no_formula(run: Run) -> None:
    listed = run("list", "--sort", "rating", "--format", "csv").out
    assert listed.splitlines()[1] == "a2,'=1+1,The body of article a2.,ml,2024-01-31,,x,1.0,title"
    found = json.loads(run("import", "-", "--format", "json", input=listed).out)
    assert (found["read"], found["unchanged"]) == (3, 3)


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_whoever_has_read_enough_may_close_the_pipe(run: Run, root: Path, format: str) -> None:
    with kb.open(root) as base:
        articles = base.collection("articles")
        articles.upsert(*(make(articles, f"b{n}", body=f"{n} words " * 500) for n in range(300)))
    command = [sys.executable, "-m", "kb", "export", "--kb", str(root), "--to", format, "-q"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    assert child.stdout is not None and child.stderr is not None
    child.stdout.read(10)
    child.stdout.close()
    said = child.stderr.read()
    child.stderr.close()
    assert (child.wait(), said) == (0, b"")


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_faults_B3_a_full_disk_behind_stdout_is_said(run: Run, root: Path, format: str) -> None:
    command = [sys.executable, "-m", "kb", "export", "--kb", str(root), "--to", format]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, cwd=ROOT, check=False, text=True)
    assert (done.returncode, done.stderr) == (14, "error: No space left on device\n")
