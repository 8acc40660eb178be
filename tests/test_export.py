"""Taking documents out: one moment, all or nothing, and an import of it changes nothing. Rows B3, E16 and F15."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

import kb
from kb.catalog import Counts
from kb.errors import ConflictError, LimitError, SchemaError, SourceError, UsageError
from kb.sources import replacing
from tests.conftest import CONFIG, FakeEncoder, article, make

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.conftest import Ran

ATTACK = "=cmd|' /C calc'!A0"


def fill(articles: kb.Collection, number: int = 3, **changes: object) -> None:
    articles.upsert(*(make(articles, f"a{n:04d}", **changes) for n in range(number)))


def digest(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def odd(articles: kb.Collection) -> int:
    """Documents that have everything in them that can be lost on the way."""
    documents = [
        make(articles, "=1", title=ATTACK, body="'=1", author="", tags=["a;b", "", " c "], rating=0.1),
        make(articles, "'=1", title="  blank first", body="line\r\nline\rline\n", author=None, tags=[]),
        make(articles, "𝄞", title="None", body='\ufeff\u2028\x85, "quoted" \'n\' \\"', tags=[""], rating=5e-324),
        make(articles, "a,b", title="-5", body="\t=1", author="NULL", tags=["=x", "y"], rating=None),
        make(articles, "00123", title="1e5", body="plain", published="0001-01-01", tags=["[]"], rating=-0.0),
    ]
    articles.upsert(*documents)
    return len(documents)


@pytest.mark.parametrize(("format", "raw"), [("csv", False), ("csv", True), ("jsonl", False), ("parquet", False)])
def test_importing_an_export_changes_nothing(
    articles: kb.Collection, encoder: FakeEncoder, tmp_path: Path, format: str, raw: bool
) -> None:
    number = odd(articles)
    path = tmp_path / f"out.{format}"
    encoder.texts.clear()
    assert articles.export(path, raw=raw) == number
    assert articles.import_file(path).counts == Counts(read=number, unchanged=number)
    assert encoder.texts == []


def test_an_export_fills_an_empty_knowledge_base_with_the_same(articles: kb.Collection, tmp_path: Path) -> None:
    number = odd(articles)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.toml").write_text(CONFIG)
    articles.export(tmp_path / "out.csv")
    with kb.open(tmp_path / "other", encoders={"fake": FakeEncoder()}) as base:
        other = base.collection("articles")
        assert other.import_file(tmp_path / "out.csv").counts == Counts(read=number, new=number, embedded=number)
        assert [one.model_dump() for one in other.list()] == [one.model_dump() for one in articles.list()]
        other.export(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "out.csv").read_bytes()


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_an_id_that_is_a_field_as_well_has_its_own_column(root: Path, tmp_path: Path, format: str) -> None:
    (root / "config.toml").write_text(CONFIG.replace('text = "', 'key = "title"\ntext = "', 1))
    with kb.open(root, encoders={"fake": FakeEncoder()}) as base:
        articles = base.collection()
        fill(articles, 2)
        articles.update("a0001", title="Another title")
        path = tmp_path / f"out.{format}"
        articles.export(path)
        assert articles.import_file(path).counts == Counts(read=2, unchanged=2)


def test_the_id_is_called_as_the_key_is(root: Path) -> None:
    (root / "config.toml").write_text(CONFIG.replace('text = "', 'key = "Article ID"\ntext = "', 1))
    with kb.open(root, encoders={"fake": FakeEncoder()}) as base:
        articles = base.collection()
        fill(articles, 1)
        assert text_of(articles, format="csv", fields=["rating"]) == '"Article ID","rating"\na0000,4.5\n'
        assert text_of(articles, fields=["rating"]) == '{"Article ID": "a0000", "rating": 4.5}\n'
        assert list(articles.to_frame().columns)[:2] == ["Article ID", "title"]


def text_of(articles: kb.Collection, where: str | None = None, **options: Any) -> str:
    stream = io.BytesIO()
    articles.export(stream, where, **options)
    return stream.getvalue().decode()


def test_documents_come_by_id_with_the_fields_in_declared_order(articles: kb.Collection) -> None:
    articles.upsert(make(articles, "b", rating=None), make(articles, "a"))
    assert [json.loads(line) for line in text_of(articles).splitlines()] == [
        {**article("a"), "author": None},
        {**article("b"), "author": None, "rating": None},
    ]
    assert list(json.loads(text_of(articles).splitlines()[0])) == ["id", *articles.schema.fields]


def test_a_filter_and_chosen_fields(articles: kb.Collection) -> None:
    fill(articles, 3)
    articles.update("a0001", rating=1.0)
    found = text_of(articles, "rating < 2", fields=["tags", "id", "title"], format="csv")
    assert found == "id,tags,title\na0001,x,Title of a0001\n"
    assert text_of(articles, "rating > 4.9") == ""
    assert text_of(articles, fields=["id"], format="csv") == "id\na0000\na0001\na0002\n"


def test_a_collection_without_documents_can_be_exported(articles: kb.Collection) -> None:
    assert text_of(articles, format="csv") == "id,title,body,category,published,author,tags,rating\n"
    assert articles.to_frame().shape == (0, 8)


def test_what_cannot_be_exported_is_named(articles: kb.Collection, tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="^unknown field 'titel'$"):
        text_of(articles, fields=["titel"])
    with pytest.raises(UsageError, match="^the field 'title' is named twice$"):
        text_of(articles, fields=["title", "title"])
    with pytest.raises(UsageError, match="^raw cells are a matter of CSV, not of jsonl$"):
        text_of(articles, raw=True)
    with pytest.raises(UsageError, match="^the export is bytes, but the file takes text$"):
        articles.export(io.StringIO())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="^no format is named$"):
        articles.export(tmp_path / "out")
    assert list(tmp_path.iterdir()) == [tmp_path / "base"]


def test_faults_E16_a_formula_is_stored_verbatim_and_neutralised_on_export(
    articles: kb.Collection, tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps(article("a1", title=ATTACK)))
    articles.import_file(tmp_path / "in.jsonl")
    assert articles.get("a1").title == ATTACK  # type: ignore[attr-defined]
    assert text_of(articles, format="csv", fields=["title"]) == f"id,title,_quoted\na1,'{ATTACK},title\n"
    assert text_of(articles, format="csv", fields=["title"], raw=True) == f"id,title\na1,{ATTACK}\n"


def test_faults_F15_a_frame_goes_out_and_in_again(articles: kb.Collection, encoder: FakeEncoder) -> None:
    number = odd(articles)
    encoder.texts.clear()
    frame = articles.to_frame()
    assert articles.import_frame(frame).counts == Counts(read=number, unchanged=number)
    assert encoder.texts == []
    assert list(articles.to_frame("rating < 1", fields=["rating"])["rating"]) == [-0.0, 0.1, 5e-324]


def test_an_export_is_of_one_moment(articles: kb.Collection) -> None:
    fill(articles, 400, body="long " * 1_000)

    class Slow(io.BytesIO):
        """Somebody writes while the export is under way."""

        def write(self, data: Any) -> int:
            if not self.tell():
                articles.upsert(make(articles, "a0399", title="Too late"), make(articles, "z"))
                articles.delete("a0398")
            return super().write(data)

    stream = Slow()
    assert articles.export(stream) == 400
    titles = [json.loads(line)["title"] for line in stream.getvalue().splitlines()]
    assert titles == [f"Title of a{n:04d}" for n in range(400)]
    assert articles.count() == 400


def test_faults_B3_no_space_left_leaves_no_part_of_a_file(
    articles: kb.Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(articles)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "there.csv").write_text("mine")
    monkeypatch.setattr(os, "fsync", full)
    for name in ("out.csv", "there.csv", "out.parquet"):
        with pytest.raises(LimitError) as error:
            articles.export(tmp_path / name, force=True)
        assert str(error.value) == f"no space left for {tmp_path / name}"
        assert error.value.unchanged == "nothing was written; no part of the file is left"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base", "there.csv"]
    assert (tmp_path / "there.csv").read_text() == "mine"
    assert articles.count() == 3


def test_faults_B3_no_space_left_in_the_middle(articles: kb.Collection, tmp_path: Path) -> None:
    """A child whose files may not grow beyond 100 kB."""
    fill(articles, 200, body="long " * 1_000)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    code = f"{limit}; from kb.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "export", "--kb", str(tmp_path / "base"), "-o", "out.jsonl"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert (done.returncode, done.stderr.splitlines()[0]) == (14, f"error: no space left for {tmp_path / 'out.jsonl'}")
    assert not [p for p in tmp_path.iterdir() if p.name.startswith("out")]


def test_whoever_interrupts_an_export_finds_nothing_of_it(
    articles: kb.Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(articles)

    def interrupted(*_: object) -> Sequence[object]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("kb.curate.exporting.json.loads", interrupted)
        articles.export(tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == [tmp_path / "base"]


def test_a_file_is_replaced_only_by_force(articles: kb.Collection, tmp_path: Path) -> None:
    fill(articles, 1)
    (tmp_path / "real.csv").write_text("mine")
    (tmp_path / "out.csv").symlink_to("real.csv")
    with pytest.raises(ConflictError) as error:
        articles.export(tmp_path / "out.csv")
    assert str(error.value) == f"{tmp_path / 'real.csv'} exists already"
    assert (tmp_path / "real.csv").read_text() == "mine"
    articles.export(tmp_path / "out.csv", force=True, fields=["rating"])
    assert (tmp_path / "out.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text() == "id,rating\na0000,4.5\n"


def test_a_file_that_comes_up_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with pytest.raises(ConflictError), replacing(str(path), force=False) as stream:
        stream.write(b"ours")
        path.write_text("theirs")
    assert path.read_text() == "theirs"
    assert not (tmp_path / "out.csv.part").exists()


def test_a_place_that_cannot_be_written_is_named(articles: kb.Collection, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"out\.csv cannot be written: No such file or directory$"):
        articles.export(tmp_path / "nowhere" / "out.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(SourceError, match=r"folder\.csv is a folder$"):
        articles.export(tmp_path / "folder.csv", force=True)


def test_a_pipe_is_written_to_as_it_is(articles: kb.Collection, tmp_path: Path) -> None:
    fill(articles, 1)
    os.mkfifo(tmp_path / "pipe.csv")
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append((tmp_path / "pipe.csv").read_text()))
    reader.start()
    articles.export(tmp_path / "pipe.csv", fields=["rating"])
    reader.join()
    assert found == ["id,rating\na0000,4.5\n"]


def test_faults_H12_an_export_changes_no_byte_and_needs_neither_model_nor_lock(
    articles: kb.Collection, base: kb.KnowledgeBase, root: Path, tmp_path: Path
) -> None:
    fill(articles, 20)
    base.close()
    before = digest(root)
    with kb.open(root) as other:  # there is no model of the name "fake"
        assert text_of(other.collection("articles")).count("\n") == 20
        assert len(other.collection("articles").to_frame()) == 20
        other.collection("articles").export(tmp_path / "out.parquet")
    assert digest(root) == before


def test_an_export_does_not_wait_for_who_is_writing(
    articles: kb.Collection, run_kb: Callable[..., Ran], root: Path
) -> None:
    (root / "config.toml").write_text(CONFIG)
    fill(articles, 2)  # this process owns the knowledge base now
    target = articles.target()
    with target.catalog.write() as connection:
        connection.exec_driver_sql("DELETE FROM documents")
        ran = run_kb("export", "--fields", "rating")
        assert (ran.code, ran.out) == (0, '{"id": "a0000", "rating": 4.5}\n{"id": "a0001", "rating": 4.5}\n')
        connection.rollback()


def test_parquet_goes_out_in_groups_of_bounded_size(articles: kb.Collection, tmp_path: Path) -> None:
    fill(articles, 40, body="x" * 1_000_000)
    articles.export(tmp_path / "out.parquet")
    read = pq.ParquetFile(tmp_path / "out.parquet")
    assert [read.metadata.row_group(n).num_rows for n in range(read.num_row_groups)] == [17, 17, 6]
    assert read.read(["id"], use_threads=False)["id"].to_pylist() == articles.keys()
