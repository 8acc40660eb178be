"""Writing the first ``config.toml``."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from kb.config import load_settings
from kb.errors import ConfigError, ConflictError, SchemaError
from kb.first_config import write_config
from kb.schema import Field, FieldType, build_schema


def write(folder: Path, fields: list[tuple[str, str]], **changes: object) -> Path:
    options: dict = {"text": None, "key": "id", "model": "all-MiniLM-L6-v2", **changes}
    return write_config(folder, options.pop("name", "articles"), fields, **options)


def test_the_example_is_commented_and_loads(tmp_path):
    path = write(tmp_path / "new" / "base", [])
    assert path == (tmp_path / "new" / "base" / "config.toml").resolve()
    assert path.read_text().startswith("# A knowledge base. Import with `kb import FILE`, search with")
    settings = load_settings(path.parent, {})
    assert settings.storage == path.parent / ".kb"
    articles = settings.collections["articles"]
    assert articles.model == "all-MiniLM-L6-v2"
    assert articles.schema == build_schema(
        [
            Field("title", FieldType.STR),
            Field("body", FieldType.TEXT),
            Field("category", FieldType.STR, choices=("ml", "nlp")),
            Field("published", FieldType.DATE),
            Field("author", FieldType.STR, required=False),
            Field("tags", FieldType.STR, many=True, separator=";"),
            Field("rating", FieldType.FLOAT, required=False, minimum=0, maximum=5),
        ],
        text="{title}\n\n{body}",
    )


def test_given_fields_are_declared_in_their_order(tmp_path):
    fields = [("größe", "int?"), ("body", "text"), ("tags", "list[str]"), ("note", "text?")]
    write(tmp_path, fields, name="my-notes", key="number", model="hashing-256")
    notes = load_settings(tmp_path, {}).collections["my-notes"]
    assert notes.model == "hashing-256"
    assert notes.schema == build_schema(
        [
            Field("größe", FieldType.INT, required=False),
            Field("body", FieldType.TEXT),
            Field("tags", FieldType.STR, many=True),
            Field("note", FieldType.TEXT, required=False),
        ],
        key="number",
    )
    assert notes.schema.template.source == "{body}\n\n{note}"
    assert list(notes.schema.fields) == ["größe", "body", "tags", "note"]


@pytest.mark.parametrize(
    "text", ['{body} "quoted" \\ {{x}}', "a\n\tb: {body}", "{body} ''' \"\"\"", "größe 👍 {body}\r\n"]
)
def test_strings_are_written_so_that_they_read_the_same(tmp_path, text):
    path = write(tmp_path, [("body", "text")], text=text, key='k"\\', model="dir/m'o\"del")
    declared = tomllib.loads(path.read_text())["collections"]["articles"]
    assert declared == {"model": "dir/m'o\"del", "key": 'k"\\', "text": text, "fields": {"body": "text"}}


def test_an_existing_file_is_kept(tmp_path):
    (tmp_path / "config.toml").write_text("# mine")
    with pytest.raises(ConflictError) as caught:
        write(tmp_path, [])
    assert str(caught.value) == f"{tmp_path}/config.toml exists already"
    assert caught.value.unchanged == "nothing was written"
    assert (tmp_path / "config.toml").read_text() == "# mine"


@pytest.mark.parametrize(
    ("fields", "changes", "message"),
    [
        ([("body", "text")], {"name": "a b"}, "'a b' cannot name a collection"),
        ([("title", "str")], {}, "no text template is given and no field has the type 'text'"),
        ([("body", "texts")], {}, "unknown field type 'texts'"),
        ([("body", "text"), ("body", "str")], {}, "the field 'body' is declared twice"),
        ([("id", "str"), ("body", "text")], {}, "the id is always there, it is not declared as a field"),
        ([], {"text": "{boby}"}, "the text template '{boby}' names 'boby', which is not a field"),
    ],
)
def test_a_declaration_that_cannot_work_writes_nothing(tmp_path, fields, changes, message):
    with pytest.raises(SchemaError) as caught:
        write(tmp_path / "new", fields, **changes)
    assert str(caught.value).endswith(message)
    assert not (tmp_path / "new" / "config.toml").exists()


@pytest.mark.parametrize("changes", [{"key": ""}, {"model": ""}])
def test_an_empty_name_writes_nothing(tmp_path, changes):
    with pytest.raises(ConfigError):
        write(tmp_path, [("body", "text")], **changes)
    assert not (tmp_path / "config.toml").exists()
