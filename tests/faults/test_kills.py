"""Kills at random moments of everything that writes: nothing acknowledged is lost, and no answer is wrong."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import ROOT
from tests.faults.worker import make_root

KILLS: Final = int(os.environ.get("KB_KILLS", "500" if os.environ.get("KB_SOAK") else "12"))
LONGEST: Final = 120


def start(root: Path, seed: int, failpoint: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.faults.worker", str(root), str(seed)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "KB_FAILPOINT": failpoint, "KB_SYNC_THRESHOLD": "40"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_until_killed(
    root: Path, seed: int, *, failpoint: str = "", operations: int | None = 0, seconds: float = 0.0
) -> int:
    """Return how much had been acknowledged before; -1 when the process was killed before it could say so.

    Args:
        root: The knowledge base.
        seed: Of what the process does.
        failpoint: Where it kills itself.
        operations: After how many of them it is killed; negative: in the middle of its checks, None: never.
        seconds: How much later.
    """
    process = start(root, seed, failpoint)
    assert process.stdout is not None
    acknowledged = -1
    if operations is None or operations >= 0:
        line = process.stdout.readline()
        if line.startswith("ready"):
            acknowledged = int(line.split()[1])
        for _ in range(operations or 0):
            process.stdout.readline()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(LONGEST if operations is None else seconds)
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
        operations = rng.choice([-1, 0, 0, 1, 1, 2, 3, 4])
        seconds = rng.uniform(0.3, 2.5) if operations < 0 else rng.uniform(0, 0.5)
        acknowledged.append(run_until_killed(root, rng.randrange(10**6), operations=operations, seconds=seconds))
    known = [count for count in acknowledged if count >= 0]
    assert known == sorted(known), "an acknowledged write was forgotten by the log"
    assert known[-1] >= KILLS / 2, "the kills must leave time to write"


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", ["after_commit", "before_index", "after_index"])
def test_faults_A2_a_kill_between_catalog_and_index_loses_nothing(tmp_path: Path, failpoint: str) -> None:
    root = tmp_path / "base"
    make_root(root)
    for seed, times in enumerate((1, 3, 7)):
        run_until_killed(root, seed, failpoint=f"{failpoint}:{times}", operations=None)
    assert run_until_killed(root, 99) > 0
