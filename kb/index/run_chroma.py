"""The program of the child process that ``kb index serve`` starts: ``chroma run``, without its command line."""

from __future__ import annotations

import sys


def main() -> None:
    """Run a Chroma server; ``kb.child`` runs this with FOLDER HOST PORT as its arguments."""
    folder, host, port = sys.argv[1:]
    from chromadb.cli.cli import app

    sys.argv = ["chroma", "run", "--path", folder, "--host", host, "--port", port]
    app()


if __name__ == "__main__":
    main()
