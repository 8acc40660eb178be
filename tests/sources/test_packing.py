"""gzip and zstd: every format packed, from files and from pipes; what breaks off, and what never ends."""

from __future__ import annotations

import gzip
import io
import os
import random
import sys
import threading
import tracemalloc
from typing import TYPE_CHECKING

import pytest
import zstandard

from kb.errors import LimitError, SourceChangedError, SourceError
from kb.sources import Format, Reading, Row, open_source
from tests.sources.samples import PACK, ROWS, SUFFIX, TABLES, reading, sample

if TYPE_CHECKING:
    from pathlib import Path

PACKED = (".gz", ".zst")


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("format", TABLES)
def test_faults_E21_every_format_is_read_packed(tmp_path: Path, format: Format, packing: str) -> None:
    path = tmp_path / f"data{SUFFIX[format]}{packing}"
    path.write_bytes(PACK[packing](sample(format)))
    source = open_source(str(path), reading(format))
    assert source.format is format
    assert [row.values for row in source.rows()] == ROWS
    assert [row.values for row in source.rows()] == ROWS, "a file can be read again"
    fingerprint = source.fingerprint()
    assert fingerprint is not None and fingerprint.size == path.stat().st_size
    if format not in (Format.PARQUET, Format.EXCEL, Format.SQLITE):
        assert source.position == source.total == path.stat().st_size


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("format", TABLES)
def test_faults_E21_every_format_is_read_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, format: Format, packing: str
) -> None:
    data = io.BytesIO(PACK[packing](sample(format)))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(data))
    source = open_source("-", reading(format, said=True))
    assert [row.values for row in source.rows()] == ROWS
    assert (source.fingerprint(), source.notes) == (None, [])
    assert not data.closed


@pytest.mark.parametrize("packing", PACKED)
def test_faults_E21_a_packed_file_that_fills_many_blocks(tmp_path: Path, packing: str) -> None:
    words = random.Random(1).choices("abcdefghijklmnopqrstuvwxyz", k=5000)
    data = "id,t\n" + "".join(f"{n},{''.join(words[n % 4000 : n % 4000 + 40])}\n" for n in range(60_000))
    path = tmp_path / f"data.csv{packing}"
    # Several members or frames, one after another, are one file.
    path.write_bytes(PACK[packing](data[:999_999].encode()) + PACK[packing](data[999_999:].encode()))
    rows = list(open_source(str(path)).rows())
    assert (len(rows), rows[-1].values["id"], rows[-1].line) == (60_000, "59999", 60_001)


@pytest.mark.parametrize("packing", PACKED)
def test_faults_E22_the_content_says_whether_a_file_is_packed(tmp_path: Path, packing: str) -> None:
    (tmp_path / "a.csv").write_bytes(PACK[packing](sample(Format.CSV)))
    (tmp_path / f"b.csv{packing}").write_bytes(sample(Format.CSV))
    assert [row.values for row in open_source(str(tmp_path / "a.csv")).rows()] == ROWS
    assert [row.values for row in open_source(str(tmp_path / f"b.csv{packing}")).rows()] == ROWS


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("format", TABLES)
def test_faults_E21_a_packed_file_that_breaks_off(tmp_path: Path, format: Format, packing: str) -> None:
    noise = random.Random(1).randbytes(3_000_000).hex()
    rows: list[dict[str, object]] = [{"id": str(n), "t": noise[n * 1000 : n * 1000 + 1000]} for n in range(5000)]
    whole = PACK[packing](sample(format, rows))
    path = tmp_path / f"data{SUFFIX[format]}{packing}"
    path.write_bytes(whole[: len(whole) - 100])
    seen: list[Row] = []
    with pytest.raises(SourceError) as caught:
        seen.extend(open_source(str(path), reading(format)).rows())
    name = {".gz": "gzip", ".zst": "zstd"}[packing]
    assert (caught.value.what, caught.value.hint) == (f"{path}: its {name} data breaks off", "get a whole copy of it")


@pytest.mark.parametrize("packing", PACKED)
def test_faults_E21_a_packed_file_that_is_damaged(tmp_path: Path, packing: str) -> None:
    pack = zstandard.ZstdCompressor(write_checksum=True).compress if packing == ".zst" else gzip.compress
    data = bytearray(pack(b"id,t\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(300_000))))
    data[len(data) // 2] ^= 0xFF
    path = tmp_path / f"data.csv{packing}"
    path.write_bytes(data)
    with pytest.raises(SourceError, match="its (gzip|zstd) data is damaged: |its (gzip|zstd) data breaks off"):
        list(open_source(str(path)).rows())


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("format", [Format.CSV, Format.JSONL, Format.JSON, Format.PARQUET])
def test_faults_E19_F14_a_file_that_unpacks_to_gigabytes_is_stopped(
    tmp_path: Path, format: Format, packing: str
) -> None:
    spaces = PACK[packing](b" " * 16_000_000)
    path = tmp_path / f"data{SUFFIX[format]}{packing}"
    start = {Format.CSV: b"id,t\n", Format.JSON: b"[", Format.PARQUET: b"PAR1\x15"}.get(format, b"")
    path.write_bytes(PACK[packing](start + b" " * 2_000_000) + spaces * 400)
    with pytest.raises(LimitError) as caught:
        tracemalloc.start()
        try:
            for _ in open_source(str(path)).rows():
                pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    assert caught.value.what == f"{path} unpacks to more than 400 times its size"
    assert peak < 120_000_000


@pytest.mark.parametrize("packing", PACKED)
def test_faults_E20_a_packed_file_that_changes_is_noticed(tmp_path: Path, packing: str) -> None:
    path = tmp_path / f"data.csv{packing}"
    data = PACK[packing](b"id,t\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(300_000)))
    path.write_bytes(data)
    rows = open_source(str(path)).rows()
    next(rows)
    os.truncate(path, len(data) - 1000)
    with pytest.raises(SourceChangedError, match=f"{len(data):,} bytes before, {len(data) - 1000:,} now"):
        list(rows)


@pytest.mark.parametrize("packing", PACKED)
def test_faults_E21_a_packed_named_pipe(tmp_path: Path, packing: str) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    data = PACK[packing](b"id,t\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(200_000)))
    writer = threading.Thread(target=path.write_bytes, args=(data,))
    writer.start()
    source = open_source(str(path), Reading(Format.CSV))
    assert sum(1 for _ in source.rows()) == 200_000
    writer.join()


def test_an_empty_packed_file_is_empty(tmp_path: Path) -> None:
    for data in (b"", gzip.compress(b""), zstandard.compress(b"")):
        path = tmp_path / "data.csv.gz"
        path.write_bytes(data)
        source = open_source(str(path))
        assert (list(source.rows()), source.notes) == ([], [f"{path} is empty (0 bytes)"])


def test_a_temporary_copy_goes_with_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(sample(Format.PARQUET))))
    source = open_source("-", Reading(Format.PARQUET))
    assert [entry.stat().st_mode & 0o777 for entry in tmp_path.iterdir()] == [0o600]
    assert [row.values for row in source.rows()] == ROWS
    del source
    assert list(tmp_path.iterdir()) == []
