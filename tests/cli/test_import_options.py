"""The options of ``kb import``: what reaches the import, what is refused, and the preview."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
import pytest

import kb
from kb.catalog import Counts
from kb.cli import main
from kb.cli.import_options import ImportOptions, import_options, request_from
from kb.config import load_settings
from kb.ingest import FieldMapping, ImportRequest, OnConflict, Policy, UnknownColumns
from kb.sources import Format, Reading
from tests.conftest import CONFIG, ROOT, Ran

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMED = """
[imports.staff]
files = "staff.csv"
collection = "articles"
key = ["dept", "nr"]
max_errors = 3
atomic = true

[imports.staff.columns]
Kopf = "title"
"""
ROW = "id,title,body,category,published\n1,A,B c.,ml,2024-01-31\n"


@pytest.fixture
def home(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    (root / "config.toml").write_text(CONFIG.replace('"fake"', '"hashing-256"') + NAMED)
    monkeypatch.setenv("KB_HOME", str(root))
    monkeypatch.chdir(tmp_path)
    return root


@pytest.fixture
def cli(home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        code = main.run(list(arguments))
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run


def parsed(*arguments: str) -> ImportOptions:
    """What the options say, without running anything."""
    found: list[ImportOptions] = []

    @click.command()
    @click.argument("files", nargs=-1)
    @import_options
    def command(given: ImportOptions) -> None:
        found.append(given)

    command.main(list(arguments), standalone_mode=False)
    return found[0]


def requested(home: Path, *arguments: str) -> ImportRequest:
    return request_from(parsed(*arguments), load_settings(home, {}))[0]


def test_every_option_reaches_the_request(home: Path) -> None:
    options = (
        *(
            "a.csv",
            "b.csv",
            "--input",
            "csv",
            "--encoding",
            "cp1252",
            "--delimiter",
            ";",
            "--quote",
            "'",
            "--no-header",
        ),
        *("--records", "items", "--sheet", "S", "--sql", "select 1", "--map", "A=B=title", "--map", "C=body"),
        *("--map", "C=author", "--set", "rating=4=5", "--template", "category={a}={b}", "--split", "tags=="),
        *("--date-format", "published=%d=%m", "--null", "NULL", "--null", "-", "--key", "x,y", "--where", 'a = "b"'),
        *("--unknown-columns", "ignore", "--max-errors", "5%", "--atomic", "--fail-empty", "--source", "s"),
        *("--on-conflict", "theirs", "--sync", "--max-delete", "20%"),
    )
    assert requested(home, *options) == ImportRequest(
        ("a.csv", "b.csv"),
        Reading(Format.CSV, "cp1252", ";", "'", header=False, records="items", sheet="S", sql="select 1"),
        FieldMapping(
            {"A=B": "title", "C": ("body", "author")},
            {"rating": "4=5"},
            {"category": "{a}={b}"},
            {"tags": "="},
            {"published": "%d=%m"},
            ("x", "y"),
            'a = "b"',
            ("NULL", "-"),
            UnknownColumns.IGNORE,
        ),
        Policy(True, None, 0.05, "s", True, 0.2, OnConflict.THEIRS, True),
    )
    assert requested(home, "a.csv") == ImportRequest(("a.csv",))
    assert requested(home, "a.csv", "--on-error", "stop").policy == Policy(max_errors=0)
    assert requested(home, "a.csv", "--max-errors", "7").policy == Policy(max_errors=7)


def test_options_win_over_what_is_configured(home: Path) -> None:
    settings = load_settings(home, {})
    request, collection = request_from(parsed("--use", "staff"), settings)
    assert (request, collection) == (
        ImportRequest(
            (f"{home}/staff.csv",),
            mapping=FieldMapping({"Kopf": "title"}, key=("dept", "nr")),
            policy=Policy(True, 3),
        ),
        "articles",
    )
    options = ("--use", "staff", "x.csv", "--no-atomic", "--on-error", "reject", "--key", "nr", "--set", "title=T")
    assert requested(home, *options) == ImportRequest(
        ("x.csv",),
        mapping=FieldMapping(constants={"title": "T"}, key=("nr",)),
        policy=Policy(max_error_share=1.0),
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--map", "a"], "--map a: write COLUMN=FIELD"),
        (["--map", "a=id", "--map", "a=id"], "--map a=id is given twice"),
        (["--set", "a="], "--set a=: write FIELD=VALUE"),
        (["--set", "a=1", "--set", "a=2"], "--set names 'a' twice"),
        (["--template", "=x"], "--template =x: write FIELD=TEXT"),
        (["--date-format", "x"], "--date-format x: write FIELD=FORMAT"),
        (["--split", "tags="], "--split tags=: write FIELD=SEP"),
        (["--on-error", "stop", "--max-errors", "3"], "--on-error and --max-errors say the same: give one of them"),
        (
            ["--max-errors", "x"],
            "Invalid value for '--max-errors': 'x' is neither a number of rows nor a percentage (write 100, or 5%).",
        ),
        (["--max-delete", "10"], "Invalid value for '--max-delete': '10' is not a percentage (write 5%)."),
        (["--sync"], "a sync deletes what has vanished from a source, but no source is named"),
        (["--source", "s", "--max-delete", "5%"], "--max-delete bounds what --sync deletes: give both"),
        (["--on-conflict", "keep"], "--on-conflict is about documents of a source: give --source NAME as well"),
        (["--use", "stuff"], "there is no import 'stuff'"),
        (["--preview", "0"], "a preview shows at least one row, not 0"),
    ],
)
def test_options_that_cannot_be_meant_are_usage_errors(
    arguments: list[str], message: str, cli: Callable[..., Ran]
) -> None:
    ran = cli("import", "in.csv", *arguments)
    assert (ran.code, ran.out, ran.err.splitlines()[0]) == (2, "", f"error: {message}")


def test_a_file_must_be_named(cli: Callable[..., Ran]) -> None:
    ran = cli("import")
    assert (ran.code, ran.err.splitlines()[0]) == (2, "error: no file to import is named")


def test_a_named_import_runs_wherever_one_is(cli: Callable[..., Ran], home: Path) -> None:
    (home / "staff.csv").write_text("dept,nr,Kopf,body,category,published\nit,1,A,B,ml,2024-01-31\n")
    ran = cli("import", "--use", "staff", "--format", "json")
    assert (ran.code, json.loads(ran.out)["new"]) == (0, 1)
    assert json.loads(cli("get", "it-1").out)["fields"]["title"] == "A"


def test_the_configuration_shows_and_checks_its_imports(cli: Callable[..., Ran], home: Path) -> None:
    assert json.loads(cli("config", "--format", "json").out)["imports"] == {
        "staff": {
            "files": [f"{home}/staff.csv"],
            "collection": "articles",
            "columns": {"Kopf": "title"},
            "key": ["dept", "nr"],
            "atomic": True,
            "max_errors": 3,
        }
    }
    assert "imports.staff.key" in cli("config", "--format", "table").out
    text = (home / "config.toml").read_text()
    (home / "config.toml").write_text(text.replace('Kopf = "title"', 'Kopf = "titel"'))
    ran = cli("config")
    assert (ran.code, ran.out, ran.err.splitlines()[0]) == (
        2,
        "",
        f"error: {home}/config.toml: [imports.staff]: --map Kopf=titel: 'titel' is not a field",
    )


def previewed() -> list[dict[str, Any]]:
    chunk = {"tokens": 4, "text": "A\n\nB c."}
    fields = {"title": "A", "body": "B c.", "category": "ml", "published": "2024-01-31", "tags": []}
    place = {"file": "in.csv", "number": 1, "line": 2}
    bad = {"accepted": False, "id": None, "fields": {}, "chunks": [], "window": 256}
    return [
        {**place, "accepted": True, "id": "1", "fields": fields, "chunks": [chunk], "window": 256, "problems": []},
        {"file": "in.csv", "number": 2, "line": 3, **bad, "problems": ["expected 5 cells, found 1"]},
    ]


@pytest.mark.parametrize("format", ["json", "jsonl", "csv"])
def test_a_preview_in_the_formats_of_machines(format: str, cli: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(ROW + "2\n3,A,B,ml,2024-01-31\n")
    ran = cli("import", "in.csv", "--preview", "2", "--format", format)
    assert (ran.code, ran.err) == (3, "2 rows shown, 1 of them rejected; nothing was written\n")
    if format == "csv":
        found = list(csv.DictReader(io.StringIO(ran.out)))
        assert [(row["number"], row["accepted"], json.loads(row["problems"])) for row in found] == [
            ("1", "true", []),
            ("2", "false", ["expected 5 cells, found 1"]),
        ]
    else:
        found = json.loads(ran.out) if format == "json" else [json.loads(line) for line in ran.out.splitlines()]
        assert found == previewed()


def test_a_preview_to_be_read(cli: Callable[..., Ran], tmp_path: Path, home: Path) -> None:
    (tmp_path / "in.csv").write_text(ROW + "2,A,B,cooking,x\n")
    ran = cli("import", "in.csv", "--preview", "5", "--format", "table", "-q")
    assert (ran.code, ran.err) == (3, "")
    assert ran.out == (
        "row 1 on line 2 of in.csv: accepted, id 1\n"
        "  field       type        value     \n"
        "  ──────────────────────────────────\n"
        "  title       str         A         \n"
        "  body        text        B c.      \n"
        "  category    str         ml        \n"
        "  published   date        2024-01-31\n"
        "  author      str         –         \n"
        "  tags        list[str]   –         \n"
        "  rating      float       –         \n"
        "  embedded, chunk 1 of 1: 4 of 256 tokens\n"
        "    A   \n"
        "        \n"
        "    B c.\n"
        "\n"
        "row 2 on line 3 of in.csv: rejected\n"
        "  published: 'x' is not an ISO date (write 2024-01-31)\n"
        "  category: input should be 'ml' or 'nlp', got 'cooking'\n"
        "\n"
    )
    assert not (home / ".kb").exists()


@pytest.mark.parametrize("width", [80, 120])
def test_a_preview_fits_the_terminal_and_does_nothing_to_it(width: int, home: Path, tmp_path: Path) -> None:
    body = "A long sentence of many words that goes on. " * 8
    (tmp_path / "in.csv").write_text(ROW + f"2,\x1b]52;c;x,{body},ml,2024-01-31\n")
    ran = subprocess.run(
        [sys.executable, "-m", "kb", "import", "in.csv", "--preview", "2", "--format", "table"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": str(width)},
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "2 rows shown, 0 of them rejected; nothing was written\n")
    assert "\x1b" not in ran.stdout
    assert max(len(line) for line in ran.stdout.splitlines()) <= width
    assert " ".join(ran.stdout.split()).count(body.strip()) == 1


def test_a_sequence_of_options_imports_what_somebody_else_made(
    cli: Callable[..., Ran], tmp_path: Path, home: Path
) -> None:
    (tmp_path / "in.csv").write_text("nr;Kopf;Text;am;art;weg\n1;A;B;31.01.2024;x|y;n\n2;;;;;j\n", "cp1252")
    options = ["--encoding", "cp1252", "--delimiter", ";", "--key", "nr", "--map", "Kopf=title", "--map", "Text=body"]
    options += [
        "--map",
        "am=published",
        "--map",
        "art=tags",
        "--split",
        "tags=|",
        "--date-format",
        "published=%d.%m.%Y",
    ]
    ran = cli("import", "in.csv", *options, "--set", "category=ml", "--where", 'weg = "n"')
    assert (ran.code, ran.err.splitlines()[0]) == (0, "note: --where left out 1 of 2 rows")
    with kb.open(home) as base:
        assert base.jobs()[0].counts == Counts(read=1, new=1, embedded=1)
        assert base.collection().get("1").tags == ["x", "y"]


def test_messages_about_a_folder_name_the_file(cli: Callable[..., Ran], tmp_path: Path, home: Path) -> None:
    notes = tmp_path / "notes"
    (notes / "deep").mkdir(parents=True)
    head = "---\nid: {}\ncategory: {}\npublished: 2024-01-31\n---\n# T\n"
    for name, id, category in (("a", "1", "ml"), ("b", "1", "ml"), ("deep/c", "3", "ml"), ("deep/d", "4", "cooking")):
        (notes / f"{name}.md").write_text(head.format(f'"{id}"', category) + "The same words in all of them.")
    (notes / "e.md").write_text("---\nid: 5\n")
    options = ["--unknown-columns", "ignore", "--map", "text=body"]
    ran = cli("import", "notes", *options, "--format", "json")
    assert ran.code == 3
    assert ran.err.splitlines()[:4] == [
        "b.md: id: '1' stands in b.md and already in a.md; imported later, this row would replace that one",
        "deep/d.md: category: input should be 'ml' or 'nlp', got 'cooking'",
        "e.md: the front matter that opens in line 1 with --- is not closed",
        "warning: 1 row with the same text as an earlier row, first in deep/c.md ('3', as in a.md); both are in",
    ]
    job = json.loads(ran.out)["job"]
    rejects = [json.loads(line) for line in cli("jobs", "rejects", job).out.splitlines()]
    assert [row["file"] for row in rejects] == [f"{notes}/{name}" for name in ("b.md", "deep/d.md", "e.md")]
    table = cli("jobs", "rejects", job, "--format", "table").out
    assert re.search(r"^deep/d\.md +category: input", table, re.MULTILINE)
    assert re.search(r"^e\.md +the front matter", table, re.MULTILINE)
    shown = cli("import", "notes", *options, "--preview", "2", "--format", "table").out
    assert "row 1 in a.md of notes: accepted, id 1\n" in shown
    assert "id: '1' stands in b.md and already in a.md of notes\n" in shown


def test_rejects_of_several_files_name_theirs(cli: Callable[..., Ran], tmp_path: Path, home: Path) -> None:
    for name, category in (("a", "ml"), ("b", "cooking")):
        (tmp_path / f"{name}.csv").write_text(f"id,title,body,category,published\n{name},T,B,{category},2024-01-31\n")
    ran = cli("import", "a.csv", "b.csv")
    assert ran.err.splitlines()[0] == "row 1, line 2 of b.csv: category: input should be 'ml' or 'nlp', got 'cooking'"
