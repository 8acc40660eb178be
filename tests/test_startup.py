"""What is not needed is not imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT

HEAVY = ("torch", "chromadb", "pandas", "numpy", "sqlalchemy", "sentence_transformers", "sklearn", "faiss", "pydantic")


def imported(code: str) -> set[str]:
    """Run code in a fresh process and return the top-level packages that it has imported."""
    script = f"import sys\n{code}\nprint('\\n'.join(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import kb",
        "from kb.cli.main import run; run(['--help'])",
        "from kb.cli.main import run; run(['--version'])",
        "from kb.cli.main import run; run(['nonsense'])",
    ],
)
def test_starting_imports_nothing_heavy(code):
    assert imported(code) & set(HEAVY) == set()


@pytest.mark.parametrize("command", ["import", "search", "get", "list", "update", "stats", "config"])
def test_the_help_of_a_command_imports_no_engine(command):
    engines = set(HEAVY) - {"pydantic", "numpy"}
    assert imported(f"from kb.cli.main import run; assert run(['{command}', '--help']) == 0") & engines == set()


def test_the_probe_sees_what_is_imported():
    assert "sqlalchemy" in imported("import kb.catalog")
