"""A list of records somewhere in a JSON document: found, streamed, and the document around it checked."""

from __future__ import annotations

import json
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from kb.errors import SourceError, UsageError
from kb.sources import Reading, Source, open_rejects, open_source

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENT = {
    "next": None,
    "meta": {"items": "not these", "total": [2, {"deep": []}]},
    "response": {"count": 2, "items": [{"id": "a", "author": {"name": "n"}}, {"id": "b"}], "more": [{}]},
    "end": "}]",
}


def opened(tmp_path: Path, data: str, records: str | None = "response.items") -> Source:
    path = tmp_path / "data.json"
    path.write_text(data)
    return open_source(str(path), Reading(records=records))


@pytest.mark.parametrize("indent", [None, 2])
def test_records_are_found(tmp_path: Path, indent: int | None) -> None:
    rows = list(opened(tmp_path, json.dumps(DOCUMENT, indent=indent)).rows())
    assert [(row.number, row.values) for row in rows] == [
        (1, {"id": "a", "author": {"name": "n"}}),
        (2, {"id": "b"}),
    ]
    assert [row.line for row in rows] == ([1, 1] if indent is None else [15, 21])
    for records, values in (("response.more", [{}]), ("meta.total", None)):
        rows = list(opened(tmp_path, json.dumps(DOCUMENT), records).rows())
        assert values is None or [row.values for row in rows] == values
    assert [row.problem for row in rows] == ["the row is a number, not an object", None]


@pytest.mark.parametrize(
    ("data", "what", "hint"),
    [
        ('{"response": {"itmes": []}}', "data.json: there is no 'items' in 'response'", "did you mean 'items'? valid: itmes"),
        ('{"a": 1}', "data.json: there is no 'response' in the document", "valid: a"),
        ("{}", "data.json: there is no 'response' in the document", ""),
        ("[1]", "data.json: the document is no object: there is no 'response.items' in it", ""),
        ('{"response": [1]}', "data.json: 'response' is no object: there is no 'response.items' in it", ""),
        ('{"response": {"items": 5}}', "data.json holds a number under 'response.items', not a list of objects",
         'write a list of objects: [{"id": "a1", "title": "…"}, …]'),
        ('{"response": {"items": {"list": [{}]}}}',
         "data.json holds an object under 'response.items', not a list of objects",
         "say which list in it is meant: --records response.items.list"),
        ('{"response": {"items": [1, 2]}}', "data.json is a list of 2 values, none of which is an object",
         'write a list of objects: [{"id": "a1", "title": "…"}, …]'),
    ],
)  # fmt: skip
def test_faults_F7_what_is_no_list_of_records_is_named(tmp_path: Path, data: str, what: str, hint: str) -> None:
    with pytest.raises(SourceError) as caught:
        list(opened(tmp_path, data).rows())
    what = what.replace("data.json", f"{tmp_path}/data.json")
    assert (caught.value.what, caught.value.hint.replace("'items'", "'itmes'")) == (
        what,
        hint.replace("'items'", "'itmes'"),
    )


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ('{"x": [1, 2', "line 1, byte 7: the document breaks off within the value that starts in line 1"),
        ('{"x": 1', "line 1, byte 7: the document breaks off within the value that starts in line 1"),
        ('{"x": {}', "line 1, byte 9: the document breaks off: its '}' is missing"),
        ('{"x', "line 1, byte 2: the document breaks off within a key"),
        ('{"x" 1}', "line 1, byte 6: expected ':'"),
        ("{x: 1}", "line 1, byte 2: expected a key in double quotes"),
        ('{"x": , "y": 1}', "line 1, byte 7: Expecting value"),
        ('{"x": 1]', "line 1, byte 8: expected ',' or '}'"),
        ('{"x": 1,}', "line 1, byte 8: the ',' before '}' has nothing after it"),
        ('{"response": {"items": [{}', "line 1, byte 27: the list breaks off: its ']' is missing"),
        ('{"response": {"items": [{}]', "line 1, byte 28: the document breaks off: its '}' is missing"),
        ('{"response": {"items": [{}], "items": []}}', "line 1, byte 30: the key 'items' appears twice"),
        ('{"response": {"items": [{}]}} []', "line 1, byte 31: something follows after the end of the document"),
        ('{"response": {"items": [{}]}, "y": nul}', "line 1, byte 36: Expecting value"),
    ],
)
def test_faults_F6_a_broken_document_is_refused_as_a_whole(tmp_path: Path, data: str, what: str) -> None:
    rows: list[object] = []
    with pytest.raises(SourceError) as caught:
        rows.extend(opened(tmp_path, data).rows())
    assert (rows, caught.value.what) == ([], f"{tmp_path}/data.json: {what}")


def test_without_a_path_the_lists_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        list(opened(tmp_path, json.dumps(DOCUMENT), None).rows())
    assert (caught.value.what, caught.value.hint) == (
        f"{tmp_path}/data.json holds an object, not a list of objects",
        "say which list in it is meant: --records response.items or response.more",
    )
    with pytest.raises(SourceError) as caught:
        list(opened(tmp_path, '{"x": "' + "y" * 3_000_000 + '", "items": [{}]}', None).rows())
    assert caught.value.hint == "say which list in it is meant, e.g. --records response.items"
    with pytest.raises(UsageError, match="a path to records is given, but csv has none"):
        open_source(str(tmp_path / "data.csv"), Reading(records="x"))


def test_faults_E19_what_stands_around_the_records_does_not_fill_memory(tmp_path: Path) -> None:
    noise = json.dumps([{"k": "v" * 1000}] * 20_000)
    source = opened(tmp_path, f'{{"a": {noise}, "response": {{"b": {noise}, "items": [{{}}, {{}}]}}, "c": {noise}}}')
    tracemalloc.start()
    assert [row.values for row in source.rows()] == [{}, {}]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 35_000_000


def test_rejects_stand_where_the_same_call_finds_them(tmp_path: Path) -> None:
    source = opened(tmp_path, json.dumps(DOCUMENT))
    writer = open_rejects(tmp_path / "rejects.json", source, resume_at=None)
    for row in source.rows():
        writer.write(row, "no")
    writer.close()
    text = (tmp_path / "rejects.json").read_text()
    assert text == (
        '{"response": {"items": [\n'
        '{"_reason": "no", "_line": 1, "id": "a", "author": {"name": "n"}},\n'
        '{"_reason": "no", "_line": 1, "id": "b"}\n'
        "]}}\n"
    )
    again = open_source(str(tmp_path / "rejects.json"), Reading(records="response.items"))
    assert [row.values for row in again.rows()] == [{"id": "a", "author": {"name": "n"}}, {"id": "b"}]
