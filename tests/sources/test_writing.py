"""Whatever a collection holds, what is written of it is read back as it was. Rows E16 and F15 of the fault matrix."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kb.errors import DocumentError, UsageError
from kb.ingest import FieldMapping
from kb.ingest.resolving import resolve
from kb.schema import Field, FieldType, build_schema
from kb.sources import (
    Column,
    ExportFormat,
    Reading,
    export_format,
    open_frame,
    open_rejects,
    open_source,
    to_typed_frame,
    write_rows,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kb.schema import Document, Schema

CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
FORMULAS = ["=1+1", "'=1+1", "''=1", "-5", "+5", "@A1", "\t=1", "\r=1", "\n=1", "＝1"]
NASTY = st.sampled_from(
    [
        *FORMULAS,
        *(
            "",
            " ",
            "'",
            "''",
            "\r",
            "\n",
            "\r\n",
            "\\",
            '"',
            '\\"',
            "a;b",
            "a,b",
            "a|b",
            " a",
            "a ",
            "[]",
            '["a"]',
            "'[]",
        ),
        *("None", "null", "NaN", "nan", "true", "0", "00123", "1e5", "_quoted", '{"_raw": "x"}', '_raw"', "#", "\x7f"),
        *("\ufeff", "\u2028", "\x85", "\x1c", "\u200b", "𝄞", "é", "e\u0301"),
    ]
)
TEXTS = NASTY | st.text(CHARACTERS, max_size=12) | st.tuples(NASTY, NASTY).map("".join)
YEARS = {"min_value": dt.datetime(1, 1, 2), "max_value": dt.datetime(9999, 12, 30)}
VALUES: dict[FieldType, st.SearchStrategy[Any]] = {
    FieldType.STR: TEXTS,
    FieldType.TEXT: TEXTS,
    FieldType.INT: st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9),
    FieldType.FLOAT: st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([-0.0, 5e-324, 1e22, 2.0**63]),
    FieldType.BOOL: st.booleans(),
    FieldType.DATE: st.dates(),
    FieldType.DATETIME: st.datetimes(**YEARS, timezones=st.just(dt.UTC)),
}
SEPARATORS = st.none() | st.sampled_from([";", ",", "|", " ", "\n", "', '", "'", "=", "ab", "[", '"', "-"])


def value_of(declared: Field) -> st.SearchStrategy[Any]:
    return st.lists(VALUES[declared.type], max_size=3) if declared.many else VALUES[declared.type]


@st.composite
def fields(draw: Any, name: str) -> Field:
    kind = draw(st.sampled_from(FieldType))
    bare = Field(name, kind, many=draw(st.booleans()), required=draw(st.booleans()))
    separator = draw(SEPARATORS) if bare.many else None
    default = draw(st.none() | st.none() | value_of(bare))
    return replace(bare, separator=separator, default=default)


@st.composite
def schemas(draw: Any) -> Schema:
    names = draw(st.lists(st.sampled_from(["title", "tags", "x", "größe", "value"]), max_size=4, unique=True))
    key = draw(st.sampled_from(["id", "slug", "Article ID", "a;b", "a,b", 'k"', "x"]))
    return build_schema([Field("body", FieldType.TEXT), *(draw(fields(name)) for name in names)], key=key)


@st.composite
def collections(draw: Any) -> tuple[Schema, list[Document]]:
    schema = draw(schemas())
    documents = []
    for number in range(draw(st.integers(0, 3))):
        values: dict[str, object] = {
            "id": f"{draw(NASTY)} {number}".replace("\n", "").replace("\r", "").replace("\t", "")
        }
        for name, declared in schema.fields.items():
            given = value_of(declared)
            values[name] = draw(given if declared.required or declared.many else st.none() | given)
        try:
            documents.append(schema.document(values, textual=False, separators={}))
        except DocumentError:
            continue  # a blank body, a control character in the id
    return schema, documents


def columns_of(schema: Schema) -> list[Column]:
    from kb.curate.exporting import columns_of as made

    return made(schema, None)


def rows_of(schema: Schema, documents: list[Document]) -> Iterator[list[Any]]:
    """As the catalog gives them."""
    for document in documents:
        stored = json.loads(schema.render(document).fields)
        yield [document.id, *(declared.load_value(stored.get(n)) for n, declared in schema.fields.items())]


def written(schema: Schema, documents: list[Document], format: ExportFormat, *, raw: bool = False) -> bytes:
    stream = io.BytesIO()
    count = write_rows(stream, format, columns_of(schema), lambda: rows_of(schema, documents), raw=raw)
    assert count == len(documents)
    return stream.getvalue()


def read(schema: Schema, source: Any) -> list[Document]:
    columns = resolve(schema, FieldMapping(), source.columns or None, name="it", textual=source.textual)
    found = []
    for row in source.rows():
        assert row.problem is None
        found.append(columns.document(row))
    return found


def same(schema: Schema, documents: list[Document], found: list[Document]) -> None:
    """The stored forms decide what is unchanged."""
    assert [schema.render(document) for document in found] == [schema.render(document) for document in documents]


@pytest.mark.parametrize(("format", "raw"), [("csv", False), ("csv", True), ("jsonl", False), ("parquet", False)])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(collection=collections())
def test_what_is_written_is_read_back_as_it_was(
    tmp_path: Path, format: str, raw: bool, collection: tuple[Schema, list[Document]]
) -> None:
    schema, documents = collection
    path = tmp_path / f"out.{format}"
    path.write_bytes(written(schema, documents, ExportFormat(format), raw=raw))
    if documents:
        same(schema, documents, read(schema, open_source(str(path), Reading())))


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(collection=collections())
def test_parquet_holds_every_value_in_its_type(collection: tuple[Schema, list[Document]]) -> None:
    schema, documents = collection
    table = pq.read_table(io.BytesIO(written(schema, documents, ExportFormat.PARQUET)), use_threads=False)
    rows = list(rows_of(schema, documents))
    assert table.column_names == [column.name for column in columns_of(schema)]
    assert [list(row.values()) for row in table.to_pylist()] == rows
    assert [str(value) for row in table.to_pylist() for value in row.values() if isinstance(value, float)] == [
        str(value) for row in rows for value in row if isinstance(value, float)
    ]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(collection=collections())
def test_faults_F15_frames_go_out_and_come_in_again(collection: tuple[Schema, list[Document]]) -> None:
    schema, documents = collection
    frame = to_typed_frame(columns_of(schema), rows_of(schema, documents))
    assert len(frame) == len(documents)
    if documents:
        same(schema, documents, read(schema, open_frame(frame)))


ARTICLES = build_schema(
    [
        Field("title", FieldType.STR),
        Field("body", FieldType.TEXT, required=False),
        Field("tags", FieldType.STR, many=True, separator=";"),
        Field("names", FieldType.STR, many=True),
        Field("rating", FieldType.FLOAT, required=False),
        Field("seen", FieldType.DATETIME, required=False),
        Field("open", FieldType.BOOL, required=False),
    ],
    key="slug",
    text="{title}.",
)


def document(id: str, **values: object) -> Document:
    return ARTICLES.document({"id": id, "title": "t", **values}, textual=False, separators={})


def lines(*documents: Document, raw: bool = False) -> list[str]:
    return written(ARTICLES, list(documents), ExportFormat.CSV, raw=raw).decode().split("\n")


HEADER = "slug,title,body,tags,names,rating,seen,open"


def test_a_csv_file_is_plain_while_plain_cells_say_everything() -> None:
    seen = dt.datetime(2024, 1, 31, 12, 0, 0, 5, dt.UTC)
    full = document(
        "a1", body='He said "no",\r\nthen left', tags=["x", "y"], names=["x;y"], rating=-0.5, seen=seen, open=False
    )
    assert lines(document("a0"), full) == [
        HEADER,
        "a0,t,,,,,,",
        'a1,t,"He said ""no"",\r',
        'then left",x;y,"[""x;y""]",-0.5,2024-01-31T12:00:00.000005Z,false',
        "",
    ]


def test_an_export_of_nothing_has_a_header() -> None:
    assert lines() == [HEADER, ""]
    assert written(ARTICLES, [], ExportFormat.JSONL) == b""
    assert pq.read_table(io.BytesIO(written(ARTICLES, [], ExportFormat.PARQUET))).num_rows == 0


def test_faults_E16_what_a_spreadsheet_would_run_has_an_apostrophe_before_it() -> None:
    attack = document("-a1", title="=cmd|' /C calc'!A0", body="@SUM(1)", tags=["=1"], names=["=1"], rating=-1.5)
    assert cells(attack, document("a2", body="'=1")) == [
        [*HEADER.split(","), "_quoted"],
        ["'-a1", "'=cmd|' /C calc'!A0", "'@SUM(1)", '\'["=1"]', '["=1"]', "-1.5", "", "", "slug,title,body,tags"],
        ["a2", "t", "'=1", "", "", "", "", "", ""],
    ]


@pytest.mark.parametrize("text", FORMULAS)
def test_faults_E16_no_cell_of_text_begins_a_formula(text: str) -> None:
    assert cells(document("a", title=text))[1][1] == (text if text.startswith("'") else f"'{text}")


def test_faults_E16_raw_cells_are_verbatim() -> None:
    assert lines(document("a1", title="=1+1", tags=["-x"]), raw=True) == [HEADER, "a1,=1+1,,-x,,,,", ""]


def cells(*documents: Document, raw: bool = False) -> list[list[str]]:
    text = written(ARTICLES, list(documents), ExportFormat.CSV, raw=raw).decode()
    return list(csv.reader(io.StringIO(text, newline="")))


def test_what_plain_cells_cannot_say_is_quoted_also_in_a_raw_file() -> None:
    assert cells(document("a1", body="", tags=["a;b", ""]), document("a2", tags=[""]), raw=True) == [
        [*HEADER.split(","), "_quoted"],
        ["a1", "t", "'", '\'["a;b", ""]', "", "", "", "", "body,tags"],
        ["a2", "t", "", '\'[""]', "", "", "", "", "tags"],
    ]


def read_cells(tmp_path: Path, text: str) -> list[dict[str, object]]:
    path = tmp_path / "in.csv"
    path.write_text(text)
    return [row.problem or dict(row.values) for row in open_source(str(path)).rows()]


def test_an_apostrophe_is_taken_off_only_where_the_row_says_so(tmp_path: Path) -> None:
    assert read_cells(tmp_path, "id,title\na,'=1\n") == [{"id": "a", "title": "'=1"}]
    assert read_cells(tmp_path, "id,_quoted,title\na,title,'=1\nb,,'=1\nc,title,=1\nd,nothing,'=1\n") == [
        {"id": "a", "title": "=1"},
        {"id": "b", "title": "'=1"},
        {"id": "c", "title": "=1"},
        {"id": "d", "title": "'=1"},
    ]


def test_a_row_with_too_few_cells_is_still_refused(tmp_path: Path) -> None:
    assert read_cells(tmp_path, "id,title,_quoted\na,'=1\n") == ["expected 3 cells, found 2"]


def test_a_quoted_list_that_somebody_has_broken_is_left_to_the_schema(tmp_path: Path) -> None:
    assert read_cells(tmp_path, "id,tags,_quoted\na,'[oops,tags\n") == [{"id": "a", "tags": "[oops"}]


def test_rejected_rows_keep_their_quoted_cells(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("id,title,_quoted\na,'=1,title\n")
    source = open_source(str(path))
    (row,) = source.rows()
    with_reason = tmp_path / "rejects.csv"
    writer = open_rejects(with_reason, source, resume_at=None)
    writer.write(row, "why not")
    writer.close()
    assert with_reason.read_text() == "_reason,_line,id,title,_quoted\nwhy not,2,a,'=1,title\n"
    assert [dict(row.values) for row in open_source(str(with_reason)).rows()] == [{"id": "a", "title": "=1"}]


def test_json_lines_hold_every_field_in_its_type() -> None:
    seen = dt.datetime(2024, 1, 31, tzinfo=dt.UTC)
    text = written(ARTICLES, [document("ä", tags=["x"], rating=4.0, seen=seen, open=True)], ExportFormat.JSONL).decode()
    assert text == (
        '{"slug": "ä", "title": "t", "body": null, "tags": ["x"], "names": [], "rating": 4.0,'
        ' "seen": "2024-01-31T00:00:00Z", "open": true}\n'
    )


def test_faults_F15_a_frame_has_typed_columns() -> None:
    rows = [
        document("a", tags=["x"], rating=4.0, seen=dt.datetime(2024, 1, 31, tzinfo=dt.UTC), open=True),
        document("b"),
    ]
    schema = build_schema(
        [
            *ARTICLES.fields.values(),
            Field("count", FieldType.INT, required=False),
            Field("day", FieldType.DATE, required=False),
        ],
        text="{title}",
    )
    frame = to_typed_frame(columns_of(schema), rows_of(schema, rows))
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == {
        "id": "string",
        "title": "string",
        "body": "string",
        "tags": "object",
        "names": "object",
        "rating": "Float64",
        "seen": "datetime64[us, UTC]",
        "open": "boolean",
        "count": "Int64",
        "day": "object",
    }
    assert list(to_typed_frame(columns_of(schema), []).dtypes) == list(frame.dtypes)


@pytest.mark.parametrize(
    ("suffix", "format"),
    [(".csv", "csv"), (".CSV", "csv"), (".jsonl", "jsonl"), (".ndjson", "jsonl"), (".parquet", "parquet")],
)
def test_the_format_is_read_off_the_name(suffix: str, format: str) -> None:
    assert export_format(suffix) == format


def test_an_unknown_suffix_is_an_error() -> None:
    with pytest.raises(UsageError) as error:
        export_format(".cvs")
    assert str(error.value) == "'.cvs' at the end of a file's name is no format to export to"
    assert (
        error.value.hint == "did you mean '.csv'? valid: .csv, .jsonl, .ndjson, .parquet; or say --to csv|jsonl|parquet"
    )
