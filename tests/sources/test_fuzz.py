"""Properties: whatever the bytes are, reading ends, with rows or with an error of ``kb``; rejects lose nothing."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kb.errors import KBError
from kb.sources import Format, Limits, Reading, Row, open_rejects, open_source
from tests.sources.samples import PACK, SUFFIX, TABLES, sample

SUFFIXES = {**SUFFIX, Format.MARKDOWN: ".md"}
BOUNDED = settings(max_examples=100, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
CODECS = (None, "latin-1", "utf-16", "shift_jis", "utf-7", "utf-32")
PIECES = {
    "csv": [b"a", b"id,t\n", b",", b'"', b'""', b"\n", b"\r", b"\r\n", b"\0", b"\xe9", "é日".encode(), b";", b"\t", b" ",
            b"x" * 50, b"_reason,_line,id\n", b"\xef\xbb\xbf"],
    "jsonl": [b"{", b"}", b"[", b"]", b'"', b"\\", b":", b",", b"1", b"-", b".5", b"e9", b"true", b"null", b"NaN", b" ",
              b"\n", b"\r", b"\0", b"\xe9", "é日".encode(), b'{"a": 1}', b'{"a": "\\ud800"}\n', b'"_raw"', b'"_line": 3',
              b'{"_raw": "{}"}\n', b"x" * 50, b"[" * 40, b"9" * 5000],
}  # fmt: skip
PIECES["json"] = [*PIECES["jsonl"], b'[{"a": 1}, ', b'{"a": 1}, ', b"]"]
PIECES["tsv"] = PIECES["csv"]
SMALL = Limits(row_bytes=60, columns=4, depth=3)


def pieced(format: str) -> st.SearchStrategy[bytes]:
    return st.lists(st.sampled_from(PIECES[format]), max_size=30).map(b"".join) | st.binary(max_size=200)


def read(data: bytes, format: str, encoding: str | None = None, limits: Limits = SMALL) -> list[Row] | None:
    """Return the rows and reject them all on the way; None for an input that is refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"data.{format}")
        path.write_bytes(data)
        rows: list[Row] = []
        try:
            sql = "SELECT * FROM t" if path.suffix == ".db" else None
            source = open_source(str(path), Reading(encoding=encoding, sql=sql), limits=limits)
            writer = open_rejects(str(Path(folder, "rejects")), source, resume_at=None)
            with closing(writer):
                for row in source.rows():
                    rows.append(row)
                    writer.write(row, row.problem or "a, reason")
        except KBError as error:
            assert error.what and (error.unchanged or error.exit_code == 2)
            return None
        assert [row.number for row in rows] == list(range(1, len(rows) + 1))
        assert all(row.problem is None or not row.values for row in rows)
        assert [row.line for row in rows] == sorted(row.line for row in rows)
        return rows


@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl", "json"])
def test_any_bytes_end_in_rows_or_an_error(format: str) -> None:
    @BOUNDED
    @given(pieced(format), st.sampled_from(CODECS))
    def check(data: bytes, encoding: str | None) -> None:
        read(data, format, encoding)

    check()


CELLS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=8)


@BOUNDED
@given(
    st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=8),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_what_csv_writes_is_read(cells: list[list[str]], delimiter: str, ending: str) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=ending, quoting=csv.QUOTE_ALL).writerows([["id", "t"], *cells])
    rows = read(text.getvalue().encode(), "csv", limits=Limits())
    assert rows is not None
    assert [list(row.values.values()) for row in rows] == cells


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
KEYS = st.text(max_size=5).filter(lambda key: key not in ("_reason", "_line", "_raw"))


@BOUNDED
@given(
    st.lists(st.dictionaries(KEYS, VALUES, max_size=4), min_size=1, max_size=8),
    st.booleans(),
    st.sampled_from([None, 2]),
)
def test_what_json_writes_is_read(objects: list[dict[str, object]], ascii: bool, indent: int | None) -> None:
    data = json.dumps(objects, ensure_ascii=ascii, indent=indent).encode("utf-8", "surrogatepass")
    rows = read(data, "json", limits=Limits())
    assert rows is not None and [row.values for row in rows] == objects
    lines = "\n".join(json.dumps(item, ensure_ascii=ascii) for item in objects)
    rows = read(lines.encode(), "jsonl", limits=Limits())
    assert rows is not None and [row.values for row in rows] == objects


@pytest.mark.parametrize("format", ["csv", "jsonl", "json"])
def test_rejects_are_read_back_as_the_rows_they_were(format: str) -> None:
    pieces = [piece for piece in PIECES[format] if piece != b'"'] if format == "csv" else PIECES[format]
    opening, between, closing = {"csv": (b"id,t\n", b"\n", b"\n"), "json": (b"[", b",", b"]")}.get(
        format, (b"", b"\n", b"")
    )

    @BOUNDED
    @given(st.lists(st.lists(st.sampled_from(pieces), max_size=6).map(b"".join), max_size=5))
    def check(parts: list[bytes]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"data.{format}")
            path.write_bytes(opening + between.join(parts) + closing)
            try:
                first = list(open_source(str(path)).rows())
                source = open_source(str(path))
            except KBError:
                return
            again = Path(folder, f"again.{format}")
            writer = open_rejects(str(again), source, resume_at=None)
            for row in first:
                writer.write(row, row.problem or "a, reason")
            writer.close()
            if not first:
                return
            try:
                second = list(open_source(str(again)).rows())
            except KBError as error:
                assert "is not UTF-8" in error.what, "a share of bad lines that was low enough may rise"
                return
            assert [kept(row) for row in second] == [kept(row) for row in first]

    def kept(row: Row) -> tuple[object, str, bool]:
        # Of a JSON row, white space around its members is not kept.
        text = str(row.raw)
        return row.values, text if format == "csv" else "".join(text.split()), row.problem is None

    check()


NOTE = b"---\ntitle: x\ntags: [a, 'b']\nday: 2024-01-01\nn: {a: 1, b: |\n c}\n---\n# H\n\ntext\n"
WHOLE = {format: sample(format, [{"id": f"a{n}", "t": f"caf\xe9 {n}"} for n in range(9)]) for format in TABLES}
WHOLE[Format.MARKDOWN] = NOTE


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Draw a file with some of its bytes changed, taken out, put in or put elsewhere."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        change = draw(st.sampled_from(["flip", "set", "cut", "insert", "copy"]))
        length = draw(st.sampled_from([1, 4, 50]))
        if change == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif change == "set":
            data[at : at + 1] = draw(st.sampled_from([b"\0", b"\xff", b"\x7f", b"\x80", b"-", b"[", b'"']))
        elif change == "cut":
            del data[at : at + length]
        elif change == "insert":
            data[at:at] = draw(st.binary(max_size=8))
        else:
            start = draw(st.integers(0, len(data)))
            data[at:at] = data[start : start + length]
    return bytes(data)


@pytest.mark.parametrize("format", WHOLE)
def test_a_damaged_file_ends_in_rows_or_an_error(format: Format) -> None:
    @BOUNDED
    @given(damaged(WHOLE[format]))
    def check(data: bytes) -> None:
        read(data, SUFFIXES[format][1:], limits=Limits(row_bytes=1000, columns=4, depth=3))

    check()


@pytest.mark.parametrize("packing", [".gz", ".zst"])
@pytest.mark.parametrize("format", [Format.CSV, Format.JSON, Format.PARQUET])
def test_a_damaged_packed_file_ends_in_rows_or_an_error(format: Format, packing: str) -> None:
    @BOUNDED
    @given(damaged(PACK[packing](WHOLE[format])))
    def check(data: bytes) -> None:
        read(data, f"{format}{packing}")

    check()


@pytest.mark.parametrize(
    "start", ["", "PAR1", "PK\3\4xl/", "SQLite format 3\0", "---\n", "+++\n", "\x1f\x8b\x08", "(\xb5/\xfd"]
)
@pytest.mark.parametrize("format", WHOLE)
def test_any_bytes_after_a_true_beginning_end_in_rows_or_an_error(format: Format, start: str) -> None:
    @settings(BOUNDED, max_examples=20)
    @given(st.binary(max_size=200) | pieced("json") | pieced("csv"))
    def check(data: bytes) -> None:
        read(start.encode("latin-1") + data, SUFFIXES[format][1:])

    check()


@BOUNDED
@given(st.sampled_from(["---", "+++"]), st.text(max_size=60) | st.text("-+[]{}:,'\"#&*!|>%@?= \na1.e", max_size=60))
def test_any_front_matter_ends_in_a_row(fence: str, block: str) -> None:
    rows = read(f"{fence}\n{block}\n{fence}\n".encode("utf-8", "surrogatepass"), "md")
    assert rows is not None and len(rows) == 1


@BOUNDED
@given(VALUES, st.dictionaries(KEYS, VALUES, max_size=3), st.dictionaries(KEYS, VALUES, max_size=3), st.booleans())
def test_records_are_found_in_any_document(
    found: object, before: dict[str, object], after: dict[str, object], ascii: bool
) -> None:
    for members in (before, after):
        members.pop("a", None)
        members.pop("b", None)
    items = [{"x": found}, {}]
    document = {**before, "a": {**before, "b": items, **after}, **after}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data.json")
        path.write_text(json.dumps(document, ensure_ascii=ascii), errors="surrogatepass")
        rows = list(open_source(str(path), Reading(records="a.b")).rows())
    assert [row.values for row in rows] == items
