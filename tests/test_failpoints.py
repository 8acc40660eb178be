"""The named places where a test can kill the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import ROOT

SCRIPT = """
from kb.failpoints import failpoint
for number in range(3):
    failpoint("other")
    failpoint("here")
    print(number, flush=True)
"""


@pytest.mark.parametrize(
    ("asked", "code", "printed"),
    [
        (None, 0, "0\n1\n2\n"),
        ("here", -signal.SIGKILL, ""),
        ("here:3", -signal.SIGKILL, "0\n1\n"),
        ("there", 0, "0\n1\n2\n"),
    ],
)
def test_a_process_dies_at_the_place_that_is_asked_for_and_at_no_other(asked, code, printed):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if asked is not None:
        environment["KB_FAILPOINT"] = asked
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, printed)
