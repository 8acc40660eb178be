"""The reject writer: whole files, resuming, and the way back through the reader."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING

import pytest

from kb.errors import KBError, LimitError, SourceError
from kb.sources import Format, Reading, Row, open_rejects, open_source

if TYPE_CHECKING:
    from pathlib import Path

    from kb.sources import Source


def opened(path: Path, encoding: str | None = None) -> Source:
    return open_source(str(path), Reading(encoding=encoding))


def rejected(tmp_path: Path, name: str, data: bytes, encoding: str | None = None) -> bytes:
    """Reject every row of a file; return the file of the rejects."""
    path = tmp_path / name
    path.write_bytes(data)
    source = opened(path, encoding)
    target = tmp_path / f"rejects-{name}"
    writer = open_rejects(str(target), source, resume_at=None)
    assert writer.flush() == 0
    assert not target.exists(), "no file without a reject"
    for row in source.rows():
        writer.write(row, row.problem or "no, because")
    writer.close()
    assert target.stat().st_mode & 0o777 == 0o600
    return target.read_bytes()


def test_csv_rows_come_back_as_they_were(tmp_path: Path) -> None:
    data = (
        b'id;"a;b";t\r\n1;"x ""y""; z";caf\xc3\xa9\r\n\r\n2;short\r\n3;a;b;long\r\n'
        b'4;"two\r\nlines";t\r\n5;bad\xe9;t\r\n6;nul\0;t\r\n7;"open;t\r\n8;=1+1; 7 \r\n'
    )
    assert rejected(tmp_path, "data.csv", data) == (
        b'_reason;_line;id;"a;b";t\n'
        b'no, because;2;1;"x ""y""; z";caf\xc3\xa9\n'
        b"expected 3 cells, found 2;4;2;short\n"
        b"expected 3 cells, found 4;5;3;a;b;long\n"
        b'no, because;6;4;"two\r\nlines";t\n'
        b"line 8: byte 6 (0xE9) is not valid UTF-8;8;5;bad\xe9;t\n"
        b"the row contains a NUL character in line 9;9;6;nul\0;t\n"
        b'the quote that opens in this row, in line 10, is never closed;10;7;"open;t\n'
        b"no, because;11;8;=1+1; 7 \n"
    )


def test_tsv_and_other_encodings_are_kept(tmp_path: Path) -> None:
    assert rejected(tmp_path, "data.tsv", b"\xef\xbb\xbfid\tt\n1\ta,b\n") == (
        b"\xef\xbb\xbf_reason\t_line\tid\tt\nno, because\t2\t1\ta,b\n"
    )
    text = "id,t\n1,日本\n"
    expected = '_reason,_line,id,t\n"no, because",2,1,日本\n'
    for codec in ("utf-16", "shift_jis", "euc_jp"):
        assert rejected(tmp_path, f"{codec}.csv", text.encode(codec), codec) == expected.encode(codec)


def test_a_reason_never_spoils_its_row(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes("id,t\n1,é\n".encode("cp1252"))
    source = opened(path, "cp1252")
    writer = open_rejects(tmp_path / "out.csv", source, resume_at=None)
    (row,) = source.rows()
    writer.write(row, 'two\nlines, a "quote", a NUL\0 and 日本\udce9')
    writer.close()
    assert (tmp_path / "out.csv").read_bytes() == (
        '_reason,_line,id,t\n"two lines, a ""quote"", a NUL and \\u65e5\\u672c\\udce9",2,1,é\n'.encode("cp1252")
    )
    assert [r.values for r in opened(tmp_path / "out.csv", "cp1252").rows()] == [{"id": "1", "t": "é"}]


JSONL = (
    b'{"id": 1,  "t": "caf\xc3\xa9 \\u00e9", "x": 1.50}\n{}\n{"id": 2\n\n{"id": 3, "x": NaN}\n[4]\n{"t": "bad\xe9"}\n'
)


def test_json_rows_come_back_as_they_were(tmp_path: Path) -> None:
    assert rejected(tmp_path, "data.jsonl", JSONL) == (
        b'{"_reason": "no, because", "_line": 1, "id": 1,  "t": "caf\xc3\xa9 \\u00e9", "x": 1.50}\n'
        b'{"_reason": "no, because", "_line": 2}\n'
        b'{"_reason": "not JSON at column 9: Expecting \',\' delimiter", "_line": 3, "_raw": "{\\"id\\": 2"}\n'
        b'{"_reason": "x: NaN is not a number that can be stored", "_line": 5, '
        b'"_raw": "{\\"id\\": 3, \\"x\\": NaN}"}\n'
        b'{"_reason": "the row is a list, not an object", "_line": 6, "_raw": "[4]"}\n'
        b'{"_reason": "line 7: byte 11 (0xE9) is not valid UTF-8", "_line": 7, "_raw": "{\\"t\\": \\"bad\xe9\\"}"}\n'
    )


def test_a_json_list_is_valid_after_close(tmp_path: Path) -> None:
    data = '[{"id": 1,\n  "t": "é"}, 5, {"a": 1, "a": 2}]'.encode()
    out = rejected(tmp_path, "data.json", data)
    assert out.decode() == (
        "[\n"
        '{"_reason": "no, because", "_line": 1, "id": 1,\n  "t": "é"},\n'
        '{"_reason": "the row is a number, not an object", "_line": 2, "_raw": "5"},\n'
        '{"_reason": "a: the key appears twice", "_line": 2, "_raw": "{\\"a\\": 1, \\"a\\": 2}"}\n'
        "]\n"
    )
    assert len(json.loads(out)) == 3


def mended(tmp_path: Path, name: str, data: bytes, old: bytes, new: bytes) -> list[Row]:
    (tmp_path / f"mended-{name}").write_bytes(rejected(tmp_path, name, data).replace(old, new))
    source = opened(tmp_path / f"mended-{name}")
    if name.endswith(".csv"):
        assert source.columns == ("id", "t")
    return list(source.rows())


@pytest.mark.parametrize(
    ("row", "old", "new"),
    [
        (b"a,b,c", b"b,c", b"b"),
        (b"a", b",a\n", b",a,b\n"),
        (b'a,"b', b'"b', b'"b"'),
        (b"a,\xffb", b"\xff", b""),
        (b"a,\0b", b"\0", b""),
    ],
)
def test_mended_csv_rows_are_read_by_the_same_call(tmp_path: Path, row: bytes, old: bytes, new: bytes) -> None:
    rows = mended(tmp_path, "data.csv", "id,t\né,é\né,é\n".encode() + row + b"\n", old, new)
    assert [(r.values, r.problem) for r in rows] == [({"id": "é", "t": "é"}, None)] * 2 + [
        ({"id": "a", "t": "b"}, None)
    ]
    assert rows[2].raw == (b'a,"b"' if b'"' in row else b"a,b").decode()


@pytest.mark.parametrize("name", ["data.jsonl", "data.json"])
@pytest.mark.parametrize(
    ("row", "old", "new"),
    [
        (b'{"id": "a", "id": "b"}', rb"\"id\": \"b\"", rb"\"t\": \"b\""),
        (b'{"id": "a", "t": NaN}', b"NaN", rb"\"b\""),
        (b'{"id": "a", "t": "b\xff"}', b"\xff", b""),
    ],
)
def test_mended_json_rows_are_read_by_the_same_call(
    tmp_path: Path, name: str, row: bytes, old: bytes, new: bytes
) -> None:
    good = '{"id": "é"}'.encode()
    lines = [good, good, row]
    data = b"\n".join(lines) if name == "data.jsonl" else b"[" + b",\n".join(lines) + b"]"
    rows = mended(tmp_path, name, data, old, new)
    assert [(r.values, r.problem) for r in rows] == [({"id": "é"}, None)] * 2 + [({"id": "a", "t": "b"}, None)]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("data.csv", b'id,t\n1,2\n3\n4,"5\n6"\n7,8,9\n"10\n'),
        ("data.jsonl", JSONL),
        (
            "data.json",
            b'[{"id": 1}, {"id": 1, "id": 2}, 3, {"x": -1e999, "t": "\\ud800"}, {"t": "\\udc80", "_line": 3}]',
        ),
    ],
)
def test_rejecting_rejects_again_changes_nothing(tmp_path: Path, name: str, data: bytes) -> None:
    once = rejected(tmp_path, name, data)
    again = rejected(tmp_path, f"again-{name}", once)
    third = rejected(tmp_path, f"third-{name}", again)
    first, second = (list(opened(tmp_path / f).rows()) for f in (name, f"again-{name}"))
    assert [(r.values, r.raw, bool(r.problem)) for r in first] == [(r.values, r.raw, bool(r.problem)) for r in second]
    assert len(third.splitlines()) == len(once.splitlines())


@pytest.mark.parametrize("name", ["data.csv", "data.jsonl", "data.json"])
@pytest.mark.parametrize("encoding", [None, "utf-16"])
def test_a_killed_job_goes_on_where_it_was_flushed(tmp_path: Path, name: str, encoding: str | None) -> None:
    texts = {"data.csv": "id\n1\n2\n3\n", "data.jsonl": "{}\n{}\n{}\n", "data.json": '[{"a":1},{"a":2},{"a":3}]'}
    (tmp_path / name).write_bytes(texts[name].encode(encoding or "utf-8"))
    source = opened(tmp_path / name, encoding)
    rows = list(source.rows())
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    writer = open_rejects(str(whole), source, resume_at=None)
    for row in rows:
        writer.write(row, "é")
    writer.close()

    writer = open_rejects(str(broken), source, resume_at=0)
    writer.write(rows[0], "é")
    size = writer.flush()
    assert size == broken.stat().st_size
    writer.write(rows[1], "lost")
    writer.close()
    writer = open_rejects(str(broken), source, resume_at=size)
    assert writer.flush() == size
    for row in rows[1:]:
        writer.write(row, "é")
    writer.close()
    assert broken.read_bytes() == whole.read_bytes()

    broken.write_bytes(b"x")
    with pytest.raises(SourceError, match="cannot be continued: it is shorter than when the job stopped"):
        open_rejects(str(broken), source, resume_at=size)
    broken.unlink()
    with pytest.raises(SourceError, match="cannot be continued: No such file or directory"):
        open_rejects(str(broken), source, resume_at=size)


def test_an_older_file_is_replaced_and_made_private(tmp_path: Path) -> None:
    target = tmp_path / "rejects-data.csv"
    target.write_text("older and longer than what follows, by far")
    target.chmod(0o644)
    (tmp_path / "data.csv").write_text("id\n1\n")
    source = opened(tmp_path / "data.csv")
    writer = open_rejects(str(target), source, resume_at=None)
    writer.write(next(source.rows()), "no")
    writer.close()
    writer.close()
    assert (writer.count, target.read_text()) == (1, "_reason,_line,id\nno,2,1\n")
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_place_that_cannot_be_written_is_an_error_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data.csv").write_text("id\n1\n")
    source = opened(tmp_path / "data.csv")
    row = next(source.rows())
    with pytest.raises(SourceError, match="rejected rows cannot be written to .*: No such file or directory"):
        open_rejects(str(tmp_path / "no" / "x.csv"), source, resume_at=None).write(row, "no")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = open_rejects(str(tmp_path / "x.csv"), source, resume_at=None)
    writer.write(row, "no")
    with monkeypatch.context() as patch, pytest.raises(LimitError, match="No space left on device"):
        patch.setattr(os, "fsync", full)
        writer.flush()
    writer.close()


def test_faults_H10_a_file_that_cannot_be_read_comes_back_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "notes" / "sub").mkdir(parents=True)
    (tmp_path / "notes" / "sub" / "a.md").write_text("---\ntitle: [café\n---\nBody\n", encoding="latin-1")
    reading = Reading(encoding="latin-1")
    source = open_source(str(tmp_path / "notes"), reading)
    path = tmp_path / "a.rejects.jsonl"
    writer = open_rejects(path, source, resume_at=None)
    for row in source.rows():
        writer.write(row, row.problem or "")
    writer.close()
    told = "sub/a.md: the front matter cannot be read, line 3: expected ',' or ']', but got '<stream end>'"
    wrapped = f'{{"_reason": "{told}", "_line": 1, "path": "sub/a.md", "_raw": "---\\ntitle: [café\\n---\\nBody\\n"}}\n'
    assert path.read_text(encoding="latin-1") == wrapped
    (again,) = open_source(str(path), reading).rows()
    assert (again.problem, again.raw) == (told, {"path": "sub/a.md", "_raw": "---\ntitle: [café\n---\nBody\n"})
    path.write_text(wrapped.replace("[café", "café"), encoding="latin-1")
    for options in (reading, Reading(format=Format.MARKDOWN, encoding="latin-1")):
        (row,) = open_source(str(path), options).rows()
        assert row.values == {"title": "café", "path": "sub/a.md", "text": "Body"}


@pytest.mark.parametrize(
    "reading",
    [
        Reading(sql="SELECT * FROM t"),
        Reading(format=Format.SQLITE, sql="SELECT * FROM t"),
        Reading(format=Format.EXCEL, sheet="S", header=False),
        Reading(format=Format.PARQUET),
    ],
)
def test_faults_H10_rejects_are_read_with_the_options_of_what_they_come_from(tmp_path: Path, reading: Reading) -> None:
    path = tmp_path / "x.rejects.jsonl"
    path.write_text('{"_reason": "no", "_line": 3, "id": "a", "n": 1}\n')
    assert [row.values for row in open_source(str(path), reading).rows()] == [{"id": "a", "n": 1}]
    path.write_text('{"id": "a", "n": 1}\n')
    with pytest.raises(KBError):
        open_source(str(path), reading)
