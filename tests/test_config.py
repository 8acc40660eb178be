"""``config.toml``, the ``KB_*`` variables, and where they are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kb.config import (
    CollectionSettings,
    Settings,
    check_collection_name,
    describe_type,
    field_from_declaration,
    find_root,
    load_settings,
)
from kb.errors import ConfigError, KBError, NoKnowledgeBaseError, SchemaError
from kb.index_config import INDEX_KEYS, IndexMode, IndexSettings
from kb.model_config import MODEL_KEYS, ModelSettings
from kb.schema import Field, FieldType, build_schema

FULL = """\
[storage]
path = "store"

[index]
store_text = false

[collections.articles]
model = "m"
key = "number"
text = "{title} {body}"
chunk_tokens = 64
chunk_overlap = 8

[collections.articles.fields]
title = "str"
body = "text"
short = "str?"
kind = { type = "str", choices = ["a", "b"], default = "a" }
day = { type = "date", required = false }
tags = { type = "list[str]", separator = ";" }
days = { type = "list[date]", default = [2024-01-31, "2024-02-01"] }
rating = { type = "float", min = 0, max = 5.5, required = false, default = 1 }

[models.m]
path = "weights"
revision = "r1"
query_prompt = "q: "
document_prompt = "d: "
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path.resolve()


def load(folder: Path, text: str, **environment: str) -> Settings:
    (folder / "config.toml").write_text(text)
    return load_settings(folder, environment)


def refusal(folder: Path, text: str, **environment: str) -> tuple[str, str]:
    with pytest.raises((ConfigError, SchemaError)) as caught:
        load(folder, text, **environment)
    return str(caught.value).replace(f"{folder}/", ""), caught.value.hint


def field_refusal(folder: Path, declaration: str) -> tuple[str, str]:
    text = f'[collections.a]\ntext = "{{body}}"\n[collections.a.fields]\nbody = "text"\nf = {declaration}\n'
    message, hint = refusal(folder, text)
    return message.removeprefix("config.toml: [collections.a]: "), hint


def test_every_key_is_read(folder):
    day = FieldType.DATE
    schema = build_schema(
        [
            Field("title", FieldType.STR),
            Field("body", FieldType.TEXT),
            Field("short", FieldType.STR, required=False),
            Field("kind", FieldType.STR, choices=("a", "b"), default="a"),
            Field("day", day, required=False),
            Field("tags", FieldType.STR, many=True, separator=";"),
            Field("days", day, many=True, default=[Field("d", day).parse(s) for s in ("2024-01-31", "2024-02-01")]),
            Field("rating", FieldType.FLOAT, required=False, minimum=0, maximum=5.5, default=1.0),
        ],
        key="number",
        text="{title} {body}",
    )
    assert load(folder, FULL) == Settings(
        root=folder,
        storage=folder / "store",
        store_text=False,
        collections={"articles": CollectionSettings(schema, "m", 64, 8)},
        models={"m": ModelSettings(folder / "weights", "r1", "q: ", "d: ")},
    )


def test_every_key_but_the_fields_is_optional(folder):
    loaded = load(folder, '[collections.a.fields]\nbody = "text"\n')
    schema = build_schema([Field("body", FieldType.TEXT)])
    assert loaded == Settings(folder, folder / ".kb", True, {"a": CollectionSettings(schema, "all-MiniLM-L6-v2")})
    assert load(folder, "") == Settings(folder, folder / ".kb")


def test_the_configuration_of_the_repository_loads():
    root = Path(__file__).parents[1]
    loaded = load_settings(root, {})
    assert loaded.storage == root / ".kb"
    assert loaded.store_text is True
    assert list(loaded.collections) == ["articles"]
    articles = loaded.collections["articles"]
    assert articles.model == "all-MiniLM-L6-v2"
    assert list(articles.schema.fields) == [
        *("title", "body", "category", "difficulty", "author", "published", "tags", "rating"),
    ]
    assert articles.schema.template.source == "{title}\n\n{body}"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "[storag]",
            "config.toml: the file has an unknown key 'storag'",
            "did you mean 'storage'? valid: storage, index, collections, models, imports",
        ),
        (
            "[storage]\npaht = 1",
            "config.toml: [storage] has an unknown key 'paht'",
            "did you mean 'path'? valid: path",
        ),
        (
            "[index]\nstoretext = true",
            "config.toml: [index] has an unknown key 'storetext'",
            "did you mean 'store_text'? valid: " + ", ".join(INDEX_KEYS),
        ),
        (
            '[collections.a]\nchunk_token = 3\n[collections.a.fields]\nbody = "text"',
            "config.toml: [collections.a] has an unknown key 'chunk_token'",
            "did you mean 'chunk_tokens'? "
            "valid: model, query_model, key, text, chunk_tokens, chunk_overlap, language, fields",
        ),
        (
            '[collections.a.fields]\nbody = { type = "text", requird = false }',
            "config.toml: [collections.a]: 'body' has an unknown key 'requird'",
            "did you mean 'required'? valid: type, required, choices, min, max, default, separator",
        ),
        (
            '[models.m]\nquery-prompt = "x"',
            "config.toml: [models.m] has an unknown key 'query-prompt'",
            "did you mean 'query_prompt'? valid: " + ", ".join(MODEL_KEYS),
        ),
    ],
)
def test_faults_I19_an_unknown_key_is_refused_with_the_nearest(folder, text, message, hint):
    assert refusal(folder, text) == (message, hint)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("storage = 1", "config.toml: storage must be a table, not 1"),
        ("[storage]\npath = 1", "config.toml: storage.path must be a path, not 1"),
        ('[storage]\npath = ""', "config.toml: storage.path must be a path, not ''"),
        ('[index]\nstore_text = "no"', "config.toml: index.store_text must be true or false, not 'no'"),
        ("[index]\nstore_text = 0", "config.toml: index.store_text must be true or false, not 0"),
        ("collections = []", "config.toml: collections must be a table of tables, not []"),
        ("[collections]\na = 1", "config.toml: collections must be a table of tables, not {'a': 1}"),
        ("[collections.a]\nmodel = 1", "config.toml: collections.a.model must be a string, not 1"),
        ('[collections.a]\ntext = ""', "config.toml: collections.a.text must be a string, not ''"),
        ("[collections.a]\nkey = []", "config.toml: collections.a.key must be a string, not []"),
        (
            "[collections.a]\nchunk_tokens = true",
            "config.toml: collections.a.chunk_tokens must be a whole number, not True",
        ),
        (
            "[collections.a]\nchunk_overlap = 1.5",
            "config.toml: collections.a.chunk_overlap must be a whole number, not 1.5",
        ),
        ("[collections.a]", "config.toml: [collections.a] declares no fields"),
        ("[collections.a.fields]", "config.toml: [collections.a] declares no fields"),
        ('[storage]\npath = "~nobody-here/x"', "config.toml: storage.path must be a path, not '~nobody-here/x'"),
        ('[storage]\npath = "a\\u0000b"', "config.toml: storage.path must be a path, not 'a\\x00b'"),
        ("models = 1", "config.toml: models must be a table of tables, not 1"),
        ("[models.m]\npath = 1", "config.toml: models.m.path must be a string, not 1"),
    ],
)
def test_faults_I19_a_value_of_the_wrong_type_is_refused(folder, text, message):
    assert refusal(folder, text)[0] == message


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        ("1", "'f' must be a type such as \"str\", or a table with a type"),
        ("{ required = false }", "'f' must be a type such as \"str\", or a table with a type"),
        ("{ type = 1 }", "'f' must be a type such as \"str\", or a table with a type"),
        ('"strr"', "unknown field type 'strr'"),
        ('{ type = "str", required = 1 }', "'f'.required must be true or false, not 1"),
        ('{ type = "str", choices = "a" }', "'f'.choices must be a list of values, not 'a'"),
        ('{ type = "str", choices = [] }', "'f'.choices must be a list of values, not []"),
        ('{ type = "str", choices = ["a", 1] }', "'f': 1 is not of type str"),
        ('{ type = "date", choices = ["soon"] }', "'f': 'soon' is not an ISO date (write 2024-01-31)"),
        ('{ type = "int", min = "0" }', "'f'.min must be a number, not '0'"),
        ('{ type = "int", max = true }', "'f'.max must be a number, not True"),
        ('{ type = "float", min = nan }', "'f'.min must be a number, not nan"),
        ('{ type = "str", min = 1 }', "the field 'f' has bounds, but its type is str"),
        ('{ type = "int", default = "x" }', "'f': 'x' is not of type int"),
        ('{ type = "int", default = 1.0 }', "'f': 1.0 is not of type int"),
        ('{ type = "list[int]", default = 1 }', "the default of 'f' must be a list, not 1"),
        ('{ type = "list[str]", separator = 1 }', "'f'.separator must be a string, not 1"),
        ('{ type = "list[str]", separator = "" }', "the field 'f' has a separator, but its type is list[str]"),
        ('{ type = "str", separator = ";" }', "the field 'f' has a separator, but its type is str"),
    ],
)
def test_faults_I19_a_field_that_cannot_work_is_refused(folder, declaration, message):
    assert field_refusal(folder, declaration)[0] == message


def test_a_schema_error_names_the_collection_and_keeps_its_hint(folder):
    assert refusal(folder, '[collections.a]\ntext = "{boby}"\n[collections.a.fields]\nbody = "text"') == (
        "config.toml: [collections.a]: the text template '{boby}' names 'boby', which is not a field",
        "did you mean 'body'? valid: body",
    )


@pytest.mark.parametrize("name", ["", "-", "a b", "a.b", "_a", "a-", "größe", "x" * 101])
def test_a_name_that_cannot_name_a_collection_is_refused(name):
    with pytest.raises(SchemaError) as caught:
        check_collection_name(name)
    assert str(caught.value) == f"'{name}' cannot name a collection"
    assert caught.value.hint == (
        "use letters, digits, - and _, a letter or digit first and last, 100 characters at most"
    )


@pytest.mark.parametrize("name", ["a", "A1", "my-articles_2024", "0", "x" * 100])
def test_other_names_can_name_a_collection(name):
    assert check_collection_name(name) == name


def test_faults_I19_invalid_toml_is_refused_with_the_line(folder):
    message, _ = refusal(folder, "[storage]\npath = \n")
    assert message.startswith("config.toml is not valid TOML: ")
    assert "line 2" in message
    message, _ = refusal(folder, '[storage]\npath = "a"\npath = "b"\n')
    assert message.startswith("config.toml is not valid TOML: Cannot overwrite a value")
    assert "line 3" in message


def test_faults_I19_a_file_that_is_not_utf8_is_refused(folder):
    (folder / "config.toml").write_bytes(b"# \xff")
    with pytest.raises(ConfigError, match=r"config\.toml is not UTF-8 at byte 2$"):
        load_settings(folder, {})


def test_faults_I19_a_huge_file_is_refused(folder):
    assert load(folder, "#" * 2**20).collections == {}
    assert refusal(folder, "#" * (2**20 + 1))[0] == "config.toml is 1,048,577 bytes long; the limit is 1,048,576"


def test_faults_I19_a_file_that_everybody_may_write_is_refused(folder):
    (folder / "config.toml").write_text("")
    (folder / "config.toml").chmod(0o666)
    with pytest.raises(ConfigError, match=r"writ"):
        load_settings(folder, {})


def test_a_file_that_cannot_be_read_is_refused(folder):
    (folder / "config.toml").mkdir()
    with pytest.raises(ConfigError) as caught:
        load_settings(folder, {})
    assert str(caught.value) == f"{folder}/config.toml cannot be read: Is a directory"


SCALARS = st.one_of(
    *(st.none().map(lambda _: ""), st.booleans(), st.integers(-3, 300), st.floats(allow_nan=True)),
    *(st.text(max_size=5), st.sampled_from(["str", "list[int]", "date?", "{body}", "body", "a"]), st.dates()),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(["body", "type"]), inner)),
    max_leaves=3,
)
FIELDS = st.dictionaries(
    st.sampled_from(["body", "title", "id", "a b", ""]),
    st.dictionaries(st.sampled_from(["type", "required", "choices", "min", "max", "default", "separator"]), VALUES).map(
        lambda declaration: {"type": "int", **declaration}
    )
    | VALUES,
)
COLLECTION = st.fixed_dictionaries(
    {"fields": FIELDS | VALUES},
    optional=dict.fromkeys(("model", "query_model", "key", "text", "chunk_tokens", "chunk_overlap"), VALUES),
)
FILES = st.fixed_dictionaries(
    {},
    optional={
        "storage": st.dictionaries(st.just("path"), VALUES),
        "index": st.dictionaries(
            st.sampled_from([*INDEX_KEYS, "key"]), VALUES | st.sampled_from([*IndexMode, "x.example", 8000, 1.5])
        ),
        "collections": st.dictionaries(st.sampled_from(["a", "", "-", "a b"]), COLLECTION | VALUES),
        "models": st.dictionaries(
            st.just("m"),
            st.dictionaries(
                st.sampled_from(MODEL_KEYS), VALUES | st.sampled_from(["https://x.example", "http://[", "KEY", 8])
            ),
        ),
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(FILES)
def test_faults_I19_any_file_is_settings_or_a_deliberate_error(folder, raw):
    try:
        assert isinstance(load(folder, tomlkit.dumps(raw)), Settings)
    except KBError as error:
        assert error.exit_code == 2


def test_variables_win_over_the_file(folder):
    loaded = load(folder, FULL, KB_STORAGE_PATH="elsewhere", KB_INDEX_STORE_TEXT="TRUE")
    assert (loaded.storage, loaded.store_text) == (folder / "elsewhere", True)
    assert load(folder, FULL, KB_INDEX_STORE_TEXT="1").store_text is True
    assert load(folder, "", KB_INDEX_STORE_TEXT="0").store_text is False
    assert load(folder, "", KB_STORAGE_PATH="/tmp/x").storage == Path("/tmp/x").resolve()


def test_a_wrong_variable_is_refused_by_its_own_name(folder):
    message, _ = refusal(folder, "", KB_INDEX_STORE_TEXT="maybe")
    assert "KB_INDEX_STORE_TEXT" in message
    assert "'maybe'" in message


def test_the_storage_path_is_real_and_absolute(folder, monkeypatch):
    (folder / "real").mkdir()
    (folder / "link").symlink_to("real")
    monkeypatch.setenv("HOME", str(folder))
    assert load(folder, '[storage]\npath = "link/../link/kb"').storage == folder / "real" / "kb"
    assert load(folder, '[storage]\npath = "~/kb"').storage == folder / "kb"


def test_the_argument_wins_over_kb_home(folder, monkeypatch):
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    (folder / "a" / "config.toml").touch()
    (folder / "b" / "config.toml").touch()
    environment = {"KB_HOME": str(folder / "b")}
    assert find_root(folder / "a", environment) == folder / "a"
    assert find_root(None, environment) == folder / "b"
    monkeypatch.chdir(folder)
    assert find_root("a/../a", environment) == folder / "a"


def test_the_nearest_folder_upward_is_found(folder, monkeypatch):
    (folder / "a" / "b" / "c").mkdir(parents=True)
    (folder / "config.toml").touch()
    (folder / "a" / "config.toml").touch()
    monkeypatch.chdir(folder / "a" / "b" / "c")
    assert find_root(None, {}) == folder / "a"
    assert find_root("", {"KB_HOME": ""}) == folder / "a"


def test_no_knowledge_base_is_an_error_that_says_what_to_do(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(NoKnowledgeBaseError) as caught:
        find_root(None, {})
    assert str(caught.value) == f"there is no knowledge base in {folder} or above: no config.toml"
    assert caught.value.hint == "kb init, or name one with --kb DIR"
    with pytest.raises(NoKnowledgeBaseError) as caught:
        find_root("x", {})
    assert str(caught.value) == "there is no knowledge base in x: no config.toml"
    assert caught.value.hint == "kb init x"
    assert caught.value.exit_code == 10


def test_a_folder_above_is_not_searched_when_one_is_named(folder):
    (folder / "config.toml").touch()
    (folder / "a").mkdir()
    with pytest.raises(NoKnowledgeBaseError):
        find_root(folder / "a", {})


def test_a_deleted_current_folder_is_an_error(folder, monkeypatch):
    (folder / "a").mkdir()
    monkeypatch.chdir(folder / "a")
    (folder / "a").rmdir()
    with pytest.raises(NoKnowledgeBaseError, match=r"^the current folder no longer exists$"):
        find_root(None, {})


@pytest.mark.parametrize(
    ("declaration", "described"),
    [
        ("str", "str"),
        ("text", "text, prose"),
        ("str?", "str, optional"),
        ("list[int]", "list[int]"),
        ({"type": "str", "choices": ["a", "b"], "required": False}, "str, optional, one of a, b"),
        ({"type": "float", "min": 0, "max": 5}, "float, 0 ≤ value ≤ 5"),
        ({"type": "int", "min": 1}, "int, 1 ≤ value"),
    ],
)
def test_a_field_is_described_in_one_phrase(declaration, described):
    assert describe_type(field_from_declaration("f", declaration, "")) == described


def test_the_index_is_embedded_unless_something_else_is_said(folder):
    assert load(folder, "").index == IndexSettings()
    said = '[index]\nmode = "server"\nhost = "x.example"\nport = 8001\nssl = true\ntimeout = 2\ntenant = "t"\n'
    expected = IndexSettings(IndexMode.SERVER, "x.example", 8001, ssl=True, timeout=2.0, tenant="t")
    assert load(folder, said).index == expected
    assert load(folder, '[index]\nmode = "cloud"\n').index == IndexSettings(IndexMode.CLOUD, ssl=True)
    variables = {"KB_INDEX_MODE": "server", "KB_INDEX_PORT": "9000", "KB_INDEX_SSL": "false", "KB_INDEX_TIMEOUT": "0.5"}
    assert load(folder, "", **variables).index == IndexSettings(IndexMode.SERVER, port=9000, timeout=0.5)


@pytest.mark.parametrize(
    ("said", "variables", "message", "hint"),
    [
        ('mode = "servers"', {}, "{file}: index.mode cannot be 'servers'", "did you mean 'server'?"),
        ('mdoe = "server"', {}, "{file}: [index] has an unknown key 'mdoe'", "did you mean 'mode'?"),
        ('host = "x"', {}, '{file}: index.host is about a server, but the mode is "embedded"', 'put mode = "server"'),
        ('mode = "server"\nport = 0', {}, "{file}: index.port must be a whole number from 1 to 65535, not 0", ""),
        ('mode = "server"\ntimeout = 0', {}, "{file}: index.timeout must be a number of seconds above 0, not 0", ""),
        ('mode = "server"\nssl = 1', {}, "{file}: index.ssl must be true or false, not 1", ""),
        ('mode = "server"\nhost = "http://x"', {}, "{file}: index.host must be a name without", ""),
        ('mode = "cloud"\nkey = "ck-123"', {}, "{file}: [index] holds a secret, 'key'", "take it out"),
        ("", {"KB_INDEX_MODE": "clod"}, "KB_INDEX_MODE cannot be 'clod'", "did you mean 'cloud'?"),
        ("", {"KB_INDEX_MODE": "server", "KB_INDEX_PORT": "x"}, "KB_INDEX_PORT must be a whole number", ""),
    ],
)
def test_a_wrong_index_is_refused(folder, said, variables, message, hint):
    found, told = refusal(folder, f"[index]\n{said}\n", **variables)
    assert found.startswith(message.format(file="config.toml")), found
    assert told.startswith(hint)
    assert "ck-123" not in found + told
