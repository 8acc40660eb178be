"""Kills at random moments of everything that writes: nothing acknowledged is lost, and no answer is wrong."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import ROOT
from tests.faults.worker import make_root

KILLS: Final = int(os.environ.get("KB_KILLS", "25"))
LONGEST: Final = 120


def start(root: Path, seed: int, failpoint: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.faults.worker", str(root), str(seed)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "KB_FAILPOINT": failpoint},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_until_killed(root: Path, seed: int, *, failpoint: str = "", seconds: float | None) -> int:
    """Return how much had been acknowledged before; -1 when the process was killed before it could say so.

    Args:
        root: The knowledge base.
        seed: Of what the process does.
        failpoint: Where it kills itself.
        seconds: How long it writes after its checks, negative: after its start. None waits for the failpoint.
    """
    process = start(root, seed, failpoint)
    acknowledged = -1
    try:
        if seconds is not None and seconds < 0:
            time.sleep(-seconds)
        else:
            line = process.stdout.readline() if process.stdout else ""
            if line.startswith("ready"):
                acknowledged = int(line.split()[1])
                process.wait(LONGEST if seconds is None else seconds)
    except subprocess.TimeoutExpired:
        pass
    process.kill()
    _, err = process.communicate(timeout=LONGEST)
    assert process.returncode == -signal.SIGKILL, f"seed {seed}, {failpoint or 'no failpoint'}:\n{err}"
    return acknowledged


@pytest.mark.slow
def test_faults_A1_A2_A3_G10_kills_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    root = tmp_path / "base"
    make_root(root)
    rng = random.Random(os.environ.get("KB_SEED", "7"))
    acknowledged = [0]
    for _ in range(KILLS):
        seconds = -rng.uniform(0.3, 2.5) if rng.random() < 0.25 else rng.uniform(0, 1.5)
        acknowledged.append(run_until_killed(root, rng.randrange(10**6), seconds=seconds))
    known = [count for count in acknowledged if count >= 0]
    assert known == sorted(known), "an acknowledged write was forgotten by the log"
    assert known[-1] > len(known), "the kills must leave time to write"


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", ["after_commit", "before_index", "after_index"])
def test_faults_A2_a_kill_between_catalog_and_index_loses_nothing(tmp_path: Path, failpoint: str) -> None:
    root = tmp_path / "base"
    make_root(root)
    for seed, times in enumerate((1, 3, 7)):
        run_until_killed(root, seed, failpoint=f"{failpoint}:{times}", seconds=None)
    assert run_until_killed(root, 99, seconds=0) > 0
