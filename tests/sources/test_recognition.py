"""What an input without a name is taken for, and when that is not certain."""

from __future__ import annotations

import io
import os
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from kb.errors import SourceError, UsageError
from kb.sources import Format, Reading, Source, open_source
from tests.sources.samples import PACK, ROWS, SUFFIX, TABLES, reading, sample

if TYPE_CHECKING:
    from pathlib import Path

SAY = "say --input csv|tsv|json|jsonl|parquet|excel|sqlite|markdown"
CALLED = ["CSV", "TSV", "JSON", "JSON Lines", "Parquet", "an Excel workbook", "an SQLite database"]


def piped(monkeypatch: pytest.MonkeyPatch, data: bytes | str, reading: Reading = Reading()) -> Source:  # noqa: B008
    data = data.encode() if isinstance(data, str) else data
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    return open_source("-", reading)


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize(("format", "called"), list(zip(TABLES, CALLED, strict=True)))
def test_faults_E21_standard_input_is_recognised(
    monkeypatch: pytest.MonkeyPatch, format: Format, called: str, packing: str
) -> None:
    source = piped(monkeypatch, PACK[packing](sample(format)), reading(format))
    assert (source.format, source.notes) == (format, [f"<stdin> is read as {called}; --input says otherwise"])
    assert [row.values for row in source.rows()] == ROWS


@pytest.mark.parametrize(
    ("data", "format"),
    [
        ("\ufeffid,t\na,b\n", Format.CSV),
        ("id;t\na;b,c\n", Format.CSV),
        ("\n\nid|t\n", Format.CSV),
        ('"a, b","c\nd"\n1,2\n', Format.CSV),
        ("id,t\na,b\nragged\n", None),
        ("name\ttotal\nx\t1", Format.TSV),
        ("\n [\n {", Format.JSON),
        ('{"a": 1}\n{"b": 2}', Format.JSONL),
        ("", Format.JSONL),
        ("id\na\nb\n", None),
        ("Dear all,\n\nthis is a letter, not a table, is it\n", None),
        ("a,a\n1,2\n", None),
        ("a,\n1,2\n", None),
        ('a,"b\n', None),
        ("# Heading\n\ntext\n", None),
    ],
)
def test_text_is_recognised_where_it_can_be_one_thing_only(
    monkeypatch: pytest.MonkeyPatch, data: str, format: Format | None
) -> None:
    if format is not None:
        assert piped(monkeypatch, data).format is format
        return
    with pytest.raises(UsageError) as caught:
        piped(monkeypatch, data)
    assert (caught.value.what, caught.value.hint) == ("what <stdin> holds is not certain", SAY)


def test_what_is_said_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    source = piped(monkeypatch, '{"a": {"b": [{"id": "x"}]}}', Reading(records="a.b"))
    assert [row.values for row in source.rows()] == [{"id": "x"}]
    assert piped(monkeypatch, "a,b\nragged\n", Reading(header=False)).columns == ("column_1", "column_2")
    assert piped(monkeypatch, "a:b\nragged\n", Reading(delimiter=":")).columns == ("a", "b")
    assert piped(monkeypatch, "id,t\n日,本\n".encode("utf-16"), Reading(encoding="utf-16")).format is Format.CSV
    with pytest.raises(UsageError, match="there is no encoding 'utf-99'"):
        piped(monkeypatch, "id,t\n", Reading(encoding="utf-99"))
    with pytest.raises(UsageError, match="a sheet is given, but csv has none"):
        piped(monkeypatch, "id,t\n", Reading(sheet="one"))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"%PDF-1.7\n", "<stdin> is a PDF"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", r"<stdin> is an old Excel or Word file \(xls, doc\)"),
        (b"BZh91AY&SY", "<stdin> is bzip2-compressed"),
    ],
)
def test_faults_E22_what_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, data: bytes, what: str) -> None:
    with pytest.raises(SourceError, match=what):
        piped(monkeypatch, data)


def test_faults_E21_a_named_pipe_without_suffix_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(sample(Format.JSONL),))
    writer.start()
    source = open_source(str(path))
    assert source.notes == [f"{path} is read as JSON Lines; --input says otherwise"]
    assert [row.values for row in source.rows()] == ROWS
    writer.join()


@pytest.mark.parametrize("real", TABLES)
@pytest.mark.parametrize("claimed", TABLES)
def test_faults_E22_a_file_that_is_really_another_says_so(tmp_path: Path, claimed: Format, real: Format) -> None:
    similar = {frozenset((Format.CSV, Format.TSV))}
    if claimed is real or frozenset((claimed, real)) in similar:
        return
    path = tmp_path / f"data{SUFFIX[claimed]}"
    path.write_bytes(sample(real))
    with pytest.raises(SourceError) as caught:
        list(open_source(str(path), Reading(sql="SELECT * FROM t") if claimed is Format.SQLITE else Reading()).rows())
    if real in (Format.PARQUET, Format.EXCEL, Format.SQLITE):
        kind = {"parquet": "a Parquet file", "excel": "an Excel workbook (xlsx)", "sqlite": "an SQLite database"}[real]
        called = dict(zip(TABLES, CALLED, strict=True))[claimed]
        assert caught.value.what == f"{path} is {kind}, not {called}"
        assert caught.value.hint.startswith(f"add --input {real}")
    else:
        assert caught.value.unchanged == "nothing was imported"


def test_an_unknown_suffix_of_a_known_kind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "book.xls"
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
    with pytest.raises(SourceError) as caught:
        open_source(str(path))
    assert (caught.value.what, caught.value.hint) == (
        f"{path} is an old Excel or Word file (xls, doc)", "save it as xlsx or CSV"
    )  # fmt: skip
