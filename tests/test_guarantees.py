"""The page of guarantees: its recovery runbook is run, command by command."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

import kb
from tests.conftest import CONFIG, ROOT, article

PAGE: Final = (ROOT / "docs" / "guarantees.md").read_text()
COMMAND: Final = re.compile(r"^(?P<command>.*?)\s*(?:# exit code (?P<code>\d+))?$")


def runbook() -> dict[str, list[str]]:
    """Return, by case, the lines to run."""
    section = PAGE.partition("\n## Recovery\n")[2].partition("\n## ")[0]
    cases = re.findall(r"^### (.*?)\n(.*?)(?=^### |\Z)", section, re.DOTALL | re.MULTILINE)
    return {
        title: [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
        for title, text in cases
    }


class Situation:
    """A knowledge base in trouble, and what the placeholders of the runbook stand for."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "base"
        self.root.mkdir()
        self.config = self.root / "config.toml"
        self.config.write_text(CONFIG.replace('"fake"', '"hashing-256"'))
        self.rows = self.root / "rows.jsonl"
        self.rows.write_text("".join(json.dumps(article(f"d{n}", title=f"one{n} two{n}")) + "\n" for n in range(300)))
        self.names: dict[str, str] = {}
        self.bin = folder / "bin"
        self.bin.mkdir()
        program = self.bin / "kb"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -W ignore -m kb "$@"\n')
        program.chmod(0o755)
        with kb.open(self.root) as base:
            self.job = base.collection().import_file(self.rows).id

    @property
    def storage(self) -> Path:
        return self.root / ".kb"

    @property
    def catalog(self) -> Path:
        return self.storage / "catalog.sqlite3"

    def environment(self, **more: str) -> dict[str, str]:
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **more}

    def run(self, line: str, **more: str) -> subprocess.CompletedProcess[str]:
        for name, value in self.names.items():
            line = re.sub(rf"\b{name}\b", value, line)
        return subprocess.run(
            line, shell=True, cwd=self.root, env=self.environment(**more), capture_output=True, text=True, check=False
        )


def kill_an_import(at: Situation) -> None:
    at.rows.write_text(at.rows.read_text().replace("one", "three"))
    killed = at.run("kb import rows.jsonl", KB_FAILPOINT="after_commit")
    assert killed.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), killed.stderr
    with kb.open(at.root) as base:
        at.names["JOB"] = base.jobs()[0].id


def damage_the_index(at: Situation) -> None:
    with kb.open(at.root) as base:
        base.index(base.stored_collections()[0]).delete(["d7#0"])


def damage_the_catalog(at: Situation) -> None:
    assert at.run("kb backup create --name before").returncode == 0
    at.names["NAME"] = "before"
    with at.catalog.open("r+b") as file:
        size = at.catalog.stat().st_size
        file.seek(size // 2 // 4096 * 4096)
        file.write(b"\x5a" * 4096)


def lose_the_catalog(at: Situation) -> None:
    for path in at.storage.glob("catalog.sqlite3*"):
        path.unlink()


def import_too_much(at: Situation) -> None:
    (at.root / "more.jsonl").write_text(json.dumps(article("unwanted")) + "\n")
    with kb.open(at.root) as base:
        at.names["JOB"] = base.collection().import_file(at.root / "more.jsonl").id


def delete_a_document(at: Situation) -> None:
    at.names["ID"] = "d5"
    with kb.open(at.root) as base:
        base.collection().delete("d5")


def replace_the_model(at: Situation) -> None:
    """Let the collection remember other answers of its model than it gives now."""
    import sqlite3
    from contextlib import closing

    from kb.catalog import forget_closed

    forget_closed(at.catalog)
    with closing(sqlite3.connect(at.catalog)) as database, database:
        (fingerprint,) = database.execute("SELECT fingerprint FROM collections").fetchone()
        database.execute("UPDATE collections SET fingerprint = ?", (fingerprint[4:] + fingerprint[:4],))
        database.execute("UPDATE generations SET fingerprint = ?", (fingerprint[4:] + fingerprint[:4],))


def fill_the_disk(at: Situation) -> None:
    """Leave behind what a full disk leaves: a half-made file and an index that was put aside."""
    shutil.copytree(at.storage / "chroma", at.storage / "quarantine" / "chroma-20200101T000000Z")


SITUATIONS: Final[dict[str, Callable[[Situation], None]]] = {
    "A command was killed": kill_an_import,
    "An index is damaged, slow or gone": damage_the_index,
    "The catalog is damaged": damage_the_catalog,
    "The catalog is gone, and there is no backup": lose_the_catalog,
    "An import brought in what should not be there": import_too_much,
    "A document was deleted by mistake": delete_a_document,
    "The model was replaced": replace_the_model,
    "The disk is full": fill_the_disk,
}


def test_every_case_of_the_runbook_is_tried() -> None:
    assert sorted(runbook()) == sorted(SITUATIONS)


@pytest.mark.slow
@pytest.mark.parametrize("case", SITUATIONS)
def test_the_runbook_recovers(case: str, tmp_path: Path) -> None:
    at = Situation(tmp_path)
    SITUATIONS[case](at)
    for line in runbook()[case]:
        found = COMMAND.match(line)
        assert found is not None
        done = at.run(found["command"])
        assert done.returncode == int(found["code"] or 0), f"{line}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
    root = tmp_path / "restored" if case == "The catalog is damaged" else at.root
    with kb.open(root) as base:
        assert sorted(base.collection().keys()) == sorted(f"d{n}" for n in range(300))
        assert list(base.verify(full=True)) == []
