"""Every format through an import: the same documents, rejects that are mended and imported, jobs that go on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

import kb
from kb.sources import Format, Reading
from tests.sources.samples import PACK, SUFFIX, TABLES, sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kb.catalog import Job

CONFIG = """
[collections.notes]
model = "hashing-256"
key = "{key}"

[collections.notes.fields]
title = "str"
text = "text"
day = {{ type = "date", required = false }}
n = {{ type = "int", required = false }}
"""
GOOD: dict[str, object] = {"id": "a", "title": "A", "text": "about a", "day": "2024-01-31", "n": "7"}
BAD: dict[str, object] = {"id": "b", "title": "B", "text": "about b", "day": "someday", "n": "8"}


@pytest.fixture
def base(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[kb.KnowledgeBase]:
    root = tmp_path / "base"
    root.mkdir()
    (root / "config.toml").write_text(CONFIG.format(key=getattr(request, "param", "id")))
    with kb.open(root) as opened:
        yield opened


@pytest.fixture
def notes(base: kb.KnowledgeBase) -> kb.Collection:
    return base.collection("notes")


def run(notes: kb.Collection, path: Path, reading: Reading = Reading()) -> Job:  # noqa: B008
    return notes.run_import(kb.ImportRequest((str(path),), reading))


def typed(format: Format, row: dict[str, object]) -> dict[str, object]:
    return row if format in (Format.CSV, Format.TSV) else {**row, "n": int(str(row["n"]))}


@pytest.mark.parametrize("packing", ["", ".zst"])
@pytest.mark.parametrize("format", TABLES)
def test_every_format_gives_the_same_documents(
    notes: kb.Collection, tmp_path: Path, format: Format, packing: str
) -> None:
    path = tmp_path / f"data{SUFFIX[format]}{packing}"
    rows = [typed(format, GOOD), typed(format, BAD)]
    path.write_bytes(PACK[packing](sample(format, rows)))
    reading = Reading(sql="SELECT * FROM t") if format is Format.SQLITE else Reading()
    job = run(notes, path, reading)
    assert (job.counts.new, job.counts.rejected) == (1, 1)
    document = notes.get("a")
    assert (document.title, document.text, str(document.day), document.n) == ("A", "about a", "2024-01-31", 7)

    assert job.rejects is not None
    rejects = Path(job.rejects)
    plain = format if format in (Format.CSV, Format.TSV, Format.JSON) else Format.JSONL
    assert rejects.name == f"{job.id}-data.rejects.{plain}"
    rejects.write_text(rejects.read_text().replace("someday", "2024-02-29"))
    job = run(notes, rejects)
    assert (job.counts.new, job.counts.rejected) == (1, 0)
    assert str(notes.get("b").day) == "2024-02-29"
    assert run(notes, path, reading).counts.unchanged == 1


@pytest.mark.parametrize("base", ["path"], indirect=True)
def test_a_folder_is_imported_and_its_job_goes_on(
    base: kb.KnowledgeBase, notes: kb.Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "texts"
    (folder / "sub").mkdir(parents=True)
    for number in range(100):
        text = f"---\nday: 2024-01-31\nn: {number}\n---\n# Note {number}\n\nabout {number}\n"
        (folder / "sub" / f"{number:03}.md").write_text(text)
    (folder / "bad.md").write_text("---\nn: many\n---\ntext")
    monkeypatch.chdir(tmp_path)
    steps = notes.import_steps(kb.ImportRequest(("texts/",)))
    step = next(step for step in steps if step.job.counts.read)
    steps.close()
    assert step.job.counts.read < 101
    job = base.resume(step.job.id)
    assert (job.counts.read, job.counts.new, job.counts.rejected) == (101, 100, 1)
    assert job.rejects is not None and job.rejects.endswith(f"{job.id}-texts.rejects.jsonl")
    document = notes.get("sub/007.md")
    assert (document.title, document.text, document.n) == ("Note 7", "# Note 7\n\nabout 7", 7)
    assert run(notes, folder).counts == replace(job.counts, new=0, unchanged=100, embedded=0)


def test_arrow_tables_are_imported(notes: kb.Collection) -> None:
    table = pa.Table.from_pylist([typed(Format.PARQUET, GOOD)])
    assert notes.import_frame(table).counts.new == 1  # type: ignore[arg-type]
    assert notes.get("a").n == 7
