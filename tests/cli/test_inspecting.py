"""``kb inspect``: its shapes, and what it writes being imported without another flag."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import kb
from kb.cli import main
from tests.conftest import CONFIG, ROOT, SAMPLE, Ran

if TYPE_CHECKING:
    from collections.abc import Callable

MESSY = """\
Order No.;Customer Name;Zip;Placed;Amount;Count;Labels;Remarks;class
1001;Müller GmbH;01067;31.01.2024;1.234,50;3;red|blue;The customer called twice and wants the parcel to arrive before the weekend, if possible.;A
1002;"Smith; Sons";12345;01.02.2024;99,00;;green;"Delivered late.
The customer was not happy about it, and asks for a refund of the postage.";B
1003;Çelik;00123;15.02.2024;5,00;7;red|green|blue;Nothing special to say about this order, which went through without any trouble at all.;A
"""


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Ran]:
    """Run ``kb`` in this process, in a folder without a knowledge base."""
    monkeypatch.delenv("KB_HOME", raising=False)
    monkeypatch.setenv("KB_WHO", "tester")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        code = main.run(list(arguments))
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run


def articles(folder: Path) -> Path:
    path = folder / "articles.csv"
    path.write_bytes((SAMPLE / "articles.csv").read_bytes())
    return path


def test_json_is_the_whole_inspection_as_one_object(cli, tmp_path):
    articles(tmp_path)
    ran = cli("inspect", "articles.csv", "--model", "hashing-256", "--format", "json")
    assert (ran.code, ran.err) == (0, "")
    found = json.loads(ran.out)
    assert list(found) == [
        *("name", "format", "encoding", "delimiter", "quote", "header", "records", "bytes", "rows", "complete"),
        *("unreadable", "columns", "keys", "texts", "window", "findings", "proposal"),
    ]
    assert found["rows"] == 252
    assert found["keys"][0] == {"columns": ["id"], "proven": True, "repeated": 0}
    assert found["proposal"]["toml"].startswith("[collections.articles]\n")
    assert not (tmp_path / "config.toml").exists()


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_lines_are_columns_and_findings_are_notes(cli, tmp_path, format):
    (tmp_path / "in.csv").write_text("id,zip\n1,00123\n2,00456\n")
    ran = cli("inspect", "in.csv", "--model", "hashing-256", "--format", format)
    rows: list[Any] = (
        list(csv.DictReader(io.StringIO(ran.out)))
        if format == "csv"
        else [json.loads(line) for line in ran.out.splitlines()]
    )
    assert [(row["name"], row["type"]) for row in rows] == [("id", "int"), ("zip", "str")]
    assert ran.err == "note: zip: stays text: as a number '00123' on line 2 would lose how it begins\n"


def test_what_the_reader_says_is_a_note_once(cli, tmp_path):
    (tmp_path / "in.csv").write_text("id,title\n")
    ran = cli("inspect", "in.csv", "--model", "hashing-256", "--format", "jsonl")
    assert ran.err == "note: header only, no rows\n"
    assert "\nnote: header only, no rows\n" in cli("inspect", "in.csv", "--format", "table").out


def test_the_file_that_is_written_is_named(cli, tmp_path, monkeypatch):
    articles(tmp_path)
    below = tmp_path / "below"
    below.mkdir()
    (tmp_path / "config.toml").write_text(CONFIG.replace('"fake"', '"hashing-256"'))
    monkeypatch.chdir(below)
    monkeypatch.setenv("COLUMNS", "300")
    ran = cli("inspect", "../articles.csv", "--name", "mine", "--format", "table")
    assert f"\n# Proposed; --write puts it into {tmp_path}/config.toml.\n[collections.mine]\n" in ran.out
    ran = cli("inspect", "../articles.csv", "--name", "mine", "--format", "table", "--write", "-q")
    assert f"\n# Proposed, and written into {tmp_path}/config.toml.\n[collections.mine]\n" in ran.out
    assert ran.err == ""


def test_toml_alone_can_be_piped(cli, tmp_path):
    articles(tmp_path)
    ran = cli("inspect", "articles.csv", "--model", "hashing-256", "--toml", "--name", "mine")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == kb.inspect("articles.csv", model="hashing-256").proposal.to_toml().replace("articles", "mine")


def test_the_report_fits_its_terminal(tmp_path):
    articles(tmp_path)
    for columns in (80, 120):
        out = in_terminal(tmp_path, columns, "inspect", "articles.csv", "--model", "hashing-256")
        assert max(map(len, out.splitlines())) <= columns
        assert 'articles.csv · CSV · UTF-8 · cells separated by comma, quoted with " · with a' in out
        assert "key: id; also unique: title\n" in out
        assert "text: body, 103 words on average, 0 of 252 longer than the 256 tokens of" in out
        assert "\n# Proposed; --write puts it into config.toml.\n[collections.articles]\n" in out
        assert "\ntags         list[str]    12 (5 %)        227        3–41       372" in out


def in_terminal(folder: Path, columns: int, *arguments: str) -> str:
    """Return what a command prints on a terminal of that width."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": str(columns), "TERM": "dumb", "NO_COLOR": "1"}
    environment.pop("KB_HOME", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "kb", *arguments],
        stdout=follower,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env=environment,
    )
    os.close(follower)
    parts = []
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:
            break
        if not part:
            break
        parts.append(part)
    process.wait()
    os.close(leader)
    return b"".join(parts).decode().replace("\r\n", "\n")


def test_what_is_written_imports_without_flags(cli, tmp_path):
    articles(tmp_path)
    ran = cli("inspect", "articles.csv", "--model", "hashing-256", "--write", "--format", "json")
    assert (ran.code, json.loads(ran.out)["written"]) == (0, str(tmp_path / "config.toml"))
    assert ran.err == f"wrote the collection 'articles' into {tmp_path}/config.toml\nnext: kb import articles.csv\n"
    done = json.loads(cli("import", "articles.csv", "--format", "json").out)
    assert (done["status"], done["read"], done["new"]) == ("done", 252, 252)
    shown = json.loads(cli("get", "nlp-01", "--format", "json").out)
    assert shown["fields"]["tags"] == ["tokenization", "transformers"]
    assert shown["fields"]["published"] == "2023-03-14"


def test_a_messy_file_is_written_and_imported_by_name(cli, tmp_path):
    (tmp_path / "orders.csv").write_bytes(MESSY.encode("cp1252"))
    assert cli("inspect", "orders.csv", "--model", "hashing-256").code == 1
    ran = cli("inspect", "orders.csv", "--encoding", "cp1252", "--model", "hashing-256", "--write", "--format", "json")
    assert (ran.code, ran.err.splitlines()[-1]) == (0, "next: kb import --use orders")
    done = json.loads(cli("import", "--use", "orders", "--format", "json").out)
    assert (done["status"], done["new"], done["rejected"]) == ("done", 3, 0)
    shown = json.loads(cli("get", "1002", "--format", "json").out)
    assert shown["fields"] == {
        "customer_name": "Smith; Sons",
        "zip": "12345",
        "placed": "2024-02-01",
        "amount": "99,00",
        "labels": ["green"],
        "remarks": "Delivered late.\nThe customer was not happy about it, and asks for a refund of the postage.",
        "class_": "B",
    }


def test_a_second_collection_is_added_and_named_in_what_to_do_next(cli, tmp_path):
    articles(tmp_path)
    (tmp_path / "notes.jsonl").write_text('{"id": 1, "body": "some words"}\n{"id": 2, "body": "other words"}\n')
    cli("inspect", "articles.csv", "--model", "hashing-256", "--write")
    ran = cli("inspect", "notes.jsonl", "--write", "--format", "json")
    # The only collection that is there says the model.
    assert json.loads(ran.out)["window"]["model"] == "hashing-256"
    assert ran.err.splitlines()[-1] == "next: kb import notes.jsonl -c notes"
    done = json.loads(cli("import", "notes.jsonl", "-c", "notes", "--format", "json").out)
    assert (done["status"], done["new"]) == ("done", 2)


def test_a_pattern_is_written_as_one_and_imports_its_files(cli, tmp_path):
    (tmp_path / "in").mkdir()
    for n in range(3):
        (tmp_path / "in" / f"{n}.csv").write_text(f"nr;Body\n{n};some words {n}\n")
    ran = cli("inspect", "in/*.csv", "--model", "hashing-256", "--write", "--format", "json")
    assert ran.err.splitlines()[-1] == "next: kb import --use in"
    assert 'files = ["in/*.csv"]' in (tmp_path / "config.toml").read_text()
    done = json.loads(cli("import", "--use", "in", "--format", "json").out)
    assert (done["status"], done["new"]) == ("done", 3)
    # As a shell hands them over.
    ran = cli("inspect", "in/0.csv", "in/1.csv", "--name", "two", "--toml")
    assert 'files = ["in/0.csv", "in/1.csv"]' in ran.out
    shown = cli("inspect", "in/0.csv", "in/1.csv", "--format", "table").out
    assert shown.startswith("in/0.csv and 1 more · CSV · ")
    assert re.search(r"^Body +str .* on line 2 of in/0\.csv", shown, re.MULTILINE)


def test_an_existing_collection_is_not_replaced(cli, tmp_path):
    articles(tmp_path)
    assert cli("inspect", "articles.csv", "--model", "hashing-256", "--write").code == 0
    before = (tmp_path / "config.toml").read_text()
    ran = cli("inspect", "articles.csv", "--write")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        f"error: {tmp_path}/config.toml has the collection 'articles' already\n"
        "  nothing was written\n"
        "  choose another name with --name, or take [collections.articles] out first\n"
    )
    assert (tmp_path / "config.toml").read_text() == before
    assert cli("inspect", "articles.csv", "--write", "--name", "more").code == 0


@pytest.mark.parametrize("option", ["--toml", "--write"])
def test_faults_E10_nothing_can_be_proposed_for_no_rows(cli, tmp_path, option):
    (tmp_path / "in.csv").write_text("id,title\n")
    assert cli("inspect", "in.csv").code == 0
    ran = cli("inspect", "in.csv", option)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "error: in.csv: no rows, so there is nothing to propose\n  nothing was written\n"


def test_faults_E2_each_encoding_has_a_line_with_the_flag_to_add(cli, tmp_path):
    (tmp_path / "in.csv").write_bytes("id;name\n1;Müller\n2;Grüße aus Köln\n".encode("cp1252"))
    ran = cli("inspect", "in.csv")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines()[:3] == [
        "error: in.csv is not UTF-8: line 2, byte 12 of the file is 0xFC",
        "  these encodings can read it; add the one that reads well:",
        "  --encoding cp1252: “1;Müller”",
    ]
    assert cli("inspect", "in.csv", "--encoding", "cp1252").code == 0


def test_a_wrong_collection_is_named_with_the_nearest(cli, tmp_path):
    articles(tmp_path)
    cli("inspect", "articles.csv", "--model", "hashing-256", "--write")
    ran = cli("inspect", "articles.csv", "-c", "artikles")
    assert (ran.code, ran.err.splitlines()[0]) == (4, "error: there is no collection 'artikles'")
    assert "did you mean 'articles'?" in ran.err


def test_standard_input_is_inspected(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("KB_HOME", None)
    done = subprocess.run(
        [sys.executable, "-m", "kb", "inspect", "-", "--input", "tsv", "--model", "hashing-256", "--format", "json"],
        input=b"package\tsummary\nzlib\tcompression library\n", capture_output=True, cwd=tmp_path, env=environment, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert (found["name"], found["bytes"], found["rows"], found["proposal"]["name"]) == (
        "<stdin>",
        None,
        1,
        "documents",
    )
