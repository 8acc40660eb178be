"""Named places where a test can end the process as a power cut would; they do nothing else."""

from __future__ import annotations

import os
import signal
from typing import Final

VARIABLE: Final = "KB_FAILPOINT"
"""``NAME`` or ``NAME:N``: the process is killed when it comes to that place, for the N-th time."""

_passed: Final[dict[str, int]] = {}


def failpoint(name: str) -> None:
    """End this process with SIGKILL if the environment asks for it at this place.

    A variable of the environment rather than a patched function: the processes that tests kill are whole commands.
    """
    wanted, _, number = os.environ.get(VARIABLE, "").partition(":")
    if wanted != name:
        return
    _passed[name] = _passed.get(name, 0) + 1
    if _passed[name] >= int(number or 1):
        os.kill(os.getpid(), signal.SIGKILL)
