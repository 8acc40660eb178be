"""A collection whose queries are embedded by another model than its documents."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import kb
from kb.declaration import changed_recipe
from kb.embed import KNOWN_MODELS, HashingEncoder, known
from kb.errors import ConfigError, ModelMismatchError, SchemaMismatchError, UsageError
from kb.schema import Recipe
from tests.conftest import CONFIG, FakeEncoder, make

Encoders = dict[str, FakeEncoder]


@dataclass
class Asking(FakeEncoder):
    """Embeds queries like the fake model, and fixed sentences like no other."""

    model: str = "asking"
    query_prompt: str = ""

    def fingerprint(self) -> np.ndarray:
        return np.roll(self.inner.fingerprint(), 7 + self.seed, axis=-1)

    def encode_documents(self, texts: object) -> np.ndarray:
        raise AssertionError("a query model embeds no documents")


@pytest.fixture
def root(root: Path) -> Path:
    (root / "config.toml").write_text(CONFIG.replace('"fake"', '"fake"\nquery_model = "asking"'))
    return root


@pytest.fixture
def encoders() -> Encoders:
    return {"fake": FakeEncoder(), "asking": Asking()}


@pytest.fixture
def stored(root: Path, encoders: Encoders) -> Path:
    with kb.open(root, encoders=encoders) as base:
        articles = base.collection("articles")
        articles.upsert(make(articles, "a1", body="glaciers melt"), make(articles, "a2", body="tides rise"))
    return root


def test_documents_and_queries_go_to_their_own_models(stored: Path, encoders: Encoders) -> None:
    with kb.open(stored, encoders=encoders) as base:
        hits = base.collection("articles").search("glaciers melt", mode="semantic")
        recipe = base.stored_collections()[0].recipe
    assert [hit.id for hit in hits] == ["a1", "a2"]
    assert (recipe.model, recipe.query_model) == ("fake", "asking")
    assert encoders["asking"].queries == ["glaciers melt"]
    assert encoders["fake"].queries == []
    assert len(encoders["fake"].texts) == 2


def test_a_search_opens_only_the_query_model_and_a_write_only_the_other(stored: Path) -> None:
    class Unasked(FakeEncoder):
        def fingerprint(self) -> np.ndarray:
            raise AssertionError("not needed")

    with kb.open(stored, encoders={"fake": Unasked(), "asking": Asking()}) as base:
        assert len(base.collection("articles").search("glaciers", mode="semantic")) == 2
    with kb.open(stored, encoders={"fake": FakeEncoder(), "asking": Unasked("asking")}) as base:
        articles = base.collection("articles")
        assert articles.upsert(make(articles, "a3", body="winds blow")).embedded == 1


def test_another_query_model_of_the_same_name_is_refused(stored: Path) -> None:
    encoders = {"fake": FakeEncoder(), "asking": Asking(seed=3)}
    with kb.open(stored, encoders=encoders) as base, pytest.raises(ModelMismatchError) as caught:
        base.collection("articles").search("glaciers", mode="semantic")
    assert str(caught.value).startswith(
        "the model 'asking' is not the one that embeds the queries of 'articles': "
        "its answers to three fixed sentences agree to "
    )
    assert caught.value.unchanged == "nothing was searched or written"
    assert caught.value.hint == (
        "put the former weights back, or make all vectors anew, beside those that serve: kb reembed -c articles"
    )


def test_another_document_model_of_the_same_name_is_refused(stored: Path) -> None:
    encoders = {"fake": FakeEncoder(seed=1), "asking": Asking()}
    with kb.open(stored, encoders=encoders) as base:
        articles = base.collection("articles")
        with pytest.raises(ModelMismatchError, match="^the model 'fake' is not the one that made the vectors"):
            articles.upsert(make(articles, "a3"))


def test_another_prompt_of_the_query_model_is_refused(stored: Path) -> None:
    encoders = {"fake": FakeEncoder(), "asking": Asking(query_prompt="query: ")}
    with kb.open(stored, encoders=encoders) as base, pytest.raises(ModelMismatchError) as caught:
        base.collection("articles").search("glaciers", mode="semantic")
    assert str(caught.value) == (
        "the query_prompt of the model 'asking' is not the one that 'articles' was stored with: "
        "'' before, 'query: ' now"
    )


@pytest.mark.parametrize(
    ("line", "now"), [("", "the same as the model"), ('query_model = "fake"', "the same as the model")]
)
def test_a_query_model_that_is_taken_out_is_refused(stored: Path, encoders: Encoders, line: str, now: str) -> None:
    (stored / "config.toml").write_text(CONFIG.replace('"fake"', f'"fake"\n{line}'))
    with kb.open(stored, encoders=encoders) as base, pytest.raises(SchemaMismatchError) as caught:
        base.collection("articles")
    assert str(caught.value) == (
        f"the collection 'articles' was stored under another declaration: the query model was asking and is {now}"
    )
    assert caught.value.hint == (
        "put the declaration back, or make the vectors that it asks for, beside those that serve: kb reembed -c articles"
    )


def test_a_query_model_that_is_put_in_later_is_refused(root: Path, encoders: Encoders) -> None:
    declared = (root / "config.toml").read_text()
    (root / "config.toml").write_text(CONFIG)
    with kb.open(root, encoders=encoders) as base:
        articles = base.collection("articles")
        articles.upsert(make(articles))
    (root / "config.toml").write_text(declared)
    with kb.open(root, encoders=encoders) as base, pytest.raises(SchemaMismatchError) as caught:
        base.collection("articles")
    assert str(caught.value).endswith("the query model was the same as the model and is asking")


def test_both_models_have_vectors_of_one_length(root: Path, encoders: Encoders) -> None:
    class Short(Asking):
        dimension = 8  # type: ignore[assignment]

    with kb.open(root, encoders={"fake": FakeEncoder(), "asking": Short()}) as base:
        articles = base.collection("articles")
        with pytest.raises(UsageError) as caught:
            articles.upsert(make(articles))
    assert str(caught.value) == ("the query model 'asking' has 8 dimensions, the model 'fake' of 'articles' has 256")
    assert caught.value.unchanged == "nothing was stored"


def test_a_python_class_declares_a_query_model(tmp_path: Path, encoders: Encoders) -> None:
    class Note(kb.Document):
        body: kb.Text

    with kb.open(tmp_path / "new", encoders=encoders) as base:
        notes = base.collection("notes", Note, model="fake", query_model="asking")
        notes.upsert(Note(id="n1", body="glaciers melt"))
        assert notes.search("glaciers", mode="semantic")[0].id == "n1"
    # … and it is remembered, with the class and without.
    with kb.open(tmp_path / "new", encoders=encoders) as base:
        assert base.collection("notes", Note).search("glaciers", mode="semantic")[0].id == "n1"
    with kb.open(tmp_path / "new", encoders=encoders) as base:
        assert base.collection("notes").search("glaciers", mode="semantic")[0].id == "n1"
    assert encoders["asking"].queries == ["glaciers"] * 3


def test_recipes_of_before_keep_their_hash_and_their_space() -> None:
    old = '{"chunk_overlap": 32, "chunk_tokens": 256, "document_prompt": "", "model": "m", '
    old += '"query_prompt": "", "template": "{body}", "weights": 0}'
    recipe = Recipe.from_json(old)
    assert recipe == Recipe("{body}", 256, 32, "m")
    assert recipe.to_json() == old
    assert recipe.hash == "b09ab8c2115b344c8da021e90a4b7027"
    assert recipe.space == "7a41c1bd688a014854b1e9d34f825ff7"
    asked = Recipe("{body}", 256, 32, "m", query_model="q")
    assert Recipe.from_json(asked.to_json()) == asked
    assert asked.hash != recipe.hash
    # What a vector of a document depends on is the same: collections share theirs.
    assert asked.space == recipe.space


def test_the_configuration_names_prompts_and_the_query_model(tmp_path: Path) -> None:
    text = """
        [collections.a]
        model = "m"
        query_model = "./q"
        [collections.a.fields]
        body = "text"
        [models.m]
        document_prompt = "passage: "
        query_prompt = "query: "
    """
    assert tomllib.loads(text)
    (tmp_path / "config.toml").write_text(text)
    settings = kb.config.load_settings(tmp_path, {})
    assert settings.collections["a"].query_model == str(tmp_path / "q")
    assert (settings.models["m"].document_prompt, settings.models["m"].query_prompt) == ("passage: ", "query: ")
    (tmp_path / "config.toml").write_text(text.replace('"./q"', "1"))
    with pytest.raises(ConfigError, match="collections.a.query_model must be a string, not 1$"):
        kb.config.load_settings(tmp_path, {})


def test_paths_of_models_are_told_and_stored_without_detours(
    tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, root = tmp_path / "models" / "tiny", tmp_path / "base"
    model.parent.mkdir()
    root.mkdir()
    model.symlink_to(tiny_models["plain"])
    text = (
        '[collections.a]\nmodel = "../models/tiny"\n[collections.a.fields]\nbody = "text"\n'
        '[models.other]\npath = "../base/../models/tiny"\n'
    )
    (root / "config.toml").write_text(text)
    settings = kb.config.load_settings(root, {})
    # The link itself stays: what it points to may be another folder tomorrow.
    assert (settings.collections["a"].model, settings.models["other"].path) == (str(model), model)
    with kb.open(root) as base:
        a = base.collection("a")
        a.upsert(a.schema.document({"id": "1", "body": "the cat sat"}, textual=False, separators={}))
        assert base.stored_collections()[0].recipe.model == a.search("cat").model == str(model)

    class Note(kb.Document):
        body: kb.Text

    monkeypatch.chdir(root)
    with kb.open(root) as base:
        assert base.collection("notes", Note, model="../models/tiny").model == str(model)


def test_a_collection_stored_under_a_path_with_detours_is_still_the_same(
    tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    model, detour = tiny_models["plain"], f"{tmp_path}/../{tmp_path.name}/tiny"
    (tmp_path / "tiny").symlink_to(model)
    text = f'[collections.a]\nmodel = "{detour}"\n[collections.a.fields]\nbody = "text"\n'
    (tmp_path / "config.toml").write_text(text)
    declared = kb.config.load_settings(tmp_path, {}).collections["a"]
    with kb.open(tmp_path) as base:
        a = base.collection("a")
        a.upsert(a.schema.document({"id": "1", "body": "the cat sat"}, textual=False, separators={}))
        stored = base.stored_collections()[0]
    before = replace(stored, recipe=replace(stored.recipe, model=detour))
    assert (declared.model, changed_recipe(before, declared)) == (str(tmp_path / "tiny"), before.recipe)


def test_prompts_of_the_settings_reach_a_real_model(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        f'[collections.a]\nmodel = "tiny"\n[collections.a.fields]\nbody = "text"\n[models.tiny]\n'
        f'path = "{tiny_models["plain"]}"\nquery_prompt = "query: "\ndocument_prompt = "passage: "\n'
    )
    with kb.open(tmp_path) as base:
        a = base.collection("a")
        a.upsert(a.schema.document({"id": "1", "body": "the cat sat"}, textual=False, separators={}))
        recipe = base.stored_collections()[0].recipe
        encoder = base.encoder("tiny")
    assert (recipe.document_prompt, recipe.query_prompt) == ("passage: ", "query: ")
    assert (encoder.document_prompt, encoder.query_prompt) == ("passage: ", "query: ")


def test_two_tiny_models_answer_together(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        f'[collections.a]\nmodel = "{tiny_models["plain"]}"\nquery_model = "{tiny_models["other"]}"\n'
        '[collections.a.fields]\nbody = "text"\n'
    )
    with kb.open(tmp_path) as base:
        a = base.collection("a")
        a.upsert(a.schema.document({"id": "1", "body": "the cat sat"}, textual=False, separators={}))
    with kb.open(tmp_path) as base:
        hit = base.collection("a").search("the cat sat", mode="semantic")[0]
        query = base.encoder(str(tiny_models["other"])).encode_query("the cat sat")
        document = base.encoder(str(tiny_models["plain"])).encode_documents(["the cat sat"])[0]
    assert hit.score == pytest.approx(float(query @ document), abs=1e-3)


def test_the_built_in_model_as_its_own_query_model_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        '[collections.a]\nmodel = "hashing-256"\nquery_model = "hashing-256"\n[collections.a.fields]\nbody = "text"\n'
    )
    with kb.open(tmp_path) as base:
        a = base.collection("a")
        a.upsert(a.schema.document({"id": "1", "body": "the cat sat"}, textual=False, separators={}))
        stored = base.stored_collections()[0]
    assert stored.recipe.query_model == ""
    assert stored.fingerprint == HashingEncoder().fingerprint().tobytes()


def test_another_name_of_a_known_model_is_the_same_model(
    tmp_path: Path, encoders: Encoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tuple(replace(m, aliases=("made/hashing",)) if m.id == "hashing-256" else m for m in KNOWN_MODELS)
    monkeypatch.setattr(known, "KNOWN_MODELS", table)
    for model, query_model in (("made/hashing", "hashing-256"), ("hashing-256", "made/hashing")):
        (tmp_path / "config.toml").write_text(
            f'[collections.a]\nmodel = "{model}"\nquery_model = "{query_model}"\n'
            '[collections.a.fields]\nbody = "text"\n'
        )
        with kb.open(tmp_path) as base:
            a = base.collection("a")
            a.upsert(a.schema.document({"id": model, "body": "the cat sat"}, textual=False, separators={}))
            assert len(a.search("cat", mode="semantic")) >= 1
            recipe = base.stored_collections()[0].recipe
        assert (recipe.model, recipe.query_model) == ("hashing-256", "")
