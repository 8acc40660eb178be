"""What a power cut, and a machine without memory, leave of what was acknowledged."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import kb
from kb.catalog import JobStatus
from tests.conftest import CONFIG, ROOT, article

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace shows the calls of the system")

WRITES: Final = 12
ROWS: Final = 300
ROOM: Final = 20_000_000
"""Bytes: less than an import of these rows takes."""
WRITER: Final = r"""
import os, sys
import kb
from tests.conftest import make

with kb.open(sys.argv[1]) as base:
    articles = base.collection()
    articles.upsert(make(articles, "first"))
    os.write(1, b"begin\n")
    for number in range(int(sys.argv[2])):
        articles.upsert(make(articles, f"d{number}", title=f"title {number}"))
        os.write(1, b"acknowledged\n")
        articles.update(f"d{number}", rating=2.5)
        os.write(1, b"acknowledged\n")
    articles.delete("d0", "d1")
    os.write(1, b"acknowledged\n")
"""
CALL: Final = re.compile(r"^\d+ +(?P<name>\w+)\((?P<number>\d+)<(?P<file>[^>]*)>(?P<rest>.*)")


def make_root(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.toml").write_text(CONFIG.replace('"fake"', '"hashing-256"'))
    return folder


@needs_strace
def test_faults_A11_nothing_is_acknowledged_before_the_disk_has_it(tmp_path: Path) -> None:
    """A power cut drops what was written and not synced: at no acknowledgement is there any of the log."""
    root, trace = make_root(tmp_path / "base"), tmp_path / "trace"
    calls = "write,pwrite64,pwritev,fsync,fdatasync"
    subprocess.run(
        [
            "strace",
            "-f",
            "-y",
            "-o",
            str(trace),
            "-e",
            f"trace={calls}",
            sys.executable,
            "-c",
            WRITER,
            root,
            str(WRITES),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )
    unsynced: set[str] = set()
    has_begun, synced, acknowledged = False, 0, 0
    for line in trace.read_text(errors="replace").splitlines():
        call = CALL.match(line)
        if call is None:
            continue
        name, file = call["name"], call["file"]
        if name == "write" and call["number"] == "1":
            has_begun = has_begun or "begin" in call["rest"]
            if "acknowledged" in call["rest"]:
                assert unsynced == set(), f"acknowledged before the disk had {unsynced}"
                assert synced > 0, "acknowledged without a word to the disk"
                acknowledged += 1
            synced = 0
        elif file.endswith(("catalog.sqlite3", "catalog.sqlite3-wal")):
            if "write" in name:
                unsynced.add(file)
            else:
                unsynced.discard(file)
                synced += has_begun
    assert acknowledged == 2 * WRITES + 1


SHORT_OF_MEMORY: Final = """
import resource, sys
import kb

with kb.open(sys.argv[1]) as base:
    articles = base.collection()
    articles.search("warm")
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    room = int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_AS, (used + room, used + room))
    articles.import_file(sys.argv[2])
"""


def test_faults_A21_an_import_that_runs_out_of_memory_keeps_what_it_had_acknowledged(tmp_path: Path) -> None:
    root, rows = make_root(tmp_path / "base"), tmp_path / "rows.jsonl"
    with kb.open(root) as base:
        base.collection().upsert(base.collection().schema.document(article("before"), textual=False, separators={}))
    words = " ".join(f"word{number}" for number in range(3_000))
    with rows.open("w") as file:
        file.writelines(json.dumps(article(f"d{n}", body=f"{n} {words}")) + "\n" for n in range(ROWS))
    done = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY, root, rows, str(ROOM)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode in (1, -signal.SIGABRT, -signal.SIGSEGV, -signal.SIGKILL), done.stderr[-2000:]
    with kb.open(root) as base:
        articles = base.collection()
        jobs = base.jobs()
        acknowledged = jobs[0].counts.new if jobs else 0
        assert acknowledged < ROWS
        assert sorted(articles.keys()) == sorted(["before", *(f"d{n}" for n in range(acknowledged))])
        if jobs:
            assert jobs[0].status in (JobStatus.INTERRUPTED, JobStatus.FAILED)
            job = base.resume(jobs[0].id)
            assert (job.status, job.counts.new) == (JobStatus.DONE, ROWS)
        assert list(base.verify(full=True)) == []
