"""Proposals: names of fields, TOML that loads, and an import that then needs no more flags."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import kb
from kb.config import load_settings
from kb.errors import ConfigError, ConflictError, SchemaError
from kb.first_config import add_collection
from kb.ingest.inspect import Proposal, ProposedField, ProposedImport, collection_name
from kb.ingest.inspect.proposal import field_name
from tests.conftest import SAMPLE

MODEL = "hashing-256"
PLAIN = Proposal("notes", MODEL, "id", "{body}", (ProposedField("body", "body", "text", required=True),), None)


def proposed(path: Path, **options: object) -> Proposal:
    found = kb.inspect(str(path), model=MODEL, **options)
    assert found.proposal is not None
    return found.proposal


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("title", "title"),
        ("Title", "title"),
        ("First Name", "first_name"),
        ("firstName", "first_name"),
        ("author.name", "author_name"),
        (" E-Mail? ", "e_mail"),
        ("größe", "größe"),
        ("日本", "日本"),
        ("2023", "column_2023"),
        ("%", "column"),
        ("class", "class_"),
        ("score", "score_"),
        ("ID", "id_"),
        ("and", "and_"),
        ("model_dump", "model_dump_"),
        ("_private", "private"),
        ("taken", "taken_3"),
    ],
)
def test_a_column_gets_a_name_that_a_field_may_have(column, name):
    assert field_name(column, {"taken", "taken_2"}) == name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("data/articles.csv", "articles"),
        ("my export (2).csv.gz", "my-export-2"),
        ("-", "documents"),
        ("…", "documents"),
    ],
)
def test_a_collection_is_named_after_the_file(path, name):
    assert collection_name((path,)) == name


SAMPLE_TOML = """\
[collections.articles]
model = "hashing-256"
key = "id"
text = "{title}\\n\\n{body}"

[collections.articles.fields]
title = "str"
body = "text"
# category: choices = ["data", "databases", "devops", "distributed", "ml",
# "nlp", "python", "search", "security", "testing", "vision", "web"]
category = "str"
# difficulty: choices = ["advanced", "beginner", "intermediate"]
difficulty = "str"
# author: choices = ["avocet", "bittern", "curlew", "dunlin", "goldcrest",
# "heron", "kestrel", "lapwing", "nightjar", "plover", "siskin", "wren"]
author = { type = "str", required = false }
published = "date"
tags = { type = "list[str]", separator = ";" }
rating = { type = "float", required = false }
"""


def test_the_sample_needs_no_import_table():
    assert proposed(SAMPLE / "articles.csv").to_toml() == SAMPLE_TOML


def test_renamed_columns_dates_and_the_reading_go_into_an_import_table(tmp_path):
    path = tmp_path / "ex[1].csv"
    path.write_bytes("Nr.;Größe;Tag\n1;klein;31.01.2024\n2;groß;01.02.2024\n".encode("cp1252"))
    found = proposed(path, reading=kb.Reading(encoding="cp1252"))
    assert (
        tomllib.loads(found.to_toml())
        == {
            "collections": {
                "ex-1": {
                    "model": MODEL,
                    "key": "Größe",
                    "text": "{größe}",
                    "fields": {"nr": "int", "größe": "str", "tag": "date"},
                }
            },
            "imports": {
                "ex-1": {
                    "files": [f"{tmp_path}/ex[[]1].csv"],
                    "collection": "ex-1",
                    "encoding": "cp1252",
                    "columns": {"Größe": "größe", "Tag": "tag"},
                    "dates": {"tag": "%d.%m.%Y"},
                }
            },
        }
        or found.key == "Nr."
    )


def test_what_no_field_can_hold_is_left_out(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text('{"id": 1, "title": "one two", "parts": [{"a": 1}]}\n')
    found = proposed(path)
    assert [f.name for f in found.fields] == ["title"]
    assert found.imports == ProposedImport((str(path),), ignore_unknown=True)
    assert 'unknown_columns = "ignore"' in found.to_toml()


def test_a_natural_key_is_a_field_as_well(tmp_path):
    path = tmp_path / "in.tsv"
    path.write_text("package\tsummary\nzlib\tcompression library for all\ncurl\ttransfers data with urls\n")
    found = proposed(path)
    assert (found.key, found.text, [f.name for f in found.fields]) == (
        "package",
        "{package}\n\n{summary}",
        ["package", "summary"],
    )
    assert found.imports is None


@pytest.mark.parametrize("odd", ['a "b"', "a\\b", "tab\there", "a.b c", "größe", "]["])
def test_any_column_name_survives_the_toml(tmp_path, odd):
    path = tmp_path / "in.csv"
    quoted = odd.replace('"', '""')
    path.write_text(f'id,"{quoted}"\n1,some words of text\n2,other words of text\n')
    found = proposed(path)
    raw = tomllib.loads(found.to_toml())
    assert list(raw.get("imports", {}).get("in", {}).get("columns", {odd: ""})) == [odd]


def test_comments_cannot_break_out_of_their_line():
    field = ProposedField("x", "x", "str", required=True, comment="int but for 'a b' on line 3 " + "very long " * 30)
    text = Proposal("c", MODEL, "id", "{x}", (field,), None).to_toml()
    assert tomllib.loads(text)["collections"]["c"]["fields"] == {"x": "str"}
    assert max(map(len, text.splitlines())) <= 79


# Writing.


def test_a_first_config_is_made(tmp_path):
    path = add_collection(tmp_path / "new", PLAIN)
    assert path == tmp_path / "new" / "config.toml"
    assert path.read_text() == (
        """\
# A knowledge base. Import with `kb import FILE`, search with `kb search "..."`.

[storage]
path = ".kb"                             # the catalog and the index; relative to this file

[collections.notes]
model = "hashing-256"
key = "id"
text = "{body}"

[collections.notes.fields]
body = "text"
"""
    )
    assert list(load_settings(tmp_path / "new", {}).collections) == ["notes"]
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["config.toml"]


OLD = """\
# Mine, with care.
[collections.old]   # the first
text = "{title}"
[collections.old.fields]
title   =   "str"   # odd spacing"""


def test_what_stands_in_the_file_stays(tmp_path):
    (tmp_path / "config.toml").write_text(OLD)
    (tmp_path / "config.toml").chmod(0o640)
    add_collection(tmp_path, PLAIN)
    assert (tmp_path / "config.toml").read_text() == f"{OLD}\n\n{PLAIN.to_toml()}"
    assert (tmp_path / "config.toml").stat().st_mode & 0o777 == 0o640
    assert list(load_settings(tmp_path, {}).collections) == ["old", "notes"]


def test_a_link_to_the_file_stays_a_link(tmp_path):
    (tmp_path / "real.toml").write_text(OLD)
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.toml").symlink_to(tmp_path / "real.toml")
    assert add_collection(tmp_path / "base", PLAIN) == tmp_path / "real.toml"
    assert (tmp_path / "base" / "config.toml").is_symlink()
    assert list(load_settings(tmp_path / "base", {}).collections) == ["old", "notes"]


@pytest.mark.parametrize(
    ("old", "error", "message", "hint"),
    [
        (
            PLAIN.to_toml(),
            ConflictError,
            "{path} has the collection 'notes' already",
            "choose another name with --name, or take [collections.notes] out first",
        ),
        (
            'collections = { old = { text = "{a}", fields = { a = "str" } } }',
            ConflictError,
            "{path} cannot take the collection 'notes': config.toml is not valid TOML: ",
            "print it with --toml and put it in by hand",
        ),
        ("[colections]", ConfigError, "{path}: the file has an unknown key 'colections'", None),
    ],
)
def test_a_file_that_cannot_take_it_stays_as_it_is(tmp_path, old, error, message, hint):
    path = tmp_path / "config.toml"
    path.write_text(old)
    with pytest.raises(error) as caught:
        add_collection(tmp_path, PLAIN)
    assert str(caught.value).startswith(message.format(path=path))
    assert hint is None or (caught.value.unchanged, caught.value.hint) == ("nothing was written", hint)
    assert path.read_text() == old
    assert [p.name for p in tmp_path.iterdir()] == ["config.toml"]


def test_a_name_that_cannot_be_one_writes_nothing(tmp_path):
    with pytest.raises(SchemaError, match="^'a b' cannot name a collection$"):
        add_collection(tmp_path / "new", Proposal("a b", MODEL, "id", "{body}", PLAIN.fields, None))
    assert not (tmp_path / "new").exists()
