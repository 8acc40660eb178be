"""Whole inputs: keys, texts, duplicates, what cannot be read, encodings."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

import kb
from kb.errors import SourceError, UsageError
from kb.ingest.inspect import Inspection, InspectProgress, KeyCandidate, TextCandidate, Topic, Window, inspect_steps
from kb.ingest.inspect.encodings import readable_as
from kb.ingest.inspect.opening import records_path
from kb.sources import Format
from tests.conftest import SAMPLE

MODEL = "hashing-256"


def look(path: Path, text: str | bytes, **options: object) -> Inspection:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return kb.inspect(str(path), model=MODEL, **options)


def messages(found: Inspection, topic: Topic) -> list[str]:
    return [f.message for f in found.findings if f.topic is topic]


def test_the_sample_is_understood():
    found = kb.inspect(str(SAMPLE / "articles.csv"), model=MODEL)
    assert (found.format, found.encoding, found.delimiter, found.quote, found.header) == (
        "csv",
        "utf-8",
        ",",
        '"',
        True,
    )
    assert (found.rows, found.complete, found.unreadable, found.bytes) == (252, True, 0, 182_771)
    assert {c.name: (c.type, c.missing) for c in found.columns} == {
        "id": ("str", 0),
        "title": ("str", 0),
        "body": ("text", 0),
        "category": ("str", 0),
        "difficulty": ("str", 0),
        "author": ("str", 24),
        "published": ("date", 0),
        "tags": ("list[str]", 12),
        "rating": ("float", 36),
    }
    assert found.keys == (KeyCandidate(("id",), proven=True), KeyCandidate(("title",), proven=True))
    assert found.texts == (TextCandidate("body", 252, 0),)
    assert found.window == Window(MODEL, 256, None)
    # The one article about wrong decoding shows what that looks like.
    assert {(f.topic, f.column, f.lines) for f in found.findings} == {
        (Topic.MOJIBAKE, "title", (200,)),
        (Topic.MOJIBAKE, "body", (200,)),
    }


def test_progress_is_told_and_the_last_one_carries_the_result(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("id,x\n" + "".join(f"{n},v\n" for n in range(9_000)))
    steps = list(inspect_steps([str(path)], kb.Reading(), model=MODEL))
    assert [step.rows for step in steps] == [4_000, 8_000, 9_000, 9_000]
    assert all(isinstance(step, InspectProgress) and step.total == path.stat().st_size for step in steps)
    assert [step.inspection is None for step in steps] == [True, True, True, False]


def test_the_first_rows_only(tmp_path):
    text = "id,x\n1,a\n2,\n3,c\n"
    found = look(tmp_path / "in.csv", text, rows=1)
    assert (found.rows, found.complete) == (1, False)
    assert [f.required for f in found.proposal.fields] == [False]
    assert look(tmp_path / "in.csv", text, rows=3).complete
    with pytest.raises(UsageError, match="^rows = 0 is out of range$"):
        kb.inspect("in.csv", rows=0)


def test_a_column_that_is_called_like_a_key_comes_first(tmp_path):
    found = look(tmp_path / "in.csv", "name,customer_id,url,code\na,1,u1,x\nb,2,u2,y\n")
    assert [key.columns for key in found.keys] == [("code",), ("customer_id",), ("url",), ("name",)]


def test_columns_with_gaps_repetitions_or_fractions_are_no_keys(tmp_path):
    found = look(tmp_path / "in.csv", "gap,twice,half\na,x,1.5\n,x,2.5\nc,y,3.5\n")
    assert found.keys == ()


def test_two_columns_together_are_a_key_where_none_is_alone(tmp_path):
    found = look(tmp_path / "in.csv", "book,page,word\n1,1,x\n1,2,x\n2,1,x\n2,2,y\n")
    assert found.keys == (KeyCandidate(("book", "page"), proven=True),)
    assert found.proposal.imports.key == ("book", "page")


def test_without_a_key_the_content_identifies_a_document(tmp_path):
    found = look(tmp_path / "in.csv", "a,b,c\n1,1,1\n1,1,2\n1,2,1\n2,1,1\n1,2,2\n2,1,2\n2,2,1\n")
    assert found.keys == ()
    assert messages(found, Topic.KEY) == [
        "no column, and no two columns together, are there in every row and never repeat; proposed is a hash of what a "
        "row holds: a row that changes becomes another document"
    ]
    assert found.proposal.imports.key == ("@content",)


def test_duplicate_keys_are_named_with_both_lines(tmp_path):
    rows = "".join(f"k{n},text {n}\n" for n in range(40))
    found = look(tmp_path / "in.csv", f"id,x\n{rows}k7,again\n")
    assert [(f.message, f.lines) for f in found.findings if f.topic is Topic.DUPLICATE_KEY] == [
        (
            "1 value repeats an earlier one; as the key, it makes those rows rejects: 'k7' on line 42 as on line 9",
            (9, 42),
        )
    ]
    # What is proposed is what comes first.
    assert found.keys == (KeyCandidate(("id",), proven=False, repeated=1), KeyCandidate(("x",), proven=True))
    assert found.proposal.key == "id"


def test_pairs_of_columns_are_not_tried_in_a_pipe_and_that_is_said(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("book,page,word\n1,1,x\n1,2,x\n2,1,x\n2,2,y\n",))
    writer.start()
    found = kb.inspect(str(pipe), kb.Reading(format=Format.CSV), model=MODEL)
    writer.join()
    assert found.keys == ()
    assert messages(found, Topic.KEY) == [
        "no column is there in every row and never repeats; two columns together were not tried, since a pipe can be "
        "read only once: save it to a file first; proposed is a hash of what a row holds: a row that changes becomes "
        "another document"
    ]


def test_duplicate_rows_and_content_are_named_with_both_lines(tmp_path):
    prose = "A text that is long enough to be taken for prose by anybody who reads it"
    found = look(tmp_path / "in.jsonl", "".join(json.dumps(r) + "\n" for r in [
        {"id": 1, "body": prose}, {"id": 2, "body": prose + "!"}, {"id": 3, "body": prose}, {"id": 2, "body": prose + "!"},
    ]))  # fmt: skip
    assert messages(found, Topic.DUPLICATE_ROW) == ["1 row is the same as an earlier one: on line 4 as on line 2"]
    [repeated] = messages(found, Topic.DUPLICATE_CONTENT)
    assert repeated.startswith("2 values repeat an earlier one: 'A text that is long")
    assert repeated.endswith("on line 3 as on line 1")


def test_rows_on_one_line_can_repeat(tmp_path):
    found = look(tmp_path / "in.json", '[{"id": 1, "x": "a b c"}, {"id": 2, "x": "a b c"}, {"id": 3, "x": "d e f"}]')
    assert messages(found, Topic.DUPLICATE_CONTENT) == [
        "1 value repeats an earlier one: 'a b c' on line 1 as on line 1"
    ]


def test_texts_over_the_window_and_near_empty_ones_are_counted(tmp_path):
    texts = [
        "word " * 300,
        "short",
        *(f"a text of a few more words, number {n}, so that it is prose" for n in range(8)),
    ]
    found = look(tmp_path / "in.csv", "id,body\n" + "".join(f"{n},{json.dumps(t)}\n" for n, t in enumerate(texts)))
    assert found.texts == (TextCandidate("body", 10, 1),)
    assert messages(found, Topic.WINDOW) == [
        "1 value (10 %) is longer than the 256 tokens of hashing-256: cut into chunks"
    ]
    assert messages(found, Topic.NEAR_EMPTY) == ["1 value has fewer than three words: 'short' on line 3"]


def test_without_the_model_nothing_is_estimated(tmp_path, monkeypatch):
    monkeypatch.setattr("kb.embed.models._find_local", lambda *_: None)
    monkeypatch.setattr("kb.embed.models.download", lambda *_: pytest.fail("looked on the hub"))
    path = tmp_path / "in.csv"
    path.write_text("id,body\n1,some words to read\n")
    found = kb.inspect(str(path), model="all-mpnet-base-v2")
    assert found.texts == (TextCandidate("body", 0, 0),)
    assert found.window.tokens == 0
    assert found.window.problem.startswith("the model 'all-mpnet-base-v2' is not on this machine; ")


def test_nested_json_has_paths_for_columns(tmp_path):
    rows = [
        {"id": "a", "author": {"name": "X Y", "born": 1970}, "tags": ["p"], "none": None},
        {"id": "b", "author": {"name": "Z W"}, "tags": [], "none": None},
    ]
    found = look(tmp_path / "in.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert {c.name: (c.type, c.values, c.missing) for c in found.columns} == {
        "id": ("str", 2, 0),
        "author.name": ("str", 2, 0),
        "author.born": ("int", 1, 1),
        "tags": ("list[str]", 2, 0),
    }
    assert found.proposal.imports.columns == {"author.name": "author_name", "author.born": "author_born"}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"meta": {"n": [1, 2]}, "response": {"items": [{"id": 1}]}}', "response.items"),
        ('{"data": [{"id": 1}]}', "data"),
        ('{"a": "[{", "b": {"c": "x"}, "rows": [ {"id": 1} ]}', "rows"),
        ('{"a": [1, 2]}', None),
        ('{"a": [[{"b": 1}]]}', None),
        ('[{"a": [{"b": 1}]}]', None),
        ("", None),
    ],
)
def test_the_records_inside_a_document_are_found(tmp_path, text, path):
    (tmp_path / "in.json").write_text(text)
    assert records_path(str(tmp_path / "in.json"), kb.Reading()) == path
    assert records_path(str(tmp_path / "in.json"), kb.Reading(records="x")) is None


def test_a_document_with_records_is_inspected(tmp_path):
    found = look(tmp_path / "in.json", '{"response": {"items": [{"id": 1, "title": "one"}]}}')
    assert (found.records, found.rows, [c.name for c in found.columns]) == ("response.items", 1, ["id", "title"])
    assert found.proposal.imports.reading.records == "response.items"


def news(folder: Path) -> Path:
    (folder / "news").mkdir()
    for name, first in (("a", 1), ("b", 11), ("c", 21)):
        rows = "".join(f"{n},{n},title {n}\n" for n in range(first, first + 10))
        (folder / "news" / f"{name}.csv").write_text(f"id,count,title\n{rows}")
    return folder / "news"


def test_a_pattern_stands_for_its_files_as_one_input(tmp_path):
    folder = news(tmp_path)
    with (folder / "b.csv").open("a") as file:
        file.write("5,many,a title that is longer\n")
    found = kb.inspect(f"{folder}/*.csv", model=MODEL)
    assert found.name == f"{folder}/a.csv and 2 more"
    assert (found.rows, found.bytes) == (31, sum(path.stat().st_size for path in folder.iterdir()))
    assert messages(found, Topic.ALMOST) == [f"int but for 'many' on line 12 of {folder}/b.csv"]
    assert messages(found, Topic.DUPLICATE_KEY) == [
        "1 value repeats an earlier one; as the key, it makes those rows rejects: "
        f"'5' on line 12 of {folder}/b.csv as on line 6 of {folder}/a.csv"
    ]
    assert [(c.name, c.longest_place) for c in found.columns][-1] == ("title", f"on line 12 of {folder}/b.csv")
    assert found.proposal.name == "news"
    assert kb.inspect(f"{folder}/*.csv", model=MODEL, rows=12).rows == 12


def test_two_columns_of_several_files_are_a_key(tmp_path):
    for name, rows in (("a", "1,1,x\n1,2,x\n"), ("b", "2,1,x\n2,2,y\n")):
        (tmp_path / f"{name}.csv").write_text(f"book,page,word\n{rows}")
    (tmp_path / "aa.csv").write_text("book,page,word\n")
    found = kb.inspect(f"{tmp_path}/*.csv", model=MODEL)
    assert found.keys == (KeyCandidate(("book", "page"), proven=True),)
    assert messages(found, Topic.NOTE) == [f"{tmp_path}/aa.csv: header only, no rows"]


def test_files_of_several_shapes_are_no_one_input(tmp_path):
    folder = news(tmp_path)
    (folder / "d.csv").write_text("id\n1\n")
    with pytest.raises(UsageError) as caught:
        kb.inspect(f"{folder}/*.csv", model=MODEL)
    assert (str(caught.value), caught.value.unchanged, caught.value.hint) == (
        f"{folder}/d.csv has another format, encoding or other columns than {folder}/a.csv",
        "",
        "take them one by one",
    )


def test_findings_in_a_folder_name_the_file(tmp_path):
    for name, count in (("a", 1), ("b", 2), ("c", 3), ("deep/d", "many")):
        path = tmp_path / "notes" / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'---\nid: {name}\nday: "{count}"\n---\nThe same three words\n')
    found = kb.inspect(str(tmp_path / "notes"), model=MODEL)
    assert messages(found, Topic.DUPLICATE_CONTENT) == [
        "3 values repeat an earlier one: 'The same three words' in b.md as in a.md"
    ]
    assert [c.longest_place for c in found.columns if c.name == "path"] == ["in deep/d.md"]


@pytest.mark.parametrize(
    ("path", "message"), [("no.csv", "no.csv does not exist"), ("no*.csv", "nothing matches no*.csv")]
)
def test_what_cannot_be_inspected_speaks_of_no_import(path, message):
    with pytest.raises(SourceError) as caught:
        kb.inspect(path, model=MODEL)
    assert (str(caught.value), caught.value.unchanged) == (message, "")


# Rows of bad input.


@pytest.mark.parametrize(
    ("text", "encoding", "suggested"),
    [
        ("id;name\n1;Müller\n2;déjà vu – “quoted”\n", "cp1252", "cp1252"),
        ("id,title\n1,日本語,これはテストです\n2,データベースを検索する\n", "shift_jis", "shift_jis"),
        ("id,title\n1,Привет мир как дела\n", "cp1251", "cp1251"),
        ("id,title\n1,Zażółć gęślą jaźń\n", "cp1250", "cp1250"),
        ("id,title\n1,Grüße\n", "utf-16", "utf-16"),
    ],
)
def test_faults_E2_encodings_are_suggested_with_a_preview_and_never_chosen(tmp_path, text, encoding, suggested):
    with pytest.raises(SourceError) as caught:
        look(tmp_path / "in.csv", text.encode(encoding))
    assert "is not UTF-8: line " in str(caught.value)
    first, second, *_ = caught.value.hint.splitlines()
    assert first == "these encodings can read it; add the one that reads well:"
    line = next(line for line in text.splitlines() if not line.isascii())
    assert second == f"--encoding {suggested}: “{line}”"
    again = kb.inspect(str(tmp_path / "in.csv"), kb.Reading(encoding=suggested), model=MODEL)
    assert again.proposal is None or again.proposal.imports.reading.encoding == suggested


def test_faults_E2_encodings_that_read_alike_are_one_choice():
    previews = readable_as("id\nGrüße\n".encode("cp1252"))
    assert previews[0].encoding == "cp1252"
    assert len({p.text for p in previews}) == len(previews) <= 5


@pytest.mark.parametrize(
    ("text", "message", "columns"),
    [
        ("", "it is empty (0 bytes)", 0),
        ("\n\n\n", "it holds only blank lines", 0),
        ("id,title\n", "header only, no rows", 2),
    ],
)
def test_faults_E10_an_input_without_rows_is_said_to_be_one(tmp_path, text, message, columns):
    found = look(tmp_path / "in.csv", text)
    assert (found.rows, len(found.columns), found.proposal) == (0, columns, None)
    assert messages(found, Topic.NOTE) == [message]


@pytest.mark.parametrize(
    ("header", "suspect"),
    [("1,3.14", "3.14"), ("a,2024-01-31", "2024-01-31"), ("7,8", "7"), ("id,title", None), ("city,a,b,c,2023", None)],
)
def test_faults_E10_a_missing_header_is_suspected(tmp_path, header, suspect):
    found = look(tmp_path / "in.csv", f"{header}\n{header.replace('1', '2')}\n")
    expected = f"the first line looks like data, not like a header ({suspect!r}); if there is none: --no-header"
    assert messages(found, Topic.HEADER) == ([] if suspect is None else [expected])


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("ending", ["\n", "\r", "\r\n"])
def test_faults_E11_delimiters_and_line_endings_are_seen_and_lines_are_physical(tmp_path, delimiter, ending):
    lines = [f"id{delimiter}x", f'1{delimiter}"two', 'lines"', f"2{delimiter}bbbbbbbbbbbbb"]
    found = look(tmp_path / "in.csv", ending.join(lines) + ending)
    assert (found.delimiter, found.rows) == (delimiter, 2)
    assert (found.columns[1].longest, found.columns[1].longest_line) == (13, 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"%PDF-1.7 \xff", "is a PDF"),
        (b'[{"id": 1}]', "is JSON"),
        (b"<!doctype html><html></html>", "is an HTML page"),
        (b"\x89PNG\r\n", "is an image"),
    ],
)
def test_faults_E22_a_csv_that_is_something_else_is_named(tmp_path, content, message):
    with pytest.raises(SourceError, match=message):
        look(tmp_path / "in.csv", content)


def test_rows_that_cannot_be_read_are_counted_with_their_lines(tmp_path):
    found = look(tmp_path / "in.csv", "id,x\n1,a\n2\n3,c\n4,d,e\n")
    assert (found.rows, found.unreadable, found.columns[0].values) == (4, 2, 2)
    assert [(f.message, f.lines) for f in found.findings if f.topic is Topic.UNREADABLE] == [
        ("2 rows cannot be read and would be rejected: expected 2 cells, found 1", (3, 5))
    ]


def test_rows_with_nothing_to_embed_are_announced(tmp_path):
    rows = [{"id": n, "title": f"title number {n}", "body": "word " * 20 + str(n)} for n in range(5)]
    del rows[1]["body"], rows[3]["title"], rows[3]["body"]
    found = look(tmp_path / "in.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert messages(found, Topic.NEAR_EMPTY) == [
        "up to 1 row has no title and body, so nothing to embed: they would be rejected"
    ]


def test_an_object_in_the_place_of_a_value_is_named(tmp_path):
    found = look(tmp_path / "in.jsonl", '{"id": 1, "x": "word"}\n{"id": 2, "x": {"y": "z"}}\n')
    assert {c.name: c.type for c in found.columns} == {"id": "int", "x": None, "x.y": "str"}
    assert messages(found, Topic.MIXED) == [
        "mixes 50 % other text ('word' on line 1), 50 % objects or lists of them ('{}' on line 2); "
        "no type takes them all, left out"
    ]
