"""What a row becomes under a mapping; what a mapping must not say."""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kb
from kb.catalog import Counts
from kb.config import field_from_declaration
from kb.errors import DocumentError, FilterError, SourceError, UsageError
from kb.ingest import CONTENT_KEY, FieldMapping, ImportRequest, UnknownColumns
from kb.ingest.resolving import resolve
from kb.schema import build_schema
from kb.sources import Row
from tests.conftest import FakeEncoder

if TYPE_CHECKING:
    from kb.schema import Schema

IGNORE = UnknownColumns.IGNORE


def schema_with(*, key: str = "id", **types: str) -> Schema:
    """A schema of a title and other fields."""
    declared = {"title": "str", **types}
    return build_schema([field_from_declaration(n, t, "") for n, t in declared.items()], key=key, text="{title}")


SCHEMA = schema_with(
    day="date?", at="datetime?", days="list[date]", tags="list[str]", n="int?", x="float?", note="str?", ok="bool?"
)


def made(row: dict[str, Any], *, schema: Schema = SCHEMA, textual: bool = True, **mapping: Any) -> dict[str, Any]:
    """The document of a row, without missing values; a textual source has a header."""
    header = list(row) if textual else None
    columns = resolve(schema, FieldMapping(**mapping), header, name="in.csv", textual=textual)
    found = columns.document(Row(1, 2, row, "")).model_dump()
    return {name: value for name, value in found.items() if value not in (None, [])}


def problems(row: dict[str, Any], **options: Any) -> tuple[str, ...]:
    with pytest.raises(DocumentError) as raised:
        made(row, **options)
    return raised.value.problems


def refused(header: list[str] | None = None, *, schema: Schema = SCHEMA, **mapping: Any) -> tuple[str, str]:
    with pytest.raises(UsageError) as raised:
        resolve(schema, FieldMapping(**mapping), header, name="in.csv", textual=True)
    return str(raised.value), raised.value.hint


# Columns.


def test_a_column_fills_what_it_is_mapped_to_and_nothing_else() -> None:
    row = {"id": "1", "Head": "H", "note": "N"}
    assert made(row, columns={"Head": "title"}) == {"id": "1", "title": "H", "note": "N"}
    assert made({"id": "1", "title": "T"}, columns={"title": ("title", "note")}) == {
        "id": "1",
        "title": "T",
        "note": "T",
    }
    assert made({"id": "1", "title": "T", "note": "N"}, columns={"note": "title"}, unknown_columns=IGNORE) == {
        "id": "1",
        "title": "N",
    }


def test_a_column_whose_field_is_filled_otherwise_is_unknown() -> None:
    with pytest.raises(SourceError) as raised:
        made({"id": "1", "Head": "H", "title": "T"}, columns={"Head": "title"})
    assert (str(raised.value), raised.value.hint) == (
        "in.csv has an unknown column: 'title'",
        "the mapping fills 'title' in another way; map it (--map 'title=field') or leave such columns out "
        "(--unknown-columns ignore); is the first line a header?",
    )
    assert problems({"id": "1", "Head": "H", "title": "T"}, columns={"Head": "title"}, textual=False) == (
        "title: is a column too, but the mapping fills it in another way",
    )


def test_two_columns_take_turns_in_filling_a_field() -> None:
    mapping = {"columns": {"de": "title", "en": "title"}}
    assert made({"id": "1", "de": "", "en": "E"}, **mapping)["title"] == "E"
    assert made({"id": "1", "de": "D", "en": ""}, **mapping)["title"] == "D"
    assert problems({"id": "1", "de": "D", "en": "E"}, **mapping) == ("title: filled by two columns, one of them 'en'",)


def test_a_file_of_kb_with_its_ids_under_id_fits_whatever_the_key_is_called() -> None:
    schema = schema_with(key="number")
    assert made({"id": "1", "title": "T"}, schema=schema)["id"] == "1"
    assert made({"number": "1", "title": "T"}, schema=schema)["id"] == "1"
    with pytest.raises(SourceError, match=r"unknown column: 'id'$"):
        made({"id": "1", "number": "2", "title": "T"}, schema=schema)


NESTED = {"id": 1, "author": {"name": "Ada", "year": 1815}, "list": ["a", {"b": "c"}], "z.y": "literal", "z": {"y": 1}}


def nested(path: str) -> object:
    return made(NESTED, textual=False, columns={path: "title"}, unknown_columns=IGNORE)["title"]


def test_a_path_leads_into_a_nested_record_and_a_literal_column_wins() -> None:
    assert [nested("author.name"), nested("list.0"), nested("list.1.b"), nested("z.y")] == ["Ada", "a", "c", "literal"]


@pytest.mark.parametrize("path", ["author.mail", "list.7", "nobody.name", "nobody.name.first"])
def test_a_path_to_nothing_is_a_missing_value(path: str) -> None:
    found = problems(NESTED, textual=False, columns={path: "title"}, unknown_columns=IGNORE)
    assert found == ("title: is missing",)


def test_a_path_through_a_value_without_parts_is_a_problem() -> None:
    row = {"id": "1", "author": "Ada"}
    assert problems(row, textual=False, columns={"author.name": "title"}) == (
        "title: 'Ada' holds no 'name' (the path author.name)",
    )
    row = {"id": "1", "author": ["Ada"]}
    assert problems(row, textual=False, columns={"author.name": "title"}) == (
        "title: ['Ada'] holds no 'name' (the path author.name)",
    )


def test_a_path_into_a_column_with_a_header(tmp_path: Path) -> None:
    row = {"id": "1", "author": {"name": "Ada"}}
    columns = resolve(
        SCHEMA, FieldMapping(columns={"author.name": "title"}), list(row), name="<data frame>", textual=False
    )
    assert columns.document(Row(1, 1, row, "")).title == "Ada"


# Constants, templates, lists, dates, keys, words for nothing.


@pytest.mark.parametrize("textual", [True, False])
def test_constants_are_spelled_as_in_a_csv_file(textual: bool) -> None:
    constants = {"n": "7", "day": "2024-01-31", "tags": '["a", "b"]', "ok": "yes", "title": "007"}
    assert made({"id": "1"}, textual=textual, constants=constants) == {
        "id": "1",
        "title": "007",
        "n": 7,
        "day": date(2024, 1, 31),
        "tags": ["a", "b"],
        "ok": True,
    }


@pytest.mark.parametrize("textual", [True, False])
def test_templates_are_made_of_columns_and_read_by_the_type_of_the_field(textual: bool) -> None:
    row = {"nr": "1", "first": " Ada", "last": "Lovelace ", "y": "1815", "m": "12", "d": "10"}
    templates = {"id": "p/{nr}", "title": "{last}, {first} {{sic}}", "day": "{y}-{m}-{d}", "n": "{y}"}
    assert made(row, textual=textual, templates=templates) == {
        "id": "p/1",
        "title": "Lovelace, Ada {sic}",
        "day": date(1815, 12, 10),
        "n": 1815,
    }


def test_a_template_reads_typed_values_and_paths() -> None:
    row = {"id": 1, "who": {"name": "Ada"}, "n": 3, "x": 1.5, "ok": True, "day": date(2024, 1, 31)}
    template = "{who.name} {n} {x} {ok} {day}"
    assert made(row, textual=False, templates={"title": template})["title"] == "Ada 3 1.5 true 2024-01-31"


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"first": "Ada", "last": ""}, "title: the column 'last' has no value"),
        ({"first": "Ada", "last": " "}, "title: the column 'last' has no value"),
        ({"first": "Ada", "last": "NULL"}, "title: the column 'last' has no value"),
        ({"first": "Ada"}, "title: the column 'last' has no value"),
        ({"first": "Ada", "last": None}, "title: the column 'last' has no value"),
        ({"first": "Ada", "last": ["x"]}, "title: the column 'last' holds ['x'], which is not one value"),
    ],
)
def test_a_template_names_the_column_without_a_value(row: dict[str, Any], problem: str) -> None:
    mapping = {"templates": {"title": "{first} {last}"}, "nulls": ("NULL",)}
    assert problems({"id": "1", **row}, textual=False, **mapping) == (problem,)


def test_the_text_of_a_template_that_does_not_fit_is_quoted() -> None:
    assert problems({"id": "1", "title": "T", "a": "x"}, templates={"n": "{a}1"}) == ("n: 'x1' is not a whole number",)


def test_lists_are_split_in_json_too() -> None:
    assert made({"id": "1", "title": "T", "tags": "a; b;"}, textual=False, split={"tags": ";"})["tags"] == ["a", "b"]
    assert made({"id": "1", "title": "T", "tags": ["a;b"]}, textual=False, split={"tags": ";"})["tags"] == ["a;b"]
    assert problems({"id": "1", "title": "T", "tags": "a;b"}, textual=False) == (
        "tags: input should be a valid list, got 'a;b'",
    )


def test_keys_of_several_columns_are_joined() -> None:
    assert made({"a": " x ", "b": "7", "title": "T"}, key=("a", "b"))["id"] == "x-7"
    assert made({"a": {"b": 1}, "c": 2, "title": "T"}, textual=False, key=("a.b", "c"))["id"] == "1-2"
    assert problems({"a": "x", "b": "", "title": "T"}, key=("a", "b")) == ("id: the column 'b' has no value",)
    assert made({"title": "T"}, key=("title",)) == {"id": "T", "title": "T"}


def test_the_id_may_be_a_hash_of_what_the_input_fills() -> None:
    first = made({"title": "T", "n": "3", "tags": ""}, key=(CONTENT_KEY,))
    assert (len(first["id"]), first["title"]) == (32, "T")
    assert made({"n": "3.0", "title": "T"}, key=(CONTENT_KEY,))["id"] == first["id"]
    assert made({"n": 3, "title": "T", "tags": []}, textual=False, key=(CONTENT_KEY,))["id"] == first["id"]
    assert made({"n": "4", "title": "T"}, key=(CONTENT_KEY,))["id"] != first["id"]
    # A field that is declared later does not change it.
    assert made({"title": "T", "n": "3"}, schema=schema_with(n="int"), key=(CONTENT_KEY,))["id"] == first["id"]
    assert first["id"] == "b831314920b52880e9166e98b33f3b7c"


def test_importing_by_content_twice_changes_nothing(tmp_path: Path, articles: kb.Collection) -> None:
    path = tmp_path / "in.csv"
    path.write_text("title,body,category,published\nA,B,ml,2024-01-31\nC,D,nlp,2024-01-31\n")
    request = ImportRequest((str(path),), mapping=FieldMapping(key=(CONTENT_KEY,)))
    assert articles.run_import(request).counts == Counts(read=2, new=2, embedded=2)
    assert articles.run_import(request).counts == Counts(read=2, unchanged=2)


# What a mapping must not say.

HEADER = ["id", "title", "first"]


@pytest.mark.parametrize(
    ("mapping", "what", "hint"),
    [
        ({"columns": {"first": "titel"}}, "--map first=titel: 'titel' is not a field", "did you mean 'title'?"),
        (
            {"columns": {"first": ("note", "titel")}},
            "--map first=titel: 'titel' is not a field",
            "did you mean 'title'?",
        ),
        ({"columns": {"frist": "note"}}, "--map frist=note: in.csv has no column 'frist'", "did you mean 'first'?"),
        ({"columns": {"a.b": "note"}}, "--map a.b=note: in.csv has no column 'a.b'", "valid: id, title, first"),
        ({"constants": {"nore": "x"}}, "--set nore=x: 'nore' is not a field", "did you mean 'note'?"),
        ({"constants": {"n": "x"}}, "--set n=x: 'x' is not a whole number", ""),
        ({"templates": {"nore": "x"}}, "--template nore=x: 'nore' is not a field", "did you mean 'note'?"),
        (
            {"templates": {"note": "{frist}"}},
            "--template note={frist}: in.csv has no column 'frist'",
            "did you mean 'first'?",
        ),
        (
            {"templates": {"note": "{first"}},
            "the template '{first' is malformed: expected '}' before end of string",
            "write a literal brace as {{ or }}",
        ),
        ({"templates": {"note": "{first:>9}"}}, "the template '{first:>9}' formats 'first'", "write only the name"),
        ({"split": {"note": ";"}}, "--split note: 'note' is not a list field", "valid: days, tags"),
        (
            {"dates": {"note": "%Y"}},
            "--date-format note: 'note' is not a date or datetime field",
            "valid: day, at, days",
        ),
        ({"dates": {"day": "%Q"}}, "'%Q' is no date format: 'Q' is a bad directive in format '%Q'", "e.g. %d/%m/%Y"),
        ({"dates": {"day": "%d/%m"}}, "the date format '%d/%m' does not say year, month and day", "e.g. %d/%m/%Y"),
        ({"dates": {"day": "%d/%M/%Y"}}, "the date format '%d/%M/%Y' does not say year, month and day", "e.g."),
        (
            {"dates": {"at": "%Y-%m-%d %I:%M"}},
            "the date format '%Y-%m-%d %I:%M' has %I without %p",
            "use %H, or add %p",
        ),
        ({"dates": {"at": "%Y-%m-%d %H %Z"}}, "the date format '%Y-%m-%d %H %Z' has %Z, which is", "use %z"),
        ({"key": ("first", "secnd")}, "--key first,secnd: in.csv has no column 'secnd'", "valid: id, title, first"),
        ({"key": ("first", CONTENT_KEY)}, "--key first,@content: @content stands alone", "write --key @content"),
        (
            {"key": ("first",), "columns": {"title": "id"}},
            "the id is made twice: --key first and --map title=id",
            "leave one of them out",
        ),
        (
            {"constants": {"note": "x"}, "columns": {"first": "note"}},
            "'note' is filled twice: --map first=note and --set note=x",
            "leave one of them out",
        ),
        (
            {"constants": {"note": "x"}, "templates": {"note": "{first}"}},
            "'note' is filled twice: --set note=x and --template note={first}",
            "leave one of them out",
        ),
    ],
)
def test_faults_E9_a_mapping_names_only_what_is_there(mapping: dict[str, Any], what: str, hint: str) -> None:
    found, its_hint = refused(HEADER, **mapping)
    assert found.startswith(what)
    assert its_hint.startswith(hint)


def test_faults_E9_a_missing_column_may_be_filled_by_the_mapping() -> None:
    with pytest.raises(SourceError, match=r"^in\.csv has no column for 'id', 'title'$"):
        made({"note": "x"})
    assert made({"note": "x"}, constants={"title": "T"}, key=("note",)) == {"id": "x", "title": "T", "note": "x"}


def test_a_column_that_something_reads_is_not_unknown() -> None:
    row = {"id": "1", "title": "T", "a": "x", "b": "y", "c": "z"}
    found = made(row, templates={"note": "{a}"}, where='b = "y" and c is not null')
    assert found == {"id": "1", "title": "T", "note": "x"}
    with pytest.raises(SourceError, match=r"unknown column: 'c'$"):
        made(row, templates={"note": "{a}"}, where='b = "y"')


# Which rows are read.


def kept(rows: list[dict[str, Any]], where: str, *, textual: bool = True, **mapping: Any) -> list[object]:
    """The ids of the rows that are read; for one with a problem, the problem."""
    header = list(rows[0]) if textual else None
    fields = FieldMapping(where=where, unknown_columns=IGNORE, **mapping)
    columns = resolve(SCHEMA, fields, header, name="in.csv", textual=textual)
    found = [columns.select(Row(n, n, row, "")) for n, row in enumerate(rows)]
    return [row.problem or row.values["id"] for row in found if row is not None]


ROWS = [
    {"id": "a", "title": "T", "x": "2", "stars": "10", "born": "31.01.2024", "seen": "2024-01-31", "tags": "p|q"},
    {"id": "b", "title": "", "x": "", "stars": "9.5", "born": "", "seen": "", "tags": ""},
    {"id": "c", "title": "U", "x": "10", "stars": "", "born": "01.02.2024", "seen": "2024-01-31T12:00Z", "tags": "q"},
]


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("x > 3", ["c"]),
        ("x != 2", ["b", "c"]),
        ("x is null", ["b"]),
        ("stars > 9", ["a", "b"]),
        ("stars between 9.5 and 9.9", ["b"]),
        ('stars = "10"', ["a"]),
        ('stars starts with "9"', ["b"]),
        ("stars is not null", ["a", "b"]),
        ("born > 2024-01-31", ["c"]),
        ("day > 2024-01-31", ["c"]),
        ("seen = 2024-01-31", ["a"]),
        ("seen >= 2024-01-31T12:00:00", ["c"]),
        ('tags has "q"', ["a", "c"]),
        ('id in ("a", "b") and not title is null', ["a"]),
        ('note = "T!"', ["a"]),
    ],
)
def test_where_compares_by_the_type_of_the_field_or_of_the_literal(where: str, ids: list[str]) -> None:
    mapping = {"columns": {"born": "day"}, "dates": {"day": "%d.%m.%Y"}, "split": {"tags": "|"}}
    rows = [row | {"title": row["title"] or "-"} for row in ROWS]
    if "note" in where:
        mapping["templates"] = {"note": "{title}!"}
    if "title is null" in where:
        mapping["nulls"] = ("-",)
    assert kept(rows, where, **mapping) == ids


def test_where_reads_typed_values_by_their_type() -> None:
    rows = [
        {"id": "a", "x": 2, "in": {"n": 1}, "list": ["p"], "ok": True},
        {"id": "b", "x": None, "in": {"n": 2}, "list": [], "ok": False},
        {"id": "c", "x": 2.5, "list": ["p", "q"]},
    ]
    assert kept(rows, "x >= 2", textual=False) == ["a", "c"]
    assert kept(rows, 'list has "q"', textual=False) == ["c"]
    assert kept(rows, "ok = true", textual=False) == ["a"]
    assert kept(rows, "n = 2", textual=False, columns={"in.n": "n"}) == ["b"]


def test_a_row_that_cannot_be_compared_is_read_and_rejected() -> None:
    rows = [{"id": "a", "title": "T", "x": "many", "kind": "p"}, {"id": "b", "title": "T", "x": "5", "kind": "p"}]
    problem = "x: 'many' is not a number (write 1234.5) (asked by --where)"
    assert kept(rows, "x > 3") == [problem, "b"]
    assert kept(rows, 'kind = "q" and x > 3') == []
    assert kept([{"id": 1, "s": 5}, {"id": 2, "s": "5"}], 's = "5"', textual=False) == [
        "s: 5 is not a value of the type str (asked by --where)",
        2,
    ]


@pytest.mark.parametrize(
    ("where", "message", "hint"),
    [
        ("titel is null", "filter, position 0: there is no column 'titel'", "did you mean 'title'?"),
        ('x = "2"', "filter, position 0: \"2\" is not a value of 'x', which is float", "numbers are written without"),
        ('first = "2" or first > 3', "filter, position 0: 'first' is compared as float and str; it has one type", ""),
        ("x =", "filter, position 3: the text ends where a value is expected", ""),
    ],
)
def test_where_is_checked_before_the_first_row(where: str, message: str, hint: str) -> None:
    with pytest.raises(FilterError) as raised:
        resolve(SCHEMA, FieldMapping(where=where), [*HEADER, "x"], name="in.csv", textual=True)
    assert str(raised.value).startswith(message)
    assert raised.value.hint.startswith(hint)


def test_an_id_of_the_content_cannot_be_asked_for() -> None:
    message, _ = refused(["title"], key=(CONTENT_KEY,), where='id = "x"')
    assert message == "filter, position 0: the id is made of the content, and cannot be asked for before"


def test_rows_that_where_leaves_out_are_not_read(tmp_path: Path, articles: kb.Collection) -> None:
    path = tmp_path / "in.csv"
    path.write_text("id,title,body,category,published,kind\n1,A,B,ml,2024-01-31,x\n2,C,D,ml,2024-01-31,y\n3,,,,,y\n")
    request = ImportRequest((str(path),), mapping=FieldMapping(where='kind = "x"'))
    notes = [step.notes for step in articles.import_steps(request)]
    job = articles._base.jobs()[0]
    assert job.counts == Counts(read=1, new=1, embedded=1)
    assert notes[-1] == ("--where left out 2 of 3 rows",)


def test_what_where_leaves_out_of_several_files_is_one_total(tmp_path: Path, articles: kb.Collection) -> None:
    for name in "ab":
        rows = f"{name}1,A,B,ml,2024-01-31,x\n{name}2,C,D,ml,2024-01-31,y\n"
        (tmp_path / f"{name}.csv").write_text(f"id,title,body,category,published,kind\n{rows}")
    request = ImportRequest((f"{tmp_path}/*.csv",), mapping=FieldMapping(where='kind = "x"'))
    notes = [step.notes for step in articles.import_steps(request)]
    assert notes[-1] == ("--where left out 2 of 4 rows",)


def test_resuming_counts_only_the_rows_that_where_keeps(tmp_path: Path, articles: kb.Collection, encoder: Any) -> None:
    path = tmp_path / "in.jsonl"
    rows = [
        {"id": f"a{n}", "title": f"T{n}", "body": "fail" if n == 150 else "b", "category": "ml", "published": "2024-01-31", "n": n}
        for n in range(300)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    request = ImportRequest((str(path),), mapping=FieldMapping(where="n between 20 and 249", unknown_columns=IGNORE))
    encoder.dies_on = "fail"
    with pytest.raises(kb.KBError):
        articles.run_import(request)
    encoder.dies_on = None
    before = articles._base.jobs()[0]
    assert 0 < before.counts.read < 230
    job = articles._base.resume(before.id)
    assert (job.counts.read, job.counts.new, articles.count()) == (230, 230, 230)


def test_columns_that_no_record_has_are_noted(tmp_path: Path, articles: kb.Collection) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"id": "1", "title": "A", "body": "B", "category": "ml", "published": "2024-01-31", "a": {}}\n')
    request = ImportRequest((str(path),), mapping=FieldMapping(columns={"autor": "author", "a.b": "rating"}))
    notes = [step.notes for step in articles.import_steps(request)]
    assert notes[-1] == (f"{path}: no row has a column 'autor', which the mapping names",)


def test_a_request_survives_json_and_an_older_one_is_read() -> None:
    mapping = FieldMapping(
        {"a": "title", "b": ("note", "n")}, {"x": "1"}, {"note": "{a}"}, {"tags": ";"}, {"day": "%Y"}, ("a", "b"),
        'a = "b"', ("NULL",), IGNORE,
    )  # fmt: skip
    request = ImportRequest(("in.csv",), mapping=mapping)
    assert ImportRequest.from_json(request.to_json()) == request
    old = json.loads(request.to_json())
    old["mapping"] = {"columns": {"a": "title"}, "split": {}, "unknown_columns": "error"}
    assert ImportRequest.from_json(json.dumps(old)).mapping == FieldMapping({"a": "title"})


# Rows of the fault matrix.


def test_faults_E7_short_and_long_rows_are_rejected_whole(tmp_path: Path, articles: kb.Collection) -> None:
    path = tmp_path / "in.csv"
    path.write_text("id,title,body,category,published\n1,A\n2,A,B,ml,2024-01-31,more\n3,A,B,ml,2024-01-31\n")
    job = articles.import_file(path)
    assert job.counts == Counts(read=3, new=1, rejected=2, embedded=1)
    assert [reject.reason for reject in articles._base.rejects(job.id)] == [
        "expected 5 cells, found 2",
        "expected 5 cells, found 6",
    ]


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
LOOKS_LIKE = st.sampled_from(
    ["00123", "1e5", "TRUE", "1,234.50", "1.234,50", "￥5", " 7 ", "0x10", "1_000", "٣", "+5", "-0"]
)


@given(LOOKS_LIKE | TEXT)
def test_faults_E12_a_cell_of_a_string_field_stays_as_it_is(text: str) -> None:
    found = made({"id": "1", "title": "T", "note": text})
    assert found.get("note", "") == text


@given(LOOKS_LIKE | TEXT | st.integers().map(str) | st.floats().map(str))
def test_faults_E12_numbers_are_read_by_the_type_of_the_field_alone(text: str) -> None:
    for name, value in (("n", int), ("x", float)):
        try:
            found = made({"id": "1", "title": "T", name: text}).get(name)
        except DocumentError as error:
            assert error.problems[0].startswith(f"{name}: ")
        else:
            assert found is None if text == "" else found == value(float(text)) or found == value(text)


@pytest.mark.parametrize(
    ("text", "n", "x"),
    [
        ("00123", 123, 123.0), ("1e5", None, 100_000.0), ("TRUE", None, None), ("1,234.50", None, None),
        ("1.234,50", None, None), ("￥5", None, None), (" 7 ", 7, 7.0), ("3.0", 3, 3.0),
    ],
)  # fmt: skip
def test_faults_E12_the_examples(text: str, n: int | None, x: float | None) -> None:
    for name, value in (("n", n), ("x", x)):
        row = {"id": "00123", "title": "T", name: text}
        if value is None:
            assert problems(row)[0].startswith(f"{name}: {text!r} is not a ")
        else:
            assert made(row) == {"id": "00123", "title": "T", name: value}


def test_faults_E13_whole_numbers_with_gaps_stay_whole_when_mapped() -> None:
    row = {"id": "1", "title": "T", "pages": "", "size": "3.0"}
    assert made(row, columns={"pages": "n", "size": "x"}) == {"id": "1", "title": "T", "x": 3.0}
    frame = pd.DataFrame({"id": ["a", "b"], "title": ["A", "B"], "pages": [3, None]})
    rows = list(kb.sources.open_frame(frame).rows())
    found = [made(dict(row.values), textual=False, columns={"pages": "n"}) for row in rows]
    assert found == [{"id": "a", "title": "A", "n": 3}, {"id": "b", "title": "B"}]
    assert type(found[0]["n"]) is int


WORDS = ["NaN", "nan", "NULL", "None", "N/A", "-"]


@pytest.mark.parametrize("word", WORDS)
def test_faults_E14_words_for_nothing_are_words_until_somebody_says_so(word: str) -> None:
    row = {"id": "1", "title": word, "note": word, "n": ""}
    assert made(row) == {"id": "1", "title": word, "note": word}
    assert problems(row | {"n": word}) == (f"n: {word!r} is not a whole number",)
    row = {"id": "1", "title": "T", "note": f" {word} ", "n": word}
    assert made(row, nulls=tuple(WORDS)) == {"id": "1", "title": "T"}
    assert made(row, nulls=tuple(WORDS), textual=False) == {"id": "1", "title": "T"}
    assert problems(row | {"title": word}, nulls=(word,)) == ("title: is missing",)
    assert (
        made({"id": "1", "title": "T", "note": word.swapcase() + "."}, nulls=(word,))["note"] == word.swapcase() + "."
    )


@pytest.mark.parametrize(
    ("text", "format", "day"),
    [
        ("01/02/2024", "%d/%m/%Y", date(2024, 2, 1)),
        ("01/02/2024", "%m/%d/%Y", date(2024, 1, 2)),
        (" 1.2.24 ", "%d.%m.%y", date(2024, 2, 1)),
        ("31 Jan 2024", "%d %b %Y", date(2024, 1, 31)),
        ("0001-01-01", "%Y-%m-%d", date(1, 1, 1)),
        ("9999-12-31", "%Y-%m-%d", date(9999, 12, 31)),
        ("20240131", "%Y%m%d", date(2024, 1, 31)),
    ],
)
def test_faults_E15_dates_have_the_format_that_is_said(text: str, format: str, day: date) -> None:
    for textual in (True, False):
        assert made({"id": "1", "title": "T", "day": text}, dates={"day": format}, textual=textual)["day"] == day


def test_faults_E15_an_ambiguous_date_without_a_format_is_rejected() -> None:
    row = {"id": "1", "title": "T", "day": "01/02/2024"}
    assert problems(row) == ("day: '01/02/2024' is not an ISO date (write 2024-01-31)",)
    assert problems(row, dates={"day": "%Y-%m-%d"}) == ("day: '01/02/2024' is not a date of the format %Y-%m-%d",)
    assert problems(row | {"day": "31/02/2024"}, dates={"day": "%d/%m/%Y"}) == (
        "day: '31/02/2024' is not a date of the format %d/%m/%Y",
    )


@pytest.mark.parametrize("textual", [True, False])
def test_faults_E15_the_number_of_a_spreadsheet_is_rejected(textual: bool) -> None:
    hint = "; if it is a spreadsheet's number for 2023-03-15, format the column as a date there"
    what = "'45000' is not an ISO date (write 2024-01-31)" if textual else "45000 is a number"
    row = {"id": "1", "title": "T", "day": "45000" if textual else 45000}
    assert problems(row, textual=textual) == (f"day: {what}{hint}",)


@pytest.mark.parametrize(
    ("text", "format", "instant"),
    [
        ("31.01.2024 10:00", "%d.%m.%Y %H:%M", datetime(2024, 1, 31, 10, tzinfo=UTC)),
        ("31.01.2024 10:00 +0200", "%d.%m.%Y %H:%M %z", datetime(2024, 1, 31, 8, tzinfo=UTC)),
        ("01/31/2024 01:30 PM", "%m/%d/%Y %I:%M %p", datetime(2024, 1, 31, 13, 30, tzinfo=UTC)),
        ("31.01.2024", "%d.%m.%Y", datetime(2024, 1, 31, tzinfo=UTC)),
        # The hour that summer time leaves out: without a zone it is UTC, where it exists.
        ("31.03.2024 02:30", "%d.%m.%Y %H:%M", datetime(2024, 3, 31, 2, 30, tzinfo=UTC)),
    ],
)
def test_faults_E15_instants_have_the_format_that_is_said_and_are_utc(
    text: str, format: str, instant: datetime
) -> None:
    assert made({"id": "1", "title": "T", "at": text}, dates={"at": format})["at"] == instant


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ("2016-12-31 23:59:60", "%Y-%m-%d %H:%M:%S"),
        ("0001-01-01 00:00 +0100", "%Y-%m-%d %H:%M %z"),
        ("9999-12-31 23:59 -0100", "%Y-%m-%d %H:%M %z"),
    ],
)
def test_faults_E15_instants_that_there_are_not_are_rejected(text: str, format: str) -> None:
    (problem,) = problems({"id": "1", "title": "T", "at": text}, dates={"at": format})
    assert problem.startswith(f"at: {text!r} is ")


def test_faults_E15_lists_of_dates_have_a_format_too() -> None:
    row = {"id": "1", "title": "T", "days": "1.2.2024;3.2.2024"}
    mapping = {"dates": {"days": "%d.%m.%Y"}, "split": {"days": ";"}}
    days = [date(2024, 2, 1), date(2024, 2, 3)]
    assert made(row, **mapping)["days"] == days
    assert made(row | {"days": ["1.2.2024", "3.2.2024"]}, textual=False, **mapping)["days"] == days
    assert problems(row | {"days": ["1.2.2024", "x"]}, textual=False, **mapping) == (
        "days: 'x' is not a date of the format %d.%m.%Y",
    )


FORMATS = st.sampled_from(["%d/%m/%Y", "%m/%d/%Y", "%Y%m%d", "%d.%m.%Y %H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"])


@given(FORMATS, st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC)))
def test_faults_E15_every_day_survives_every_format(format: str, instant: datetime) -> None:
    found = made({"id": "1", "title": "T", "day": instant.strftime(format)}, dates={"day": format})
    assert found["day"] == instant.date()


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)), st.timedeltas(timedelta(hours=-12), timedelta(hours=12)))
def test_faults_E15_iso_instants_are_stored_in_utc(naive: datetime, offset: timedelta) -> None:
    from datetime import timezone

    zone = timezone(timedelta(minutes=offset // timedelta(minutes=1)))
    aware = naive.replace(tzinfo=zone)
    assert made({"id": "1", "title": "T", "at": aware.isoformat()})["at"] == aware.astimezone(UTC)
    assert made({"id": "1", "title": "T", "at": naive.isoformat()})["at"] == naive.replace(tzinfo=UTC)


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "＝1+1"])
def test_faults_E16_formulas_are_stored_as_they_are(text: str, tmp_path: Path, articles: kb.Collection) -> None:
    path = tmp_path / "in.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [["id", "title", "body", "category", "published"], ["1", text, text, "ml", "2024-01-31"]]
        )
    articles.import_file(path)
    found = articles.get("1")
    assert (found.title, found.body) == (text, text)


def test_faults_F8_all_problems_of_a_row_are_reported_together() -> None:
    row = {"id": "", "first": "", "n": "x", "day": "y", "tags": "no list"}
    mapping = {"templates": {"title": "{first}"}, "dates": {"day": "%Y%m%d"}}
    assert problems(row, **mapping) == (
        "id: the id is empty",
        "day: 'y' is not a date of the format %Y%m%d",
        "title: the column 'first' has no value",
        "n: 'x' is not a whole number",
        """tags: 'no list' is not a list (write ["a", "b"], or give the field a separator)""",
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["title", "n", "x", "ok", "day", "at", "tags", "a", "b"]), JSON))
def test_faults_F8_any_json_row_is_a_document_of_its_types_or_a_list_of_problems(row: dict[str, Any]) -> None:
    mapping = FieldMapping(
        columns={"a": "note", "b.c": "days"},
        templates={"id": "{title}"},
        split={"tags": ";"},
        dates={"day": "%d/%m/%Y", "days": "%Y%m%d"},
        where="n is null or n < 5 or not x = 1",
        unknown_columns=IGNORE,
    )
    columns = resolve(SCHEMA, mapping, None, name="in.jsonl", textual=False)
    selected = columns.select(Row(1, 1, row, ""))
    if selected is None or selected.problem:
        return
    try:
        document = columns.document(selected)
    except DocumentError as error:
        assert error.problems
        return
    assert SCHEMA.check(document) == document


def test_faults_F9_nested_values_fit_lists_and_paths_only() -> None:
    def found(**row: Any) -> dict[str, Any]:
        return made({"id": "1", "title": "T", **row}, textual=False, columns={"who.name": "note"})

    assert found(who={"name": "Ada"}) == {"id": "1", "title": "T", "note": "Ada"}
    assert found(tags=["a"]) == {"id": "1", "title": "T", "tags": ["a"]}
    assert found(tags=[]) == {"id": "1", "title": "T"}
    row = {"id": "1", "title": {"de": "T"}, "tags": ["a", 5]}
    assert problems(row, textual=False) == (
        "title: input should be a valid string, got {'de': 'T'}",
        "tags[1]: input should be a valid string, got 5",
    )
    assert problems({"id": "1", "title": "T", "who": {"name": {}}}, textual=False, columns={"who.name": "note"}) == (
        "note: input should be a valid string, got {}",
    )


@given(st.text(max_size=8) | st.sampled_from(["chroma:document", "$and", "#document", "ID", "Document", "Score", "OR"]))
def test_faults_F10_a_field_has_a_name_that_everything_can_use(name: str) -> None:
    try:
        schema = schema_with(**{name: "str?"})
    except kb.errors.SchemaError as error:
        assert error.hint
        return
    assert made({"id": "1", "title": "T", "Column!": "v"}, schema=schema, columns={"Column!": name})[name] == "v"


def test_a_query_fills_booleans_with_the_numbers_that_sqlite_has_for_them(tmp_path):
    (tmp_path / "config.toml").write_text(
        '[collections.notes]\nmodel = "fake"\n[collections.notes.fields]\nbody = "text"\ndone = "bool"\n'
    )
    with closing(sqlite3.connect(tmp_path / "notes.db")) as made, made:
        made.execute("CREATE TABLE notes (id TEXT, body TEXT, done BOOLEAN)")
        rows = [("a", "first of all notes", 1), ("b", "second of all notes", 0), ("c", "third of all notes", 2)]
        made.executemany("INSERT INTO notes VALUES (?, ?, ?)", rows)
    request = kb.ImportRequest((str(tmp_path / "notes.db"),), kb.Reading(sql="SELECT id, body, done FROM notes"))
    with kb.open(tmp_path, encoders={"fake": FakeEncoder()}) as base:
        notes = base.collection()
        job = notes.run_import(request)
        assert (job.counts.new, job.counts.rejected) == (2, 1)
        assert {note.id: note.done for note in notes.list()} == {"a": True, "b": False}
        rejects = Path(job.rejects)
        rejects.write_text(rejects.read_text().replace('"done": 2', '"done": 1'))
        assert notes.run_import(replace(request, files=(str(rejects),))).counts.new == 1
        assert notes.get("c").done is True
