"""CSV and TSV: rows E1 to E14 and E19 to E22 of the fault matrix, as far as reading is concerned."""

from __future__ import annotations

import gzip
import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from kb.errors import DocumentError, KBError, SourceChangedError, SourceError, UsageError
from kb.schema import Field, FieldType, build_schema
from kb.sources import Format, Limits, Reading, Row, open_source

if TYPE_CHECKING:
    from pathlib import Path

    from kb.sources import Source


def opened(tmp_path: Path, data: bytes | str, name: str = "data.csv", **options: object) -> Source:
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    limits = options.pop("limits", Limits())
    return open_source(str(path), Reading(**options), limits=limits)  # type: ignore[arg-type]


def read(tmp_path: Path, data: bytes | str, name: str = "data.csv", **options: object) -> list[Row]:
    return list(opened(tmp_path, data, name, **options).rows())


def refused(tmp_path: Path, data: bytes | str, name: str = "data.csv", **options: object) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read(tmp_path, data, name, **options)
    assert caught.value.unchanged == "nothing was imported"
    caught.value.what = caught.value.what.replace(f"{tmp_path}/", "")
    return caught.value


def shown(rows: list[Row]) -> list[tuple[int, int, object]]:
    return [(row.number, row.line, row.problem or list(row.values.values())) for row in rows]


def test_a_row_carries_its_number_line_values_and_text(tmp_path: Path) -> None:
    source = opened(tmp_path, 'id,title\na1,"x, ""y"""\n\na2,\n')
    assert (source.format, source.encoding, source.textual, source.columns) == (
        Format.CSV, "utf-8", True, ("id", "title")
    )  # fmt: skip
    assert list(source.rows()) == [
        Row(1, 2, {"id": "a1", "title": 'x, "y"'}, 'a1,"x, ""y"""'),
        Row(2, 4, {"id": "a2", "title": ""}, "a2,"),
    ]
    assert source.position == source.total == 28
    assert source.notes == []
    assert len(list(source.rows())) == 2, "a file can be read again"


@pytest.mark.parametrize("encoding", [None, "utf-8", "utf-8-sig"])
def test_faults_E1_a_byte_order_mark_is_not_part_of_the_header(tmp_path: Path, encoding: str | None) -> None:
    source = opened(tmp_path, b"\xef\xbb\xbfid,t\na,b\n", encoding=encoding)
    assert source.columns == ("id", "t")
    assert source.encoding == "utf-8-sig"
    assert shown(list(source.rows())) == [(1, 2, ["a", "b"])]


ENGLISH = "id,t\na1,café\na2,the “naïve” approach\na3,plain\n"
JAPANESE = "id,t\na1,これは日本語のテキストです\na2,カタカナもあります\n"


@pytest.mark.parametrize(
    ("text", "codec", "what", "hint"),
    [
        (ENGLISH, "cp1252", "line 2, byte 12 of the file is 0xE9",
         "if this reads well: “a1,café”, add --encoding cp1252"),
        (JAPANESE, "shift_jis", "line 2, byte 9 of the file is 0x82",
         "if this reads well: “a1,これは日本語のテキストです”, add --encoding shift_jis"),
        (JAPANESE, "euc_jp", "line 2, byte 9 of the file is 0xA4",
         "if this reads well: “a1,これは日本語のテキストです”, add --encoding euc_jp"),
        (ENGLISH, "utf-16", "line 1, byte 1 of the file starts a UTF-16 byte order mark",
         "if this reads well: “id,t”, add --encoding utf-16"),
        (ENGLISH, "utf-32", "line 1, byte 1 of the file starts a UTF-32 byte order mark",
         "if this reads well: “id,t”, add --encoding utf-32"),
        (ENGLISH, "utf-16-le", "line 1, byte 2 of the file is NUL, and so are many more",
         "if this reads well: “id,t”, add --encoding utf-16-le"),
        (ENGLISH, "utf-16-be", "line 1, byte 1 of the file is NUL, and so are many more",
         "if this reads well: “id,t”, add --encoding utf-16-be"),
        ("id,t\na1,\x8d\n", "latin-1", "line 2, byte 9 of the file is 0x8D", "name the encoding with --encoding"),
    ],
)  # fmt: skip
def test_faults_E2_another_encoding_stops_before_any_row(
    tmp_path: Path, text: str, codec: str, what: str, hint: str
) -> None:
    error = refused(tmp_path, text.encode(codec))
    assert error.what == f"data.csv is not UTF-8: {what}"
    assert error.hint == hint
    if "--encoding " in hint and codec in hint:
        rows = read(tmp_path, text.encode(codec), encoding=codec)
        assert [list(r.values.values()) for r in rows] == [line.split(",") for line in text.splitlines()[1:]]


def test_faults_E2_a_wrong_encoding_that_was_asked_for_stops_too(tmp_path: Path) -> None:
    error = refused(tmp_path, JAPANESE.encode(), encoding="ascii")
    assert error.what == "data.csv is not ascii: line 2, byte 9 of the file is 0xE3"
    assert "cannot be decoded as utf-16" in refused(tmp_path, b"id,t\n1,2", encoding="utf-16").what
    for unknown in ("utf-99", "base64", "rot13"):
        with pytest.raises(UsageError, match=f"there is no encoding '{unknown}'"):
            read(tmp_path, b"id,t\n", encoding=unknown)


def test_faults_E2_a_bad_byte_in_the_header_stops(tmp_path: Path) -> None:
    error = refused(tmp_path, "id,größe\n".encode("latin-1") + "a,ä\n".encode() * 200)
    assert error.what == "data.csv is not UTF-8: line 1, byte 6 of the file is 0xF6"


def test_faults_E3_one_bad_byte_costs_one_row(tmp_path: Path) -> None:
    lines = [b"id,t\n"] + [b"a%d,caf\xc3\xa9\n" % n for n in range(1, 10_001)]
    lines[9_999] = b"a9999,\xc3\xa9 caf\xe9\n"
    rows = read(tmp_path, b"".join(lines))
    assert [r for r in rows if r.problem] == [
        Row(9_999, 10_000, {}, "a9999,é caf\udce9", "line 10000: byte 13 (0xE9) is not valid UTF-8")
    ]
    assert len(rows) == 10_000


def test_faults_E3_a_bad_byte_in_a_later_line_of_a_row_is_located(tmp_path: Path) -> None:
    good = "x,ä\n".encode() * 5
    rows = read(tmp_path, b"id,t\n" + good + b'a,"one\r\ntw\xff"\nb,c\n')
    assert shown(rows[5:]) == [(6, 7, "line 8: byte 3 (0xFF) is not valid UTF-8"), (7, 9, ["b", "c"])]


def test_faults_E4_a_nul_byte_costs_one_row(tmp_path: Path) -> None:
    rows = read(tmp_path, b"id,t\na,b\nb,x\0y\nc,d\n")
    assert shown(rows) == [(1, 2, ["a", "b"]), (2, 3, "the row contains a NUL character in line 3"), (3, 4, ["c", "d"])]
    assert rows[1].raw == "b,x\0y"
    assert "the name of column 2 contains a NUL" in refused(tmp_path, b"id,t\0\n" + b"a,b\n" * 9).what


@pytest.mark.parametrize("size", [140_000, 2 * 1024 * 1024 - 2])
def test_faults_E5_a_long_cell_is_read(tmp_path: Path, size: int) -> None:
    rows = read(tmp_path, f"id,t\na,{'x' * size}\n")
    assert [len(str(r.values["t"])) for r in rows] == [size]


def test_faults_E5_a_row_over_the_limit_is_rejected_and_the_next_one_read(tmp_path: Path) -> None:
    limits = Limits(row_bytes=20)
    bodies = ["x" * 18, "x" * 19, "ä" * 10, '"' + "x\n" * 10 + '"']
    text = "id,t\n" + "".join(f"{key},{body}\n" for key, body in zip("abcd", bodies, strict=True)) + "e,f\n"
    assert shown(read(tmp_path, text, limits=limits)) == [
        (1, 2, ["a", "x" * 18]),
        (2, 3, "the row is 21 bytes long; the limit is 20"),
        (3, 4, "the row is 22 bytes long; the limit is 20"),
        (4, 5, "the row is 24 bytes long; the limit is 20"),
        (5, 16, ["e", "f"]),
    ]


@pytest.mark.parametrize("ending", ["\n", "\r", "\r\n"])
def test_faults_E5_a_line_that_cannot_be_held_is_skipped(tmp_path: Path, ending: str) -> None:
    limits = Limits(row_bytes=1000)
    for size in (66_536, 66_537, 66_538, 66_539, 132_072, 132_073, 132_074, 200_000):
        text = ending.join(["id,t", "a,b", "b," + "x" * size, "c,d", ""])
        rows = read(tmp_path, text, limits=limits)
        assert [(r.number, r.line) for r in rows] == [(1, 2), (2, 3), (3, 4)]
        assert [bool(r.problem) for r in rows] == [False, True, False]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('a,"never closed\nb,c\nd,e\n', [
            (1, 2, "the quote that opens in this row, in line 2, is never closed"), (2, 3, ["b", "c"]),
            (3, 4, ["d", "e"])]),
        ('a,b\nb,"open\nc,d\ne,"f, g"\nh,i', [
            (1, 2, ["a", "b"]),
            (2, 3, "the quote that opens in this row, in line 3, meets another one inside line 5"),
            (3, 4, ["c", "d"]), (4, 5, ["e", "f, g"]), (5, 6, ["h", "i"])]),
        ('a,"5" disk"\nb,c\n', [(1, 2, "a quote inside a quoted cell of line 2 is not doubled"), (2, 3, ["b", "c"])]),
        ('a,5" disk\n', [(1, 2, ["a", '5" disk'])]),
        ('a,b\n"c', [(1, 2, ["a", "b"]), (2, 3, "the quote that opens in this row, in line 3, is never closed")]),
    ],
)  # fmt: skip
def test_faults_E6_an_unclosed_quote_costs_its_line_only(tmp_path: Path, body: str, expected: object) -> None:
    assert shown(read(tmp_path, "id,t\n" + body)) == expected


def test_faults_E6_the_rest_of_a_large_file_is_read(tmp_path: Path) -> None:
    rows = read(tmp_path, 'id,t\nx,"open\n' + "a,b\n" * 150_000)
    assert rows[0].problem == "the quote that opens in this row, in line 2, is not closed by line 100002"
    assert rows[0].raw == 'x,"open'
    assert (len(rows), sum(r.problem is not None for r in rows), rows[-1].line) == (150_001, 1, 150_002)


def test_faults_E6_quotes_that_all_stay_open_end_in_an_error_rather_than_in_hours(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(SourceError, match="too many quotes that are never closed; the one in line ") as caught:
        read(tmp_path, "id,t\n" + 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",b"c,"\n' * 120_000)
    assert caught.value.unchanged == "rows that were committed before stay"
    assert time.monotonic() - started < 15


def test_faults_E6_an_unclosed_quote_in_the_header_stops(tmp_path: Path) -> None:
    assert refused(tmp_path, 'id,"t\na,b\n').what == (
        "data.csv: the header in line 1 cannot be read: unexpected end of data"
    )


def test_faults_E7_short_and_long_rows_are_rejected_with_their_counts(tmp_path: Path) -> None:
    rows = read(tmp_path, 'id,t,u\na,b\na,b,c,d\na,"b\nb"\na,b,c\n')
    assert shown(rows) == [
        (1, 2, "expected 3 cells, found 2"),
        (2, 3, "expected 3 cells, found 4"),
        (3, 4, "expected 3 cells, found 2 in lines 4 to 5"),
        (4, 6, ["a", "b", "c"]),
    ]
    assert [r.raw for r in rows] == ["a,b", "a,b,c,d", 'a,"b\nb"', "a,b,c"]


def test_faults_E8_a_header_must_name_every_column_once(tmp_path: Path) -> None:
    error = refused(tmp_path, "id,t,id\n1,2,3\n")
    assert (error.what, error.hint) == (
        "data.csv: the header names 'id' twice, in columns 1 and 3", "rename or remove one of them"
    )  # fmt: skip
    assert refused(tmp_path, "id,t,\n1,2,3\n").what == "data.csv: column 3 of the header has no name"


@pytest.mark.parametrize(
    ("data", "columns", "notes"),
    [
        (b"", (), ["data.csv is empty (0 bytes)"]),
        (b"\n\r\n  \n", (), ["data.csv holds only blank lines"]),
        (b"\xef\xbb\xbf", (), ["data.csv holds only blank lines"]),
        (b"id,t\n", ("id", "t"), ["data.csv: header only, no rows"]),
        (b"\n\nid,t\n\n", ("id", "t"), ["data.csv: header only, no rows"]),
    ],
)
def test_faults_E10_no_rows_has_a_reason(tmp_path: Path, data: bytes, columns: object, notes: list[str]) -> None:
    source = opened(tmp_path, data)
    assert list(source.rows()) == []
    assert source.columns == columns
    assert [n.replace(f"{tmp_path}/", "") for n in source.notes] == notes


@pytest.mark.parametrize(("delimiter", "word"), [(",", "comma"), (";", "semicolon"), ("\t", "tab"), ("|", "bar")])
@pytest.mark.parametrize("ending", ["\n", "\r", "\r\n"])
def test_faults_E11_delimiters_and_line_endings(tmp_path: Path, delimiter: str, word: str, ending: str) -> None:
    lines = ['"x,;y"|id|t', f'1|"two{ending}lines"|3', "", "4|5|6", ""]
    source = opened(tmp_path, ending.join(lines).replace("|", delimiter))
    dialect = source.dialect  # type: ignore[attr-defined]
    assert (dialect.name, dialect.delimiter, dialect.sniffed) == (word, delimiter, True)
    assert shown(list(source.rows())) == [(1, 2, ["1", f"two{ending}lines", "3"]), (2, 5, ["4", "5", "6"])]


def test_faults_E11_mixed_line_endings_and_other_separators_inside_a_line(tmp_path: Path) -> None:
    rows = read(tmp_path, "id,t\r\na,b\rc,d\ne,\u2028\x0b\x0c\x85\r\n\r\ng,h")
    assert shown(rows) == [
        (1, 2, ["a", "b"]), (2, 3, ["c", "d"]), (3, 4, ["e", "\u2028\x0b\x0c\x85"]), (4, 6, ["g", "h"])
    ]  # fmt: skip


def test_faults_E11_the_delimiter_can_be_given(tmp_path: Path) -> None:
    assert shown(read(tmp_path, "id;a,b\n1;2,3\n", delimiter=";")) == [(1, 2, ["1", "2,3"])]
    assert shown(read(tmp_path, "id,a\tb\n1,2\t3\n", "data.tsv")) == [(1, 2, ["1,2", "3"])]
    assert shown(read(tmp_path, "id\ta\n1\t2\n", delimiter="\\t")) == [(1, 2, ["1", "2"])]
    assert shown(read(tmp_path, "id\n1\n\n \n2\n")) == [(1, 2, ["1"]), (2, 5, ["2"])]
    for wrong in ("", ";;", '"', "\n"):
        with pytest.raises(UsageError, match="cannot be a delimiter"):
            read(tmp_path, "id;a\n", delimiter=wrong)
    with pytest.raises(UsageError, match="a delimiter is given, but jsonl has none"):
        read(tmp_path, "{}", "data.jsonl", delimiter=";")


SCHEMA = build_schema(
    [
        Field("body", FieldType.TEXT),
        Field("zip", FieldType.STR, required=False),
        Field("count", FieldType.INT, required=False),
        Field("price", FieldType.FLOAT, required=False),
        Field("new", FieldType.BOOL, required=False),
    ]
)


def stored(tmp_path: Path, name: str, cell: str) -> object:
    (row,) = read(tmp_path, f'id;body;{name}\n007;x;"{cell}"\n')
    document = SCHEMA.document(row.values, textual=True, separators={})
    assert document.id == "007"
    return getattr(document, name)


@pytest.mark.parametrize(
    ("name", "cell", "value"),
    [
        ("zip", "00123", "00123"), ("zip", "1e5", "1e5"), ("zip", "TRUE", "TRUE"), ("zip", " 7 ", " 7 "),
        ("count", "00123", 123), ("price", "1e5", 1e5), ("new", "TRUE", True), ("count", " 7 ", 7),
    ],
)  # fmt: skip
def test_faults_E12_cells_are_read_by_the_schema_alone(tmp_path: Path, name: str, cell: str, value: object) -> None:
    assert stored(tmp_path, name, cell) == value


@pytest.mark.parametrize("cell", ["1,234.50", "1.234,50", "￥5", "1e5x"])
def test_faults_E12_numbers_written_otherwise_are_refused(tmp_path: Path, cell: str) -> None:
    with pytest.raises(DocumentError, match="price: .* is not a number"):
        stored(tmp_path, "price", cell)


def test_faults_E13_an_int_column_with_blanks_stays_int(tmp_path: Path) -> None:
    rows = read(tmp_path, "id,body,count\na,x,3\nb,x,\nc,x,4\n")
    counts = [getattr(SCHEMA.document(r.values, textual=True, separators={}), "count") for r in rows]  # noqa: B009
    assert counts == [3, None, 4]
    assert [type(c) for c in counts] == [int, type(None), int]


@pytest.mark.parametrize("cell", ["NaN", "nan", "NULL", "None", "N/A", "-"])
def test_faults_E14_only_an_empty_cell_is_missing(tmp_path: Path, cell: str) -> None:
    assert stored(tmp_path, "zip", cell) == cell
    assert stored(tmp_path, "zip", "") is None
    with pytest.raises(DocumentError):
        stored(tmp_path, "price", cell)


def test_faults_E19_columns_are_capped(tmp_path: Path) -> None:
    header = ",".join(f"c{n}" for n in range(1001))
    assert refused(tmp_path, header).what == "data.csv has 1,001 columns; the limit is 1,000"
    columns = opened(tmp_path, header.removesuffix(",c1000")).columns
    assert columns is not None and len(columns) == 1000


@pytest.mark.parametrize("name", ["data.csv", "data.jsonl", "data.json"])
def test_faults_E19_memory_does_not_grow_with_the_file(tmp_path: Path, name: str) -> None:
    line = {"data.csv": "a,{}\n", "data.jsonl": '{{"t": "{}"}}\n', "data.json": '{{"t": "{}"}},\n'}[name]
    before, after = {"data.csv": ("id,t\n", ""), "data.jsonl": ("", ""), "data.json": ("[", "{}]")}[name]
    source = opened(tmp_path, before + line.format("x" * 1000) * 20_000 + after, name)
    tracemalloc.start()
    count = sum(1 for _ in source.rows())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count >= 20_000
    assert peak < 6_000_000


@pytest.mark.parametrize("name", ["data.csv", "data.jsonl", "data.json"])
@pytest.mark.parametrize("change", ["grow", "truncate", "rewrite", "remove"])
def test_faults_E20_a_file_that_changes_is_noticed(tmp_path: Path, name: str, change: str) -> None:
    text = {"data.csv": "id,t\na,b\n", "data.jsonl": '{"a": 1}\n', "data.json": '[{"a": 1}]'}[name]
    source = opened(tmp_path, text, name)
    source.check_unchanged()
    fingerprint = source.fingerprint()
    assert fingerprint is not None and fingerprint.size == len(text)
    rows = source.rows()
    next(rows)
    path = tmp_path / name
    if change == "remove":
        path.unlink()
    else:
        path.write_text({"grow": text + " \n", "truncate": text[:-2], "rewrite": text.replace("a", "z")}[change])
    with pytest.raises(SourceChangedError, match="changed while it was read: "):
        source.check_unchanged()
    with pytest.raises(SourceChangedError):
        list(rows)
    with pytest.raises(SourceChangedError):
        next(source.rows())


@pytest.mark.parametrize(
    ("data", "what", "hint"),
    [
        (b"PK\x03\x04....[Content_Types].xml...xl/workbook.xml", "an Excel workbook (xlsx)", "add --input excel"),
        (b"PK\x03\x04....[Content_Types].xml...word/document", "a Word document (docx)", "export its table as CSV"),
        (b"PK\x03\x04....a.csv", "a zip archive", "unpack it first: unzip"),
        (b"BZh91AY&SY", "bzip2-compressed", "unpack it first: bunzip2"),
        (gzip.compress(gzip.compress(b"id\n1\n")), "gzip-compressed twice", "unpack it once: gunzip"),
        (gzip.compress(b"PAR1\x15\x04"), "a Parquet file", "add --input parquet"),
        (b"%PDF-1.7\n%\xe2", "a PDF", "export its text or table first"),
        (b"SQLite format 3\0", "an SQLite database", "add --input sqlite, and a query with --sql"),
        (b"PAR1\x15\x04", "a Parquet file", "add --input parquet"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Word file (xls, doc)", "save it as xlsx or CSV"),
        (b"\n<!DOCTYPE html><html>", "an HTML page", "save the data itself, not the page"),
        (b"<html lang=en>", "an HTML page", "save the data itself, not the page"),
        (b'<?xml version="1.0"?>', "an XML document", "convert it to CSV or JSON first"),
        (b'\xef\xbb\xbf[{"id": 1}]', "JSON", "add --input json"),
        (b'{"id": 1}\n{"id": 2}\n', "JSON", "add --input jsonl"),
    ],
)
def test_faults_E22_other_kinds_of_files_are_named(tmp_path: Path, data: bytes, what: str, hint: str) -> None:
    error = refused(tmp_path, data)
    assert (error.what, error.hint) == (f"data.csv is {what}, not CSV", hint)


def test_reading_is_fast_enough(tmp_path: Path) -> None:
    source = opened(tmp_path, "id,t\n" + "a1,some title\n" * 100_000)
    started = time.process_time()
    assert sum(1 for _ in source.rows()) == 100_000
    assert time.process_time() - started < 2, "a tenth of the speed that is asked for, for busy machines"


def test_errors_are_of_the_tree() -> None:
    assert issubclass(SourceChangedError, KBError)
