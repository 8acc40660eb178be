"""Killed imports: whatever was acknowledged is there, and resuming ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import pty
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing, suppress
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


def start(
    root: Path, *arguments: str, program: Sequence[str] = ("-m", "kb"), stderr: int = subprocess.PIPE
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *program, *arguments],
        env={**os.environ, "KB_HOME": str(root), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
    )


def finish(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=100)
    return process.returncode, out.decode(), (err or b"").decode()


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


def start_slow(root: Path, *arguments: str, seconds: float, stderr: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    """Start a command whose model takes its time: so many seconds for each text after the first batch."""
    return start(root, *arguments, program=["-c", SLOW.replace("SECONDS", str(seconds))], stderr=stderr)


SLOW: Final = """
import time
from kb.cli.main import main
from kb.embed import HashingEncoder

encode, calls = HashingEncoder.encode_documents, []

def slow(self, texts):
    calls.append(texts)
    time.sleep(0.005 * len(texts) if len(calls) == 1 else len(texts) * SECONDS)
    return encode(self, texts)

HashingEncoder.encode_documents = slow
main()
"""


def wait_for_rows(root: Path, process: subprocess.Popen[bytes]) -> None:
    """Return when a first batch has been committed."""
    while process.poll() is None:
        time.sleep(0.01)
        try:
            with closing(sqlite3.connect(f"file:{root}/.kb/catalog.sqlite3?mode=ro", uri=True)) as database:
                if database.execute("SELECT read FROM jobs WHERE status = 'running'").fetchone()[0]:
                    return
        except (sqlite3.Error, TypeError):
            continue
    raise AssertionError(finish(process))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_faults_A9_a_stopped_import_says_how_to_go_on(
    number: signal.Signals, code: int, tmp_path: Path, rows: Path, undisturbed: tuple[Path, float]
) -> None:
    root = make_base(tmp_path / "base")
    process = start_slow(root, "import", str(rows), seconds=0.01)
    wait_for_rows(root, process)
    process.send_signal(number)
    got, out, err = finish(process)
    assert (got, out) == (code, ""), err
    assert not (root / ".kb" / "owner.json").exists()
    with kb.open(root) as base:
        (job,) = base.jobs()
        assert (job.status, job.error) == (JobStatus.INTERRUPTED, None)
        assert 64 <= job.counts.read < ROWS
        assert base.collection().count() == job.counts.new
    first, last = (line for line in err.splitlines() if "rows/s" not in line)
    assert first == "finishing the batch … press Ctrl-C again to stop at once"
    assert last == (
        f"{job.counts.read:,} rows done, {100 * job.position // rows.stat().st_size} % of the input; "
        f"go on with: kb jobs resume {job.id}"
    )
    code, out, err = finish(start(root, "jobs", "resume", job.id, "--format", "json"))
    assert code == 3, err
    assert re.search(r'"status": "partial", "read": 3000, "new": 2994, ', out)
    assert state(root) == state(undisturbed[0])
    assert reject_text(root) == reject_text(undisturbed[0])


def test_faults_A9_the_bar_of_a_terminal_does_not_hide_how_to_go_on(tmp_path: Path, rows: Path) -> None:
    root = make_base(tmp_path / "base")
    terminal, screen = pty.openpty()
    process = start_slow(root, "import", str(rows), seconds=0.01, stderr=screen)
    os.close(screen)
    wait_for_rows(root, process)
    process.send_signal(signal.SIGINT)
    shown = b""
    with suppress(OSError):  # which is how a terminal ends
        while part := os.read(terminal, 65_536):
            shown += part
    os.close(terminal)
    assert (finish(process)[:2], "Traceback" in shown.decode()) == ((130, ""), False)
    with kb.open(root) as base:
        (job,) = base.jobs()
    lines = [re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", line).strip() for line in shown.decode().split("\n")]
    assert "finishing the batch … press Ctrl-C again to stop at once" in lines
    assert lines[-2].endswith(f"kb jobs resume {job.id}")
    assert " % of the input; go on with: kb jobs resume" in " ".join(lines)


@pytest.mark.parametrize(("second", "code", "last"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, None)])
def test_faults_A10_a_second_signal_stops_at_once(
    second: signal.Signals, code: int, last: str | None, tmp_path: Path, rows: Path, undisturbed: tuple[Path, float]
) -> None:
    root = make_base(tmp_path / "base")
    process = start_slow(root, "import", str(rows), seconds=10)
    wait_for_rows(root, process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    # The batch that is being written would take ten minutes.
    assert process.stderr.readline().decode() == "finishing the batch … press Ctrl-C again to stop at once\n"
    process.send_signal(second)
    got, out, err = finish(process)
    assert (got, out, "Traceback" in err) == (code, "", False)
    job = check_acknowledged(root)
    assert job is not None
    assert job.counts.read == 64
    assert [line for line in err.splitlines() if "go on with" not in line] == ([last] if last else [])
    assert err.startswith("64 rows done, ")
    assert f" % of the input; go on with: kb jobs resume {job.id}\n" in err
    with kb.open(root) as base:
        assert list(base.verify(full=True)) == []
    assert finish(start(root, "jobs", "resume", job.id, "-q"))[0] == 3
    assert state(root) == state(undisturbed[0])


@pytest.mark.slow
def test_faults_A10_signals_at_any_moment_leave_a_sound_base(
    tmp_path: Path, rows: Path, undisturbed: tuple[Path, float]
) -> None:
    rng = random.Random(2)
    roots = [make_base(tmp_path / "base0")]
    command = ["import", str(rows)]
    stopped = 0
    while stopped < 5:
        process = start(roots[-1], *command, "-q")
        try:
            process.wait(rng.uniform(0.2, 0.9) * undisturbed[1])
        except subprocess.TimeoutExpired:
            for _ in range(3):
                process.send_signal(signal.SIGINT)
                time.sleep(rng.uniform(0, 0.02))
            stopped += 1
        code, _, err = finish(process)
        assert code in (3, 130, -signal.SIGINT), err
        job = check_acknowledged(roots[-1])
        if job is not None and job.status is JobStatus.PARTIAL:
            assert state(roots[-1]) == state(undisturbed[0])
            roots.append(make_base(tmp_path / f"base{len(roots)}"))
            job = None
        command = ["import", str(rows)] if job is None else ["jobs", "resume", job.id]
    for root in roots:
        with kb.open(root) as base:
            assert list(base.verify(full=True)) == []


def test_a_job_is_seen_from_another_process_while_it_runs(tmp_path: Path, rows: Path) -> None:
    root = make_base(tmp_path / "base")
    process = start_slow(root, "import", str(rows), seconds=0.001)
    wait_for_rows(root, process)
    with kb.open(root) as base:
        (first,) = base.jobs(status=JobStatus.RUNNING)
        later = first
        while later.status is JobStatus.RUNNING and later.counts.read == first.counts.read:
            time.sleep(0.01)
            later = base.job(first.id)
        assert later.counts.read > first.counts.read >= 64
        assert later.position > first.position > 0
        assert first.total == later.total == rows.stat().st_size
        assert later.pid == process.pid
    code, out, _ = finish(start(root, "jobs", "show", first.id, "--format", "json"))
    shown = json.loads(out)
    assert code == 0
    assert shown["read"] >= later.counts.read
    assert shown["percent"] >= int(100 * later.position / rows.stat().st_size)
    assert finish(process)[0] == 3


def test_faults_C12_a_running_job_is_cancelled_by_another_process(tmp_path: Path, rows: Path) -> None:
    root = make_base(tmp_path / "base")
    process = start_slow(root, "import", str(rows), "--format", "json", seconds=0.01)
    wait_for_rows(root, process)
    with kb.open(root) as base:
        (job,) = base.jobs()
    code, out, err = finish(start(root, "jobs", "cancel", job.id, "--format", "json"))
    assert (code, err) == (0, "")
    cancelled = json.loads(out)
    code, out, err = finish(process)
    imported = json.loads(out)
    assert code == 1
    assert f"the job was cancelled; what it had done stays: kb jobs undo {job.id} takes it back" in err.splitlines()
    assert {name: cancelled[name] for name in imported} == imported
    assert (cancelled["status"], 64 <= cancelled["read"] < ROWS) == ("cancelled", True)
    assert list((root / ".kb" / "cancel").iterdir()) == []
    with kb.open(root) as base:
        assert base.collection().count() == cancelled["new"]
        assert list(base.verify(full=True)) == []
    code, _, err = finish(start(root, "jobs", "resume", job.id))
    assert (code, err.splitlines()[0]) == (1, f"error: the job {job.id} is cancelled: it cannot be resumed")
    code, _, err = finish(start(root, "jobs", "cancel", job.id))
    assert (code, err.splitlines()[0]) == (1, f"error: the job {job.id} is already cancelled")
    code, _, err = finish(start(root, "jobs", "undo", job.id, "--yes"))
    assert (code, err) == (0, "")
    with kb.open(root) as base:
        assert base.collection().count() == 0


def test_faults_C12_a_killed_job_is_cancelled_for_good(tmp_path: Path, rows: Path) -> None:
    root = make_base(tmp_path / "base")
    process = start_slow(root, "import", str(rows), seconds=10)
    wait_for_rows(root, process)
    with kb.open(root) as base:
        (job,) = base.jobs()
        assert base.cancel(job.id).status is JobStatus.RUNNING
        process.kill()
        finish(process)
        assert base.job(job.id).status is JobStatus.INTERRUPTED
        assert base.cancel(job.id).status is JobStatus.CANCELLED
        assert base.job(job.id).counts.read == 64


SHUTDOWN: Final = """
import sys, threading, time
import kb
from kb.embed import HashingEncoder

encode = HashingEncoder.encode_documents

def slow(self, texts):
    time.sleep(0.005 * len(texts))
    return encode(self, texts)

HashingEncoder.encode_documents = slow
base = kb.open(sys.argv[1])
begun = threading.Event()

def run():
    base.collection().import_file(sys.argv[2], progress=lambda step: step.job.counts.read and begun.set())

threading.Thread(target=run, daemon=DAEMON).start()
begun.wait()
CLOSE
"""


@pytest.mark.parametrize("daemon", [False, True])
@pytest.mark.parametrize("close", ["base.close()", ""])
def test_faults_C12_the_end_of_the_program_ends_its_import(
    daemon: bool, close: str, tmp_path: Path, rows: Path
) -> None:
    root = make_base(tmp_path / "base")
    program = SHUTDOWN.replace("DAEMON", str(daemon)).replace("CLOSE", close)
    process = start(root, str(root), str(rows), program=["-c", program])
    code, out, err = finish(process)
    assert (code, out) == (0, "")
    # A thread that imports into a closed knowledge base is told so; otherwise nothing is wrong.
    said = [
        line for line in err.splitlines() if line and not line.startswith((" ", "Traceback", "Exception in thread"))
    ]
    assert set(said) <= ({"kb.errors.UsageError: the knowledge base is closed"} if close else set()), err
    job = check_acknowledged(root)
    assert job is not None
    assert (job.status, 64 <= job.counts.read < ROWS) == (JobStatus.INTERRUPTED, True)
    with kb.open(root) as base:
        assert base.resume(job.id).counts.read == ROWS
        assert list(base.verify(full=True)) == []


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
