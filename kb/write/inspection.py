"""Has a vector index looked at by a child process, within a time limit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from kb.index import FOLDER, Verdict

SECONDS: Final = 60
BYTES_A_SECOND: Final = 1_000_000
"""A look takes an eighth of this time on one core; what takes longer than all of it hangs."""


def inspect(storage: Path, lock: int) -> Verdict:
    """Return what a child process has found; one that crashes or does not end has found damage.

    Args:
        storage: The folder of the knowledge base.
        lock: The descriptor of its lock, which the child inherits: while it lives, nobody else opens the index.
    """
    package = Path(__file__).parents[2]
    path = os.pathsep.join(filter(None, (str(package), os.environ.get("PYTHONPATH", ""))))
    # Without the folder that the command was started in: anything may lie there.
    command = [sys.executable, "-P", "-m", "kb.child", str(os.getpid()), "kb.write.preflight", str(storage)]
    limit = SECONDS + _bytes(storage / FOLDER) / BYTES_A_SECOND
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": path},
            timeout=limit,
            check=False,
            pass_fds=(lock,),
        )
    except subprocess.TimeoutExpired:
        return Verdict(f"it could not be read within {limit:,.0f} seconds")
    except OSError as error:
        return Verdict(hindrance=f"no process can be started: {error.strerror}")
    if done.returncode < 0 and done.returncode not in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT):
        return Verdict(f"reading it ends the process with {signal.Signals(-done.returncode).name}")
    try:
        found = json.loads(done.stdout.splitlines()[-1])
        return Verdict(found["damage"], found["hindrance"])
    except (IndexError, ValueError, KeyError, TypeError):
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        return Verdict(hindrance=f"the process that looked at it ended with {done.returncode}: {last[:200]}")


def _bytes(folder: Path) -> int:
    """Return how much the disk really holds: a file with holes may claim any size."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*")) if folder.is_dir() else 0
