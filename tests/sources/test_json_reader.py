"""JSON Lines and JSON lists: rows F1 to F8 of the fault matrix, as far as reading is concerned."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from kb.errors import DocumentError, SourceError
from kb.schema import Field, FieldType, build_schema
from kb.sources import Limits, Row, open_source

if TYPE_CHECKING:
    from pathlib import Path

    from kb.sources import Source

KINDS = ("data.jsonl", "data.json")
EXAMPLE = 'write a list of objects: [{"id": "a1", "title": "…"}, …]'


def opened(tmp_path: Path, data: bytes | str, name: str, limits: Limits = Limits()) -> Source:  # noqa: B008
    path = tmp_path / name
    path.write_bytes(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)
    return open_source(str(path), limits=limits)


def one(tmp_path: Path, text: str, name: str, limits: Limits = Limits()) -> Row:  # noqa: B008
    """Read one row that stands between two good ones."""
    parts = ['{"id": "é, before"}', text, '{"id": "é, after"}']
    data = "\n".join(parts) + "\n" if name == "data.jsonl" else "[" + ",\n".join(parts) + "]"
    rows = list(opened(tmp_path, data, name, limits).rows())
    assert [rows[0].values, rows[-1].values] == [{"id": "é, before"}, {"id": "é, after"}]
    assert [(row.number, row.line) for row in rows] == [(1, 1), (2, 2), (3, 3)]
    return rows[1]


def refused(tmp_path: Path, data: bytes | str, name: str) -> tuple[str, str]:
    rows: list[Row] = []
    with pytest.raises(SourceError) as caught:
        rows.extend(opened(tmp_path, data, name).rows())
    assert rows == [], "nothing is applied"
    assert caught.value.unchanged == "nothing was imported"
    return caught.value.what.replace(f"{tmp_path}/", ""), caught.value.hint


@pytest.mark.parametrize("name", KINDS)
def test_values_keep_their_types_and_order(tmp_path: Path, name: str) -> None:
    text = '{"z": 1, "a": 1.0, "b": true, "c": null, "d": [1, "x"], "e": {"f": 1e2}, "ä": "\\u00e4\\ud83d\\ude00"}'
    row = one(tmp_path, text, name)
    assert row == Row(2, 2, json.loads(text), text)
    assert [type(v) for v in row.values.values()] == [int, float, bool, type(None), list, dict, str]
    assert list(row.values) == ["z", "a", "b", "c", "d", "e", "ä"]
    source = opened(tmp_path, "[{}]" if name == "data.json" else "{}\n", name)
    assert (source.textual, source.columns, source.format) == (False, None, name.partition(".")[2])


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"id": 1, "p": NaN}', "p: NaN is not a number that can be stored"),
        ('{"id": 1, "p": [0, {"q": -Infinity}]}', "p[1].q: -Infinity is not a number that can be stored"),
        ('{"id": 1, "p": {"q": 1e999}}', "p.q: 1e999 is too large for a number"),
        ('{"id": 1, "p": 1, "id": 1}', "id: the key appears twice"),
        ('{"id": 1, "p": {"a": 1, "a": 2}}', "p.a: the key appears twice"),
        ('{"id": 1, "p": [' + "1" * 5000 + "]}", "p[0]: a number of 5,000 digits is too long"),
        ("[1, 2]", "the row is a list, not an object"),
        ('"x"', "the row is a string, not an object"),
        ("null", "the row is null, not an object"),
        ("true", "the row is a boolean, not an object"),
        ("12.5", "the row is a number, not an object"),
        ('{"p": "caf\udce9"}', "line 2: byte 11 (0xE9) is not valid UTF-8"),
        ("{" + ",".join(f'"k{n}":1' for n in range(1001)) + "}", "the row has 1,001 keys; the limit is 1,000"),
    ],
)
def test_faults_F1_F2_F3_what_no_document_can_hold_costs_its_row(
    tmp_path: Path, name: str, text: str, problem: str
) -> None:
    assert one(tmp_path, text, name) == Row(2, 2, {}, text, problem)


@pytest.mark.parametrize("name", KINDS)
def test_faults_F9_nested_values_stay_nested(tmp_path: Path, name: str) -> None:
    text = '{"id": 1, "author": {"name": "n", "more": {}}, "tags": ["x", 1, null, []], "none": []}'
    assert one(tmp_path, text, name).values == {
        "id": 1, "author": {"name": "n", "more": {}}, "tags": ["x", 1, None, []], "none": []
    }  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_faults_F3_large_ints_are_left_to_the_schema(tmp_path: Path, name: str) -> None:
    assert one(tmp_path, '{"n": 9223372036854775808, "m": -1e308}', name).values == {"n": 2**63, "m": -1e308}


@pytest.mark.parametrize("name", KINDS)
def test_faults_F4_depth_is_capped(tmp_path: Path, name: str) -> None:
    def nested(depth: int) -> str:
        return '{"a":' * (depth - 1) + '{"s": "[[[["}' + "}" * (depth - 1)

    assert one(tmp_path, nested(32), name).problem is None
    for depth in (33, 900, 5_000, 100_000):
        assert one(tmp_path, nested(depth), name).problem == "the row is nested more than 32 levels deep"
    brackets = json.dumps({"s": "[{" * 100_000 + '"\\' * 100})
    assert one(tmp_path, brackets, name).problem is None


@pytest.mark.parametrize("name", KINDS)
def test_faults_F5_lone_surrogates_reach_the_schema_and_are_refused_there(tmp_path: Path, name: str) -> None:
    row = one(tmp_path, '{"id": "a", "body": "x\\ud800"}', name)
    assert row.values == {"id": "a", "body": "x\ud800"}
    with pytest.raises(DocumentError, match="body: .* is not valid Unicode at character 1"):
        SCHEMA.document(row.values, textual=False, separators={})


def test_faults_F6_lines_are_independent(tmp_path: Path) -> None:
    data = b'\xef\xbb\xbf{"id": 1}\r\n\r\n  \n{"id": 2\n{"id": 3},\n{"id": 4} {"id": 5}\nid 6\n {"id": 7}'
    source = opened(tmp_path, data, "data.jsonl")
    assert [(r.number, r.line, r.problem or r.values) for r in source.rows()] == [
        (1, 1, {"id": 1}),
        (2, 4, "not JSON at column 9: Expecting ',' delimiter"),
        (3, 5, "not JSON at column 10: Extra data"),
        (4, 6, "not JSON at column 11: Extra data"),
        (5, 7, "not JSON at column 1: Expecting value"),
        (6, 8, {"id": 7}),
    ]
    assert source.encoding == "utf-8-sig"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ('[{"id": 1},\n{"id": 2, "t\n', "line 2, byte 13: the list breaks off within the row that starts in line 2"),
        ('[{"id": 1},\n{"id": 2', "line 2, byte 13: the list breaks off within the row that starts in line 2"),
        ('[{"id": 1},\n{"id": 2}\n', "line 3, byte 23: the list breaks off: its ']' is missing"),
        ('[{"id": 1},\n{"id": }, {"id": 3}]', "line 2, byte 20: Expecting value"),
        ('[{"id": 1},\n{"é": 2},\n]', "line 2, byte 22: the ',' before ']' has nothing after it"),
        ('[{"id": 1}\n{"id": 2}]', "line 2, byte 12: expected ',' or ']'"),
        ('[{"id": 1}]\n[{"id": 2}]', "line 2, byte 13: something follows after the end of the list"),
        ('[{"id": 1}] x', "line 1, byte 13: something follows after the end of the list"),
        ('[{"id": 1},,{"id": 2}]', "line 1, byte 12: Expecting value"),
        ('[{"id": 1}, nul]', "line 1, byte 13: Expecting value"),
        ("[{'id': 1}]", "line 1, byte 3: Expecting property name enclosed in double quotes"),
        ('[{"id": 1}, 1 2]', "line 1, byte 14: expected ',' or ']'"),
        ("[", "line 1, byte 2: the list breaks off: its ']' is missing"),
        ('\ufeff[{"id": 1}', "line 1, byte 14: the list breaks off: its ']' is missing"),
        ("id,title\n", "line 1, byte 1: this is not JSON"),
    ],
)
def test_faults_F6_a_broken_list_is_refused_as_a_whole(tmp_path: Path, data: str, what: str) -> None:
    assert refused(tmp_path, data, "data.json")[0] == f"data.json: {what}"


def test_faults_F6_a_list_broken_at_its_end_yields_nothing(tmp_path: Path) -> None:
    data = "[" + '{"id": "some id"},\n' * 50_000 + '{"id": "last}]'
    what, _ = refused(tmp_path, data, "data.json")
    assert what == "data.json: line 50001, byte 950,002: the list breaks off within the row that starts in line 50001"
    data = "[" + '{"id": "some id"},\n' * 50_000 + '{"id" "x"},\n' + '{"id": "some id"},\n' * 300_000 + "{}]"
    what, _ = refused(tmp_path, data, "data.json")
    assert what == "data.json: line 50001, byte 950,008: Expecting ':' delimiter"


@pytest.mark.parametrize(
    ("data", "holds", "hint"),
    [
        ('{"id": "a"}', "holds an object, not a list of objects", EXAMPLE),
        ('{"id": "a"}\n{"id": "b"}', "holds one object after another, not a list", "add --input jsonl"),
        ('"x"', "holds a string, not a list of objects", EXAMPLE),
        ("3.5", "holds a number, not a list of objects", EXAMPLE),
        ("null", "holds null, not a list of objects", EXAMPLE),
        ("true", "holds a boolean, not a list of objects", EXAMPLE),
        ("[[1], [2]]", "is a list of 2 values, none of which is an object",
         'write a list of objects: [{"id": "a1", "title": "…"}, …]'),
        ("[" * 100_000, ": line 1, byte 2: the list breaks off within the row that starts in line 1", None),
    ],
)  # fmt: skip
def test_faults_F7_other_shapes_are_refused_with_an_example(
    tmp_path: Path, data: str, holds: str, hint: str | None
) -> None:
    what, advice = refused(tmp_path, data, "data.json")
    assert what.removeprefix("data.json").lstrip() == holds
    assert hint in (None, advice)


def test_faults_F7_the_two_json_formats_point_to_each_other(tmp_path: Path) -> None:
    assert refused(tmp_path, '[\n{"id": 1}\n]', "data.jsonl") == (
        "data.jsonl is one JSON list, not one object a line", "add --input json"
    )  # fmt: skip
    assert refused(tmp_path, "id,title\na,b\n", "data.jsonl") == (
        "data.jsonl is not JSON Lines: no line holds an object", 'write {"id": "a1", "title": "…"} in each'
    )  # fmt: skip
    assert refused(tmp_path, '{\n"id": 1\n}', "data.jsonl")[0] == (
        "data.jsonl holds an object that is spread over several lines"
    )


@pytest.mark.parametrize(
    ("name", "data", "note"),
    [
        ("data.json", b"", "is empty (0 bytes)"),
        ("data.jsonl", b"", "is empty (0 bytes)"),
        ("data.json", b" \n", "holds only blank lines"),
        ("data.jsonl", b"\r\n\r\n", "holds only blank lines"),
        ("data.json", b"[ ]\n", "an empty list, no rows"),
    ],
)
def test_faults_E10_no_rows_has_a_reason(tmp_path: Path, name: str, data: bytes, note: str) -> None:
    source = opened(tmp_path, data, name)
    assert list(source.rows()) == []
    assert [n.endswith(note) for n in source.notes] == [True]


SCHEMA = build_schema(
    [
        Field("body", FieldType.TEXT),
        Field("n", FieldType.INT, required=False),
        Field("x", FieldType.FLOAT, required=False),
        Field("ok", FieldType.BOOL, required=False),
    ]
)


def test_faults_F8_every_problem_of_a_row_is_reported(tmp_path: Path) -> None:
    row = one(tmp_path, '{"id": "", "n": true, "x": 2, "ok": "yes", "more": 1}', "data.jsonl")
    with pytest.raises(DocumentError) as caught:
        SCHEMA.document(row.values, textual=False, separators={})
    assert [p.partition(":")[0] for p in caught.value.problems] == ["id", "more", "body", "n", "ok"]
    row = one(tmp_path, '{"id": 5, "body": "b", "x": 2, "n": null}', "data.jsonl")
    document = SCHEMA.document(row.values, textual=False, separators={})
    assert (document.id, getattr(document, "x"), getattr(document, "n")) == ("5", 2.0, None)  # noqa: B009


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("limit", [64, 2 * 1024 * 1024])
def test_faults_E5_the_size_of_a_row_is_limited(tmp_path: Path, name: str, limit: int) -> None:
    limits = Limits(row_bytes=limit)
    for size, problem in [
        (limit, None),
        (limit + 1, f"the row is {limit + 1:,} bytes long; the limit is {limit:,}"),
        (3 * limit + 100_000, f"the row is longer than {limit:,} bytes"),
    ]:
        row = one(tmp_path, '{"t":"' + "x" * (size - 8) + '"}', name, limits)
        assert row.problem == problem


@pytest.mark.parametrize("body", ['"x\\"', "[[],", "{", '{"a":', '"a","b":'])
def test_a_row_that_never_ends_takes_linear_time(tmp_path: Path, body: str) -> None:
    started = time.monotonic()
    with pytest.raises(SourceError):
        list(opened(tmp_path, '[{"a": ' + body * 400_000, "data.json").rows())
    list(opened(tmp_path, '{"a": ' + body * 400_000, "data.jsonl").rows())
    assert time.monotonic() - started < 5


def test_a_list_spread_over_blocks_and_lines_is_read(tmp_path: Path) -> None:
    objects = [{"id": n, "t": 'ä\\"]}[{,' * (n % 7 * 3000), "l": [n, [n]]} for n in range(200)]
    source = opened(tmp_path, json.dumps(objects, indent=2, ensure_ascii=False), "data.json")
    rows = list(source.rows())
    assert [row.values for row in rows] == objects
    assert [row.line for row in rows] == list(range(2, 2 + 200 * 10, 10))
    assert source.position == source.total


def test_reading_is_fast_enough(tmp_path: Path) -> None:
    source = opened(tmp_path, '{"id": "a1", "title": "some title", "n": 12, "x": 1.5}\n' * 60_000, "data.jsonl")
    started = time.process_time()
    assert sum(1 for _ in source.rows()) == 60_000
    assert time.process_time() - started < 2, "half of the speed that is asked for, for busy machines"
