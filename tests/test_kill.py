"""Killed imports: whatever was acknowledged is there, and resuming ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

import kb
from kb.catalog import Counts, Job, JobStatus
from tests.conftest import CONFIG, ROOT, article

ROWS: Final = 3_000
KILLS: Final = 30
BAD: Final = frozenset(range(100, ROWS, 500))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows that all have different texts; a few are rejected."""
    path = tmp_path_factory.mktemp("input") / "rows.jsonl"
    with path.open("w") as file:
        for n in range(ROWS):
            values = article(f"d{n}", title=f"unique{n}", body=f"body of {n % 50}", rating=9 if n in BAD else 1.5)
            file.write(json.dumps(values) + "\n")
    return path


def make_base(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(CONFIG.replace('"fake"', '"hashing-256"'))
    return folder


def start(root: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "kb", *arguments],
        env={**os.environ, "KB_HOME": str(root), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=100)
    return process.returncode, out.decode(), err.decode()


def state(root: Path) -> dict[str, Any]:
    """Return what the catalog holds, without what depends on time or chance."""
    with closing(sqlite3.connect(f"file:{root}/.kb/catalog.sqlite3?mode=ro", uri=True)) as database:
        queries = {
            "documents": "SELECT key, fields, text, fields_hash, text_hash, revision FROM documents ORDER BY key",
            "chunks": 'SELECT d.key, c.ordinal, c.start, c."end", v.text_hash, v.vector FROM chunks c '
            "JOIN documents d ON d.seq = c.document_seq JOIN vectors v ON v.id = c.vector_id ORDER BY 1, 2",
            "vectors": "SELECT text_hash, vector FROM vectors ORDER BY text_hash",
            "revisions": "SELECT key, revision, action FROM revisions ORDER BY key, revision",
            "job": "SELECT status, read, new, updated, fields_only, unchanged, rejected, embedded FROM jobs",
            "rejects": "SELECT file, number, line, reason FROM rejects ORDER BY number",
        }
        return {name: database.execute(query).fetchall() for name, query in queries.items()}


def reject_text(root: Path) -> str:
    (path,) = (root / ".kb" / "rejects").iterdir()
    return path.read_text()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, rows: Path) -> tuple[Path, float]:
    """A knowledge base whose import nobody disturbed, and the seconds that the process took."""
    root = make_base(tmp_path_factory.mktemp("kill") / "undisturbed")
    began = time.monotonic()
    code, _, err = finish(start(root, "import", str(rows), "-q"))
    assert (code, err) == (3, "")
    return root, time.monotonic() - began


def check_acknowledged(root: Path) -> Job | None:
    """Assert that every row that the catalog counts is there; return the job, None before it began."""
    if not (root / ".kb" / "catalog.sqlite3").exists():
        return None
    with kb.open(root) as base:
        if not base.jobs():
            return None
        (job,) = base.jobs()
        done = job.counts.read
        rejected = sum(n < done for n in BAD)
        fine = done - rejected
        assert job.counts == Counts(read=done, new=fine, rejected=rejected, embedded=fine)
        assert job.status is JobStatus.INTERRUPTED or (job.status is JobStatus.PARTIAL and done == ROWS)
        articles = base.collection()
        expected = [f"d{n}" for n in range(done) if n not in BAD]
        assert sorted(articles.keys()) == sorted(expected)
        assert len(base.rejects(job.id)) == rejected
        for key in random.Random(done).sample(expected, min(2, fine)) + expected[-1:]:
            entry = articles.entry(key)
            assert entry.document.title == f"unique{key[1:]}"
            assert (key, 1.0) in [(hit.id, hit.score) for hit in articles.search(entry.text)]
        assert [s.behind for s in base.stats().collections] == [0]
        return job


@pytest.mark.slow
def test_faults_A1_A2_A3_C2_kills_lose_nothing(tmp_path: Path, rows: Path, undisturbed: tuple[Path, float]) -> None:
    finished, seconds = undisturbed
    expected, rejects = state(finished), reject_text(finished)
    rng = random.Random(1)
    roots = [make_base(tmp_path / "base0")]
    job: Job | None = None
    acknowledged: set[int] = set()
    kills = 0
    while kills < KILLS or job is not None:
        process = start(roots[-1], *(["import", str(rows)] if job is None else ["jobs", "resume", job.id]), "-q")
        if kills < KILLS:
            try:
                process.wait(rng.uniform(0.15, 0.9) * seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
        code, _, err = finish(process)
        assert code in (3, -signal.SIGKILL), err
        before, job = job, check_acknowledged(roots[-1])
        if job is not None:
            assert before is None or job.counts.read >= before.counts.read
            acknowledged.add(job.counts.read)
            if job.status is JobStatus.PARTIAL:
                assert state(roots[-1]) == expected
                assert reject_text(roots[-1]) == rejects
                roots.append(make_base(tmp_path / f"base{len(roots)}"))
                job = None
    assert len(acknowledged) > 5, "the kills must hit the import at different moments"
    for root in roots[:-1][-3:]:
        with kb.open(root) as base:
            assert list(base.verify(full=True)) == []


def interrupted(root: Path, rows: Path, number: signal.Signals) -> tuple[int, str, str]:
    """Import, and send the signal when a first batch has been committed."""
    process = start(root, "import", str(rows))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
        try:
            with closing(sqlite3.connect(f"file:{root}/.kb/catalog.sqlite3?mode=ro", uri=True)) as database:
                if database.execute("SELECT read FROM jobs").fetchone()[0]:
                    break
        except (sqlite3.Error, TypeError):
            continue
    process.send_signal(number)
    return finish(process)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_faults_A9_a_stopped_import_says_how_to_go_on(
    number: signal.Signals, code: int, tmp_path: Path, rows: Path, undisturbed: tuple[Path, float]
) -> None:
    root = make_base(tmp_path / "base")
    got, out, err = interrupted(root, rows, number)
    assert (got, out) == (code, ""), err
    assert "Traceback" not in err
    with kb.open(root) as base:
        (job,) = base.jobs()
        assert job.status is JobStatus.INTERRUPTED
        assert 0 < job.counts.read < ROWS
        assert f"stopped after {job.counts.read:,} rows; go on with: kb jobs resume {job.id}" in err.splitlines()
        assert base.collection().count() == job.counts.new
    code, out, err = finish(start(root, "jobs", "resume", job.id, "--format", "json"))
    assert code == 3, err
    assert re.search(r'"status": "partial", "read": 3000, "new": 2994, ', out)
    assert state(root) == state(undisturbed[0])


def test_faults_C2_a_killed_owner_leaves_no_lock(tmp_path: Path) -> None:
    root = make_base(tmp_path / "base")
    code = "import kb, sys, time; b = kb.open(sys.argv[1]); b.own(); print('mine', flush=True); time.sleep(60)"
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(root)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"mine\n"
    with kb.open(root) as base:
        began = time.monotonic()
        with pytest.raises(kb.errors.LockedError, match=f"is owned by process {owner.pid} on ") as raised:
            base.own()
        assert time.monotonic() - began < 2
        assert raised.value.unchanged == "nothing was written"
        owner.kill()
        owner.communicate()
        began = time.monotonic()
        base.own()
        assert time.monotonic() - began < 0.5
