"""The program of the child process that ``kb index serve`` starts: ``chroma run``, which ends with its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    """Run a Chroma server: ``python -m kb.index.run_chroma PARENT FOLDER HOST PORT``."""
    parent, folder, host, port = sys.argv[1:]
    if sys.platform == "linux":
        # A parent that is killed can stop nobody any more. Elsewhere the child holds its lock as long as it lives.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        sys.exit("kb index serve is gone")
    from chromadb.cli.cli import app

    sys.argv = ["chroma", "run", "--path", folder, "--host", host, "--port", port]
    app()


if __name__ == "__main__":
    main()
