"""A disk that is really full: a small file system of its own, mounted for the test."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kb
from kb.catalog import JobStatus
from kb.index import FOLDER
from tests.conftest import Ran, article

MEGABYTE = 1_000_000


@pytest.fixture
def mount() -> Iterator[Callable[[Path, int], None]]:
    """Mount a file system of so many megabytes on a folder."""
    mounted: list[Path] = []

    def mount(folder: Path, size: int) -> None:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}m,mode=700", "tmpfs", str(folder)],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"no right to mount a file system: {done.stderr.decode().strip()}")
        mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def save(path: Path, numbers: range, **changes: Any) -> Path:
    path.write_text("".join(json.dumps(article(f"a{n}", **changes)) + "\n" for n in numbers))
    return path


def fill_up(folder: Path, *, spare: int) -> Path:
    """Leave so many bytes free, and return the file that takes the room."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (MEGABYTE, 4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
        file.truncate(file.tell() - spare)
    return ballast


def test_faults_B1_a_full_disk_refuses_writes_and_nothing_else(
    root: Path, tmp_path: Path, run_kb: Callable[..., Ran], mount: Callable[[Path, int], None]
) -> None:
    (root / ".kb").mkdir()
    mount(root / ".kb", 60)
    assert run_kb("import", str(save(tmp_path / "first.jsonl", range(50))), "-q").code == 0
    shutil.move(root / ".kb" / FOLDER, tmp_path / FOLDER)
    (root / ".kb" / FOLDER).symlink_to(tmp_path / FOLDER)  # only the catalog's disk is full
    ballast = fill_up(root / ".kb", spare=0)
    for command in (["list"], ["update", "a7", "rating=1"]):
        ran = run_kb(*command)
        assert (ran.code, ran.out, "Traceback" in ran.err) == (14, "", False), ran
    ballast = fill_up(root / ".kb", spare=200_000)
    large = save(tmp_path / "second.jsonl", range(50, 1_000), body="word " * 1_000)
    ran = run_kb("import", str(large))
    assert ran.code == 14, ran
    error, unchanged, hint = ran.err.splitlines()[-3:]
    assert error == f"error: no space left for {root}/.kb/catalog.sqlite3"
    assert (unchanged, hint) == ("  nothing of this write was kept", "  free space, try again")
    assert "Traceback" not in ran.err
    assert len(run_kb("list").out.splitlines()) == 50
    assert json.loads(run_kb("get", "a7").out)["id"] == "a7"
    assert json.loads(run_kb("search", "The body of article a7.", "-k", "1").out.splitlines()[0])["id"] == "a7"
    ballast.unlink()
    assert run_kb("update", "a7", "rating=1").code == 0
    with kb.open(root) as base:
        (job, _) = base.jobs()
    assert job.status in (JobStatus.FAILED, JobStatus.INTERRUPTED)
    assert run_kb("jobs", "resume", job.id, "-q").code == 0
    assert run_kb("verify", "--full").code == 0
    with kb.open(root) as base:
        assert base.collection().count() == 1_000


def test_faults_B3_a_full_disk_stops_the_reject_file_and_the_job_goes_on_later(
    root: Path, tmp_path: Path, run_kb: Callable[..., Ran], mount: Callable[[Path, int], None]
) -> None:
    path = save(tmp_path / "in.jsonl", range(2_000), rating=9)
    with path.open("a") as file:
        file.write(json.dumps(article("fine")) + "\n")
    assert run_kb("import", str(save(tmp_path / "first.jsonl", range(1))), "-q").code == 0
    folder = root / ".kb" / "rejects"
    folder.mkdir(exist_ok=True)
    mount(folder, 1)
    ballast = folder / "ballast"
    ballast.write_bytes(b"\0" * 900_000)
    ran = run_kb("import", str(path))
    assert ran.code == 14, ran
    assert "rejected rows cannot be written to" in ran.err
    with kb.open(root) as base:
        job = base.jobs()[0]
        assert (job.status, 0 < job.counts.rejected < 2_000) == (JobStatus.FAILED, True)
        assert Path(job.rejects or "").stat().st_size >= job.rejects_bytes > 0
        assert base.collection().keys() == ["a0"]
        assert list(base.verify(full=True)) == []
    ballast.unlink()
    ran = run_kb("jobs", "resume", job.id, "--format", "json")
    assert (ran.code, json.loads(ran.out)["rejected"], json.loads(ran.out)["new"]) == (3, 2_000, 1)
    lines = Path(job.rejects or "").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [f"a{n}" for n in range(2_000)]
