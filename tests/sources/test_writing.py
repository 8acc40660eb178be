"""Whatever a collection holds, what is written of it is read back as it was. Rows E16 and F15 of the fault matrix."""

from __future__ import annotations

import datetime as dt
import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kb.errors import DocumentError
from kb.ingest import FieldMapping
from kb.ingest.columns import resolve
from kb.schema import Field, FieldType, build_schema
from kb.sources import Column, ExportFormat, Reading, open_frame, open_source, to_typed_frame, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kb.schema import Document, Schema

CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
NASTY = st.sampled_from(
    [
        "",
        " ",
        "'",
        "''",
        "=1+1",
        "'=1+1",
        "''=1",
        "-5",
        "+5",
        "@A1",
        "\t=1",
        "\r=1",
        "\r",
        "\n",
        "\r\n",
        "\\",
        '"',
        '\\"',
    ]
    + ["a;b", "a,b", "a|b", " a", "a ", "None", "null", "NaN", "nan", "true", "[]", '["a"]', "'[]", "_quoted", "𝄞", "é"]
    + ["\ufeff", "\u2028", "\x85", "\x1c", "\u200b", "＝1", "0", "00123", "1e5", '{"_raw": "x"}', '_raw"', "#", "\x7f"]
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
    from kb.curate.export import columns_of as made

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


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("format", [ExportFormat.CSV, ExportFormat.JSONL])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(collection=collections())
def test_what_is_written_is_read_back_as_it_was(
    tmp_path: Path, format: ExportFormat, raw: bool, collection: tuple[Schema, list[Document]]
) -> None:
    schema, documents = collection
    path = tmp_path / f"out.{format}"
    path.write_bytes(written(schema, documents, format, raw=raw))
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
