"""Whatever is printed as CSV, a spreadsheet that opens it runs nothing."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import pytest

import kb
from kb.cli import main, render
from tests.conftest import CONFIG, make

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Table = Callable[..., list[dict[str, str]]]

FORMULA = '=HYPERLINK("http://x","y")'


@pytest.fixture
def table(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Table:
    """Run ``kb … --format csv`` in this process and return the rows."""
    (root / "config.toml").write_text(CONFIG.replace('"fake"', '"hashing-256"'))
    monkeypatch.setenv("KB_HOME", str(root))
    monkeypatch.setenv("KB_WHO", FORMULA)
    monkeypatch.chdir(tmp_path)
    with kb.open(root) as base:
        base.collection().upsert(make(base.collection()))

    def run(*arguments: str) -> list[dict[str, str]]:
        capsys.readouterr()
        main.run([*arguments, "--format", "csv"])
        return list(csv.DictReader(io.StringIO(capsys.readouterr().out, newline="")))

    return run


@pytest.fixture
def job(table: Table, tmp_path: Path) -> str:
    """An import of two rows from a file with an ugly name, one of them rejected."""
    good = {"id": "a9", "title": "t", "body": "b", "category": "ml", "published": "2024-01-31"}
    rows = [good, {**good, "id": "a8", "category": FORMULA}]
    (tmp_path / "=in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (row,) = table("import", "=in.jsonl", "--source", "@feed")
    return row["job"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠"])
def test_faults_S_csv_formula_injection(start: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"text": f"{start}1+1", "number": -1.5, "count": -2, "list": [f"{start}1"], "none": None, "fine": "a=1"}]
    render.print_rows(rows, "csv", columns=list(rows[0]))
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out, newline=""))
    listed = json.dumps([f"{start}1"], ensure_ascii=False)
    assert row == {"text": f"'{start}1+1", "number": "-1.5", "count": "-2", "list": listed, "none": "", "fine": "a=1"}
    render.print_rows(rows, "jsonl", columns=[])
    assert json.loads(capsys.readouterr().out) == rows[0]


def test_faults_S_csv_formulas_in_a_history(table: Table) -> None:
    (revision,) = table("history", "a1")
    assert revision["who"] == f"'{FORMULA}"


def test_faults_S_csv_formulas_in_jobs(table: Table, job: str) -> None:
    (shown,) = table("jobs", "show", job)
    assert table("jobs") == [shown]
    assert (shown["who"], shown["source"], shown["read"]) == (f"'{FORMULA}", "'@feed", "2")


def test_faults_S_csv_formulas_in_rejects(table: Table, job: str) -> None:
    (reject,) = table("jobs", "rejects", job)
    assert reject["number"] == "2"
    assert reject["file"].startswith(("/", "'=in"))
    assert not reject["reason"].startswith("=")


def test_faults_S_csv_formulas_in_compared_texts(table: Table) -> None:
    (pair,) = table("compare", FORMULA, "@1", "--model", "hashing-256")
    assert (pair["text1"], pair["text2"]) == (f"'{FORMULA}", "'@1")


def test_faults_S_csv_formulas_in_an_inspected_file(table: Table, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("=A1,n\n=1+1,-5\n")
    first, second = table("inspect", "x.csv")
    assert (first["name"], second["name"]) == ("'=A1", "n")
    assert second["examples"] == '["-5"]'


def test_faults_S_csv_formulas_in_judged_queries(table: Table) -> None:
    (judgement,) = table("judge", "@red", "a1", "yes")
    assert (judgement["query"], judgement["who"]) == ("'@red", f"'{FORMULA}")
