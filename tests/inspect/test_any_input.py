"""Whatever a file holds, the proposal can be loaded and takes every row that can be read."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import kb
from kb.config import load_settings
from kb.errors import DocumentError
from kb.first_config import add_collection
from kb.ingest.inspect import Inspection, Proposal
from kb.sources import Row, open_source

CELLS = st.one_of(
    st.sampled_from(["", "0", "1", "true", "No", "3.0", "007", "+5", "1e5", "9223372036854775808", "nan", "-", "N/A"]),
    st.sampled_from(["2024-01-31", "2024-02-30", "31.01.2024", "01/02/2024", "2024-01-31T10:00:00Z", "2024-01-31 x"]),
    st.sampled_from(["a;b", "a; b;", ";", "x|y", "a, b, c", "1;2", '["a"]', "[1, 2]", "[", "[[1]]", "[null]"]),
    st.integers().map(str),
    st.floats().map(str),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), max_size=30),
)
NAMES = st.lists(
    st.one_of(
        st.sampled_from(["id", "ID", "score", "class", "Name", "na me", "na_me", "a.b", "model_dump", "2", "json"]),
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(str.strip),
    ),
    min_size=1,
    max_size=5,
    unique=True,
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), CELLS)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.sampled_from("ab"), SCALARS, max_size=2))


def at(row: Row, path: str) -> object:
    if path in row.values:
        return row.values[path]
    found: Any = row.values
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def check(path: Path, found: Inspection, *, tolerated: int) -> None:
    """Load the proposal and read every row by it; fields with a date format are left to the import."""
    proposal = found.proposal
    if proposal is None:
        return
    folder = path.parent / "base"
    declared = Proposal(proposal.name, proposal.model, proposal.key, proposal.text, proposal.fields, None)
    add_collection(folder, declared)
    schema = load_settings(folder, {}).collections[proposal.name].schema
    refused = 0
    for row in open_source(str(path)).rows():
        if row.problem is not None:
            continue
        dated = set() if proposal.imports is None else set(proposal.imports.dates)
        values = {f.name: at(row, f.column) for f in proposal.fields if f.name not in dated}
        values |= dict.fromkeys(dated)
        try:
            schema.document({"id": str(row.number), **values}, textual=found.format == "csv", separators={})
        except DocumentError as error:
            problems = [p for p in error.problems if not p.startswith("text: the template")]
            refused += bool([p for p in problems if p.partition(":")[0] not in dated])
    assert refused <= tolerated, found.proposal.to_toml()


@settings(max_examples=100, deadline=None)
@given(NAMES, st.data())
def test_every_row_of_a_csv_file_fits_what_is_proposed(names, data):
    rows = data.draw(st.lists(st.lists(CELLS, min_size=len(names), max_size=len(names)), max_size=8))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([names, *rows])
        try:
            found = kb.inspect(str(path), model="hashing-256")
        except kb.KBError:
            return
        check(path, found, tolerated=0)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["id", "x", "Y z", "n"]), VALUES, max_size=4), max_size=8))
def test_every_row_of_a_json_file_fits_what_is_proposed(rows):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        found = kb.inspect(str(path), model="hashing-256")
        # A column that is one type but for a few values says which rows would be rejected.
        check(path, found, tolerated=sum(c.almost.misfits for c in found.columns if c.almost is not None))
