"""Generations in the catalog, and a Chroma collection that is deleted for good."""

from __future__ import annotations

import sqlite3

import pytest

from kb import catalog as cat
from kb.catalog import engine, migrating
from kb.errors import ConflictError
from kb.schema import build_schema
from tests.conftest import make


def stored_of(articles):
    catalog, stored = articles._place()
    return catalog, stored


def begun(catalog, stored, **changes):
    from dataclasses import replace

    recipe = replace(stored.recipe, **changes)
    schema = build_schema(list(stored.schema.fields.values()), key=stored.schema.key, text=recipe.template)
    with catalog.write() as connection:
        return cat.add_generation(
            connection, stored, schema, recipe, dimension=stored.dimension, fingerprint=stored.fingerprint
        )


def test_a_generation_that_is_begun_has_every_document_to_take_over(articles):
    articles.upsert(make(articles, "a1"), make(articles, "a2"))
    catalog, stored = stored_of(articles)
    added = begun(catalog, stored, model="other")
    assert (added.name, added.state, added.recipe.model) == ("articles-g2", "building", "other")
    with catalog.read() as connection:
        assert cat.count_waiting(connection, added) == 2
        assert cat.serving(connection, stored.id) == "articles-g1"
        assert cat.building(connection, stored.id) == added
        assert cat.retired(connection, stored.id) == []
    with pytest.raises(ConflictError, match="is being built already"):
        begun(catalog, stored, model="third")


def test_edits_and_deletions_wait_for_every_generation(articles):
    articles.upsert(make(articles, "a1"), make(articles, "a2"))
    catalog, stored = stored_of(articles)
    added = begun(catalog, stored, model="other")
    with catalog.write() as connection:
        connection.exec_driver_sql("DELETE FROM index_queue")
    articles.update("a1", rating=1.0)
    articles.delete("a2")
    with catalog.read() as connection:
        part = cat.oldest(connection, stored.id, added.target, 10)
        assert part is not None
        assert [d.key for d in part.documents] == ["a1", "a2"]


def test_a_number_is_never_used_again_and_what_serves_is_never_dropped(articles):
    articles.upsert(make(articles, "a1"))
    catalog, stored = stored_of(articles)
    added = begun(catalog, stored, model="other")
    with catalog.write() as connection:
        cat.drop_generation(connection, added.id)
        assert cat.pending(connection, stored.id, added.target) == 0
        active = cat.list_generations(connection, stored.id)[0]
        with pytest.raises(ConflictError, match="'articles-g1' serves"):
            cat.drop_generation(connection, active.id)
    assert begun(catalog, stored, model="other").name == "articles-g3"


def test_faults_D1_generations_of_an_older_catalog_get_the_recipe_of_their_collection(tmp_path, monkeypatch):
    path = tmp_path / "catalog.sqlite3"
    with monkeypatch.context() as patch:
        patch.setattr(migrating, "HEAD", "0005")
        engine.open_catalog(path, version="0.1.0").close()
    connection = sqlite3.connect(path)
    connection.execute(
        "INSERT INTO collections (id, name, schema, recipe, dimension, fingerprint, generation_id, created)"
        " VALUES (1, 'a', '{s}', '{r}', 3, x'01', 7, 'then')"
    )
    connection.execute("INSERT INTO generations VALUES (7, 1, 'a-g1', 'hash', 'active', 'then')")
    connection.commit()
    connection.close()
    engine.open_catalog(path, version="0.2.0").close()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT * FROM generations").fetchall() == [
        (7, 1, "a-g1", "hash", "active", "then", "{r}", "{s}", 3, b"\1", "then", None)
    ]
    connection.close()


def test_a_dropped_chroma_collection_leaves_no_record_and_no_folder(base, articles):
    articles.upsert(make(articles, "a1"), make(articles, "a2"))
    articles.search("body", mode="semantic")
    folder = base.settings.storage / "chroma"
    assert base.indexes.generation_names() == ["articles-g1"]
    base.indexes.drop_generation("articles-g1")
    base.indexes.drop_generation("articles-g1")
    assert base.indexes.generation_names() == []
    assert [one.name for one in folder.iterdir() if one.is_dir()] == []
    database = sqlite3.connect(folder / "chroma.sqlite3")
    assert database.execute("SELECT (SELECT count(*) FROM embeddings), (SELECT count(*) FROM segments)").fetchone() == (
        0,
        0,
    )
    database.close()
