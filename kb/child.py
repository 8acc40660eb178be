"""Runs a module in a process that ends with the one that started it: ``python -m kb.child PARENT MODULE ARGUMENT…``.

Such children inherit the lock of the knowledge base, so that nobody else opens the index while they have it open. One
that outlived a killed owner would keep the lock from the next. This is tied before anything else is imported: what
takes long to import would leave that much time for the owner to be killed unnoticed.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
from typing import Final

_SET_DEATH_SIGNAL: Final = 1


def tie(parent: int) -> None:
    """Let this process end when its parent does; it ends now if that is gone already.

    Only Linux can do the first; elsewhere the child lives as long as its work takes.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit("the process that started this one is gone")


def main() -> None:
    """Run the module that is named after the process that must be the parent."""
    parent, module, *arguments = sys.argv[1:]
    tie(int(parent))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
