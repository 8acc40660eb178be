"""Every fault that somebody asked about is tried by a test that carries its number."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

TESTS = Path(__file__).parents[1]
NAME = re.compile(r"test_faults_((?:[A-H]\d+b?_)+)")


def rows() -> dict[str, dict[str, str]]:
    return tomllib.loads((TESTS / "faults" / "rows.toml").read_text())


def tried() -> set[str]:
    """Return the rows that the name of a test carries."""
    found: set[str] = set()
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match = NAME.match(node.name) if isinstance(node, ast.FunctionDef | ast.ClassDef) else None
            found |= set(match[1].split("_")) - {""} if match else set()
    return found


def test_every_row_that_is_required_is_tried() -> None:
    listed, found = rows(), tried()
    missing = {row: title for table in listed.values() for row, title in table.items() if row not in found}
    for row, title in missing.items():
        print(f"{row}: {title}" + ("" if row in listed["required"] else " (not required yet)"))
    assert {row: title for row, title in missing.items() if row in listed["required"]} == {}


def test_no_test_carries_the_number_of_a_row_that_is_not_listed() -> None:
    assert tried() <= {row for table in rows().values() for row in table}
