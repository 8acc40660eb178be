"""Processes that end with the one that started them."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from tests.conftest import ROOT

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-m", "kb.child", str(os.getpid()), "http.server", "0"])
print(child.pid, flush=True)
sys.stdin.read()
"""


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_child_ends_when_its_parent_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 30
    while is_alive(child):
        assert time.monotonic() < deadline, "the child outlives its parent"
        time.sleep(0.02)


def test_a_child_whose_parent_has_gone_does_not_begin() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kb.child", "1", "no.such.module"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "the process that started this one is gone\n")
