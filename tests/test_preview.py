"""What a preview shows, and what it leaves alone."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from typing import TYPE_CHECKING

import pytest

import kb
from kb.errors import SourceError, UsageError
from kb.ingest import FieldMapping, ImportRequest, PreviewedChunk, PreviewedRow
from kb.sources import open_source
from tests.conftest import CONFIG, ROOT, article

if TYPE_CHECKING:
    from pathlib import Path

    from kb.sources import Reading, Source
    from tests.conftest import FakeEncoder

HEADER = "id,title,body,category,published,tags\n"


@pytest.fixture
def request_of(tmp_path: Path):
    def made(rows: str, **mapping) -> ImportRequest:
        path = tmp_path / "in.csv"
        path.write_text(HEADER + rows)
        return ImportRequest((str(path),), mapping=FieldMapping(**mapping))

    return made


def test_a_preview_shows_what_is_stored_and_embedded(request_of, articles: kb.Collection, encoder: FakeEncoder) -> None:
    request = request_of("1,A,B c.,ml,31.01.2024,x;y\n2,A,B,cooking,2024-01-31,\n", dates={"published": "%d.%m.%Y"})
    name = request.files[0]
    fields = {
        "title": "A",
        "body": "B c.",
        "category": "ml",
        "published": date(2024, 1, 31),
        "author": None,
        "tags": ["x", "y"],
        "rating": None,
    }
    assert list(articles.preview_import(request, 9)) == [
        PreviewedRow(name, 1, 2, "1", fields, (PreviewedChunk("A\n\nB c.", 4),), 256, (), "on line 2"),
        PreviewedRow(
            name, 2, 3, None, {}, (), 256,
            (
                "published: '2024-01-31' is not a date of the format %d.%m.%Y",
                "category: input should be 'ml' or 'nlp', got 'cooking'",
            ),
            "on line 3",
        ),
    ]  # fmt: skip
    assert encoder.texts == []


def test_the_chunks_are_those_of_the_import(request_of, articles: kb.Collection, encoder: FakeEncoder) -> None:
    body = " ".join(f"word{n} and more." for n in range(200))
    request = request_of(f"1,A,{body},ml,2024-01-31,\n")
    (row,) = articles.preview_import(request, 1)
    assert len(row.chunks) > 2
    assert all(chunk.tokens == len(encoder.token_spans(chunk.text)) <= row.window == 256 for chunk in row.chunks)
    articles.run_import(request)
    assert encoder.texts == [chunk.text for chunk in row.chunks]
    assert list(articles.preview_import(request, 1)) == [row]


def test_rows_that_cannot_be_read_or_come_twice_are_shown_with_the_reason(request_of, articles: kb.Collection) -> None:
    request = request_of("1,A\n2,A,B,ml,2024-01-31,\n2,A,B,ml,2024-01-31,\n3,A,B,nlp,2024-01-31,\n", where="id != '3'")
    assert [(row.id, row.problems) for row in articles.preview_import(request, 9)] == [
        (None, ("expected 6 cells, found 2",)),
        ("2", ()),
        (None, (f"id: '2' stands on line 4 and already on line 3 of {request.files[0]}",)),
    ]


def test_a_preview_reads_no_further_than_it_shows(
    request_of, articles: kb.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    yielded = []

    def counted(path: str, reading: Reading) -> Source:
        source = open_source(path, reading)
        rows = source.rows
        monkeypatch.setattr(source, "rows", lambda: (yielded.append(row.number) or row for row in rows()))
        return source

    monkeypatch.setattr("kb.ingest.preview.open_source", counted)
    request = request_of("".join(f"{n},A,B,ml,2024-01-31,\n" for n in range(9)))
    assert [row.id for row in articles.preview_import(request, 2)] == ["0", "1"]
    assert yielded == [1, 2]


def test_a_preview_checks_the_mapping_first(request_of, articles: kb.Collection) -> None:
    with pytest.raises(UsageError, match="'titel' is not a field"):
        list(articles.preview_import(request_of("", columns={"title": "titel"}), 1))
    with pytest.raises(UsageError, match="at least one row, not 0"):
        list(articles.preview_import(request_of(""), 0))
    with pytest.raises(UsageError, match="no file to import is named"):
        list(articles.preview_import(ImportRequest(()), 1))
    with pytest.raises(SourceError, match="nowhere.csv does not exist"):
        list(articles.preview_import(ImportRequest(("nowhere.csv",)), 1))


def test_a_preview_writes_nothing_and_needs_no_lock(request_of, root: Path, encoder: FakeEncoder) -> None:
    request = request_of("1,A,B,ml,2024-01-31,\n")
    with kb.open(root, encoders={"fake": encoder}) as base:
        assert [row.id for row in base.collection("articles").preview_import(request, 1)] == ["1"]
    assert not (root / ".kb").exists()
    (root / "config.toml").write_text(CONFIG.replace('"fake"', '"hashing-256"'))
    script = "import kb, sys; base = kb.open(sys.argv[1]); print([r.id for r in base.collection().preview_import(kb.ImportRequest((sys.argv[2],)), 1)])"
    with kb.open(root) as base:
        base.collection().upsert(base.collection().schema.document(article(), textual=False, separators={}))
        done = subprocess.run(
            [sys.executable, "-c", script, str(root), request.files[0]],
            capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
        )  # fmt: skip
        assert (done.stdout, done.stderr) == ("['1']\n", "")
        assert (base.collection().count(), base.jobs(), list(base.verify(full=True))) == (1, [], [])


@pytest.mark.model
def test_a_preview_does_not_load_the_model(request_of, root: Path) -> None:
    (root / "config.toml").write_text(CONFIG.replace('"fake"', '"all-MiniLM-L6-v2"'))
    request = request_of("1,A,B c.,ml,2024-01-31,\n")
    script = (
        "import kb, sys; base = kb.open(sys.argv[1]);"
        "print([(r.chunks[0].tokens, r.window) for r in base.collection().preview_import(kb.ImportRequest((sys.argv[2],)), 1)]);"
        "print(sorted({'torch', 'sentence_transformers', 'chromadb', 'onnxruntime', 'pandas'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(root), request.files[0]],
        capture_output=True, text=True, cwd=ROOT, timeout=120, check=False,
    )  # fmt: skip
    assert (done.stdout.splitlines(), done.stderr) == (["[(6, 256)]", "[]"], "")
