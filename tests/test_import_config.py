"""``[imports.NAME]`` and what it becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kb
from kb.catalog import Counts
from kb.config import Settings, load_settings
from kb.errors import ConfigError, KBError, UsageError
from kb.import_config import IMPORT_KEYS, ImportSettings, share
from kb.ingest import (
    FieldMapping,
    ImportRequest,
    OnConflict,
    Policy,
    UnknownColumns,
    check_imports,
    named_import,
    request_of,
)
from kb.sources import Format, Reading
from tests.conftest import CONFIG

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import FakeEncoder

FULL = """
[imports.wiki]
files = ["wiki/*.csv", "/data/more.csv", "-"]
collection = "articles"
key = ["lang", "nr"]
nulls = ["NULL", "n/a"]
where = 'lang = "de"'
unknown_columns = "ignore"
format = "csv"
encoding = "cp1252"
delimiter = ";"
quote = "'"
header = false
records = "items"
sheet = "S"
sql = "select 1"
source = "dump"
on_conflict = "keep"
atomic = true
max_errors = 7
sync = true
max_delete = "2.5%"
fail_empty = true

[imports.wiki.columns]
Kopf = "title"
Text = ["body", "author"]

[imports.wiki.constants]
rating = 4.5
published = 2024-01-31
category = "ml"

[imports.wiki.templates]
title = "{a} {b}"

[imports.wiki.split]
tags = "|"

[imports.wiki.dates]
published = "%d.%m.%Y"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path.resolve()


def load(folder: Path, text: str) -> Settings:
    (folder / "config.toml").write_text(CONFIG + text)
    return load_settings(folder, {})


def refusal(folder: Path, text: str) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        check_imports(load(folder, text))
    return str(caught.value).replace(f"{folder}/config.toml: ", ""), caught.value.hint


def test_every_key_is_read(folder: Path) -> None:
    said = load(folder, FULL).imports["wiki"]
    assert set(said.said()) == set(IMPORT_KEYS)
    assert request_of(said) == ImportRequest(
        (f"{folder}/wiki/*.csv", "/data/more.csv", "-"),
        Reading(Format.CSV, "cp1252", ";", "'", header=False, records="items", sheet="S", sql="select 1"),
        FieldMapping(
            {"Kopf": "title", "Text": ("body", "author")},
            {"rating": "4.5", "published": "2024-01-31", "category": "ml"},
            {"title": "{a} {b}"},
            {"tags": "|"},
            {"published": "%d.%m.%Y"},
            ("lang", "nr"),
            'lang = "de"',
            ("NULL", "n/a"),
            UnknownColumns.IGNORE,
        ),
        Policy(True, 7, None, "dump", True, 0.025, OnConflict.KEEP, True),
    )


def test_nothing_said_is_the_default(folder: Path) -> None:
    said = load(folder, '[imports.a]\nfiles = "in.csv"').imports["a"]
    assert said == ImportSettings(files=(f"{folder}/in.csv",))
    assert request_of(said) == ImportRequest((f"{folder}/in.csv",))
    assert request_of(load(folder, '[imports.a]\nmax_errors = "5 %"').imports["a"]).policy == Policy(
        max_error_share=0.05
    )
    assert load(folder, "").imports == {}


def test_an_empty_quote_means_that_nothing_encloses_cells(folder: Path) -> None:
    (folder / "config.toml").write_text(CONFIG + '\n[imports.wiki]\nquote = ""\n')
    said = named_import(load_settings(folder, {}), "wiki")
    assert said == ImportSettings(quote="")
    assert request_of(said).reading == Reading(quote="")
    assert request_of(ImportSettings(quote="'").overridden_by(said)).reading == Reading(quote="")


def test_a_pattern_in_a_folder_with_an_odd_name(tmp_path: Path) -> None:
    folder = tmp_path.resolve() / "odd [1]*"
    folder.mkdir()
    said = load(folder, '[imports.a]\nfiles = ["a.csv", "*.csv"]').imports["a"]
    odd = str(tmp_path.resolve()) + "/odd [[]1][*]"
    assert said.files == (f"{folder}/a.csv", f"{odd}/*.csv")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("imports = 1\n", "imports must be a table of tables, not 1", ""),
        ("[imports.a]\nfile = 1", "[imports.a] has an unknown key 'file'", "did you mean 'files'?"),
        ("[imports.a]\nfiles = 1", "imports.a.files must be a string or a list of strings, not 1", ""),
        ("[imports.a]\nkey = []", "imports.a.key must be a string or a list of strings, not []", ""),
        ("[imports.a]\nwhere = ''", "imports.a.where must be a string, not ''", ""),
        ("[imports.a]\nsync = 1", "imports.a.sync must be true or false, not 1", ""),
        ("[imports.a]\nsplit = ';'", "imports.a.split must be a table, not ';'", ""),
        ("[imports.a.split]\ntags = []", "imports.a.split.tags must be a string, not []", ""),
        (
            "[imports.a]\nmax_errors = -1",
            'imports.a.max_errors must be a number of rows, or a percentage such as "5%", not -1',
            "",
        ),
        (
            "[imports.a]\nmax_errors = '101%'",
            "imports.a.max_errors must be a number of rows, or a percentage such as \"5%\", not '101%'",
            "",
        ),
        ("[imports.a]\nmax_delete = 10", 'imports.a.max_delete must be a percentage: "10%", not 10', ""),
        ("[imports.a]\nformat = 'cvs'", "[imports.a]: 'cvs' is not a value of format", "did you mean 'csv'?"),
        ("[imports.a]\nunknown_columns = 'ignor'", "[imports.a]: 'ignor' is not a value of unknown_columns", "did you"),
        ("[imports.a]\non_conflict = 'keeps'", "[imports.a]: 'keeps' is not a value of on_conflict", "did you mean"),
        ("[imports.a]\nsync = true", "[imports.a]: a sync deletes what has vanished from a source, but no", "name it"),
        (
            "[imports.a]\ncollection = 'article'",
            "[imports.a]: the collection 'article' is not declared",
            "did you mean",
        ),
        (
            "[imports.a.columns]\nKopf = 'titel'",
            "[imports.a]: --map Kopf=titel: 'titel' is not a field",
            "did you mean",
        ),
        ("[imports.a.constants]\nrating = 'x'", "[imports.a]: --set rating=x: 'x' is not a number", ""),
        ("[imports.a]\nwhere = 'a ='", "[imports.a]: filter, position 3: the text ends where a value", ""),
    ],
)
def test_faults_I19_an_import_that_cannot_work_is_refused(folder: Path, text: str, message: str, hint: str) -> None:
    (folder / "config.toml").write_text("")
    if text.startswith("imports"):
        (folder / "config.toml").write_text(text)
        with pytest.raises(ConfigError) as caught:
            load_settings(folder, {})
        assert str(caught.value) == f"{folder}/config.toml: {message}"
        return
    found, its_hint = refusal(folder, text)
    assert found.startswith(message)
    assert its_hint.startswith(hint)


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.text(max_size=3))
TABLE = st.dictionaries(
    st.sampled_from(["title", "tags", "published", "id", "Kopf"]), VALUES.filter(lambda v: v is not None)
)
ENTRY = VALUES.filter(lambda v: v is not None) | TABLE


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(st.dictionaries(st.sampled_from([*IMPORT_KEYS, "other"]), ENTRY))
def test_faults_I19_any_table_is_an_import_or_a_deliberate_error(folder: Path, raw: dict[str, Any]) -> None:
    try:
        check_imports(load(folder, tomlkit.dumps({"imports": {"a": raw}})))
    except KBError as error:
        assert error.exit_code == 2


def test_an_unknown_import_gets_the_nearest(folder: Path) -> None:
    with pytest.raises(UsageError) as caught:
        named_import(load(folder, FULL), "wikki")
    assert (str(caught.value), caught.value.hint) == ("there is no import 'wikki'", "did you mean 'wiki'? valid: wiki")
    with pytest.raises(UsageError) as caught:
        named_import(load(folder, ""), "wiki")
    assert caught.value.hint == f"declare it in {folder}/config.toml: [imports.wiki]"


def test_what_is_said_later_wins_entry_by_entry() -> None:
    configured = ImportSettings(
        files=("a.csv",),
        columns={"A": "title", "B": ("body", "author"), "C": "rating"},
        constants={"category": "ml"},
        templates={"published": "{y}"},
        split={"tags": ";"},
        key=("x", "y"),
        nulls=("NULL",),
        encoding="cp1252",
        atomic=True,
        max_errors=5,
    )
    given = ImportSettings(
        columns={"A": "body", "Z": "id"},
        constants={"published": "2024-01-31"},
        templates={"category": "{c}"},
        split={"more": "|"},
        nulls=("-",),
        atomic=False,
        max_errors=0,
    )
    assert configured.overridden_by(given) == ImportSettings(
        files=("a.csv",),
        columns={"A": "body", "B": "author", "C": "rating", "Z": "id"},
        constants={"published": "2024-01-31"},
        templates={"category": "{c}"},
        split={"tags": ";", "more": "|"},
        key=(),
        nulls=("-",),
        encoding="cp1252",
        atomic=False,
        max_errors=0,
    )
    assert configured.overridden_by(ImportSettings()) == configured
    assert ImportSettings().overridden_by(configured) == configured


@pytest.mark.parametrize(("text", "value"), [("5%", 0.05), (" 0.5 % ", 0.005), ("100%", 1.0), ("0%", 0.0)])
def test_a_percentage_is_a_share(text: str, value: float) -> None:
    assert share(text) == value


@pytest.mark.parametrize("text", ["", "5", "%", "-1%", "100.1%", "1e1%", "٣%"])
def test_other_texts_are_no_percentage(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is not a percentage \(write 5%\)$"):
        share(text)


def test_a_named_import_runs_from_python(root: Path, encoder: FakeEncoder) -> None:
    (root / "config.toml").write_text(CONFIG + '[imports.a]\nfiles = "in.csv"\n[imports.a.columns]\nKopf = "title"\n')
    (root / "in.csv").write_text("id,Kopf,body,category,published\n1,A,B,ml,2024-01-31\n")
    with kb.open(root, encoders={"fake": encoder}) as base:
        articles = base.collection("articles")
        request = articles.import_request("a")
        assert request.files == (f"{root}/in.csv",)
        assert articles.run_import(request).counts == Counts(read=1, new=1, embedded=1)
        assert articles.get("1").title == "A"
