"""Recall and time of indexes on a collection's own vectors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

import kb
from kb.errors import UsageError
from kb.evaluate.bench_index import SIMILARITY, IndexBench, NotMeasured, _moved
from kb.evaluate.plots import recall_plot
from tests.conftest import Ran, make

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WORDS = "apple brick cloud dune ember flute grain harbour iron jade kelp lamp moss nail oak pearl quartz reed".split()


def fill(collection: kb.Collection, count: int, body: str | None = None) -> None:
    random = np.random.default_rng(1)
    made = [
        make(collection, f"a{n}", title=f"t{n}", body=body or " ".join(random.choice(WORDS, 6))) for n in range(count)
    ]
    collection.upsert(*made)


def settings(found: IndexBench) -> list[tuple[str, str]]:
    return [(one.index, one.setting) for one in found.measured]


def test_every_index_is_measured_against_exact_search(articles: kb.Collection) -> None:
    fill(articles, 200)
    found = articles.bench_index(queries=50, seed=3)
    assert (found.collection, found.vectors, found.dimension, found.queries) == ("articles", 200, 256, 50)
    assert (found.k, found.lists, found.similarity, found.seed, found.missing) == (10, 5, 0.8, 3, ())
    exact, chroma, flat, *inverted = found.measured
    assert [exact.index, chroma.index, flat.index] == ["exact", "Chroma HNSW", "FAISS FlatIP"]
    assert (exact.recall, flat.recall, inverted[-1].recall) == (1.0, 1.0, 1.0)
    assert chroma.recall > 0.95
    assert [one.setting for one in inverted] == [f"nprobe {n}" for n in (1, 2, 4, 5)][: len(inverted)]
    assert [one.recall for one in inverted] == sorted(one.recall for one in inverted)
    assert inverted[0].recall < 1
    assert all(0 < one.p50 <= one.p95 for one in found.measured)
    assert [one.build is None for one in found.measured] == [False, True, False, *[False] * len(inverted)]
    assert (exact.bytes, flat.bytes, inverted[0].bytes) == (204_800, 204_800, 204_800 + 8 * 200 + 4 * 5 * 256)


def test_a_seed_asks_the_same_queries_again(articles: kb.Collection) -> None:
    fill(articles, 200)
    first, again, other = (articles.bench_index(queries=20, k=3, seed=seed) for seed in (1, 1, 2))
    assert [one.recall for one in first.measured] == [one.recall for one in again.measured]
    assert [one.recall for one in first.measured] != [one.recall for one in other.measured]


def test_a_query_is_moved_by_an_exact_angle_and_never_finds_itself() -> None:
    random = np.random.default_rng(0)
    matrix = random.standard_normal((300, 16)).astype(np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    origins = np.arange(0, 300, 7)
    queries = _moved(matrix, origins, random)
    assert np.allclose(np.einsum("ij,ij->i", queries, matrix[origins]), SIMILARITY, atol=1e-6)
    assert np.allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-6)
    same = _moved(np.tile(matrix[:1], (5, 1)), np.arange(5), random)
    assert np.allclose(same @ matrix[0], SIMILARITY, atol=1e-6)


def test_any_of_equal_neighbours_is_right(articles: kb.Collection) -> None:
    made = [make(articles, f"a{n}", title="same", body="The same text.") for n in range(100)]
    articles.upsert(*made)
    found = articles.bench_index(queries=10)
    assert [one.recall for one in found.measured if one.index in ("exact", "FAISS FlatIP")] == [1.0, 1.0]


def test_a_collection_of_five_has_four_other_neighbours_and_no_lists(articles: kb.Collection) -> None:
    fill(articles, 5)
    found = articles.bench_index()
    assert (found.vectors, found.queries, found.k, found.lists) == (5, 5, 4, 0)
    assert settings(found) == [("exact", ""), ("Chroma HNSW", ""), ("FAISS FlatIP", "")]
    assert [one.recall for one in found.measured] == [1.0, 1.0, 1.0]
    assert found.missing == (NotMeasured("FAISS IVFFlat", "5 vectors are too few for two lists of 39"),)


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (0, "'articles' is empty; there is nothing to measure"),
        (1, "'articles' has 1 vector; there is nothing to compare"),
    ],
)
def test_less_than_two_vectors_are_an_error(articles: kb.Collection, count: int, message: str) -> None:
    fill(articles, count) if count else None
    with pytest.raises(UsageError) as error:
        articles.bench_index()
    assert (str(error.value), error.value.hint) == (message, "import some documents first")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k is 0; it must be from 1 to 100"),
        ({"queries": 10_001}, "queries is 10001; it must be from 1 to 10,000"),
    ],
)
def test_numbers_out_of_range_are_an_error(articles: kb.Collection, options: dict[str, int], message: str) -> None:
    fill(articles, 3)
    with pytest.raises(UsageError) as error:
        articles.bench_index(**options)
    assert str(error.value) == message


def test_an_index_that_another_process_owns_is_left_out_with_the_reason(run_kb: Callable[..., Ran], root: Path) -> None:
    with kb.open(root) as base:
        fill(base.collection("articles"), 12)
        done = run_kb("bench", "index", "--format", "json")
    found = json.loads(done.out)
    assert [one["index"] for one in found["measured"]] == ["exact", "FAISS FlatIP"]
    (chroma, _) = found["missing"]
    assert chroma["index"] == "Chroma HNSW"
    assert chroma["reason"].startswith("the index is owned by ")
    assert chroma["reason"].endswith("; end it, and run this again")
    assert done.code == 0


def test_a_picture_is_drawn_of_the_same_figures(articles: kb.Collection) -> None:
    fill(articles, 100)
    found = articles.bench_index(queries=5)
    png = recall_plot(found)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert png == recall_plot(found)


def test_the_command_prints_a_table_rows_or_an_object(run_kb: Callable[..., Ran], root: Path, tmp_path: Path) -> None:
    with kb.open(root) as base:
        fill(base.collection("articles"), 100)
    table = run_kb("bench", "index", "--queries", "5", "--format", "table", "--plot", "p.png", COLUMNS="80")
    assert table.err == "wrote p.png\n"
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
    lines = table.out.splitlines()
    assert lines[0].split() == ["index", "recall", "p50", "ms", "p95", "ms", "build", "s", "MB"]
    assert [line.split("  ")[0] for line in lines[2:5]] == ["exact", "Chroma HNSW", "FAISS FlatIP"]
    assert lines[-2:] == [
        "100 vectors of 256 dimensions; recall@10 of 5 queries, one at a time, one thread",
        "IVFFlat: 2 lists, of which nprobe are searched",
    ]
    assert max(map(len, lines)) <= 80
    rows = run_kb("bench", "index", "--queries", "5", "-k", "120")
    assert (rows.code, rows.err) == (2, "error: k is 120; it must be from 1 to 100\n  nothing was measured\n")
    refused = run_kb("bench", "index", "--plot", "p.png")
    assert refused.code == 1
    assert refused.err.startswith(f"error: {tmp_path / 'p.png'} exists already\n")
    wrong = run_kb("bench", "index", "--plot", "p.svg")
    message = "error: --plot writes PNG, but p.svg ends in .svg\n  kb bench index --help shows how\n"
    assert (wrong.code, wrong.out, wrong.err) == (2, "", message)
    csv = run_kb("bench", "index", "--queries", "5", "--format", "csv").out.splitlines()
    assert csv[0] == "index,setting,recall,p50,p95,build,bytes,missing"
    assert csv[1].startswith("exact,,1.0,")
