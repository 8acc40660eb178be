"""Measures of rankings: equal to those of ir-measures; intervals; correlations."""

from __future__ import annotations

import math
import random

import ir_measures
import numpy as np
import pytest
from ir_measures import RR, R, nDCG
from scipy.stats import pearsonr, spearmanr

from kb.evaluate.metrics import Estimate, estimates, ndcg, pearson, recall, reciprocal_rank, spearman
from kb.evaluate.run import Wanted, measure


def random_case(rng: random.Random) -> tuple[list[str], dict[str, int]]:
    """A ranking of up to 30 of 60 documents, and grades of some of the 60; at least one is relevant."""
    documents = [f"d{number}" for number in range(60)]
    ranking = rng.sample(documents, rng.randint(1, 30))
    grades = {key: rng.choice([0, 0, 1, 1, 2, 3]) for key in rng.sample(documents, rng.randint(1, 25))}
    grades[rng.choice(documents)] = 1
    return ranking, grades


def test_the_measures_are_those_of_ir_measures():
    rng = random.Random(4)
    cases = {f"q{number}": random_case(rng) for number in range(300)}
    # Ties are resolved by our order: no two documents of a run have the same score.
    run = {q: {key: 1_000.0 - place for place, key in enumerate(ranking)} for q, (ranking, _) in cases.items()}
    judged = {q: grades for q, (_, grades) in cases.items()}
    names = {nDCG @ 10: "nDCG@10", R @ 1: "recall@1", R @ 5: "recall@5", R @ 20: "recall@20", RR @ 10: "MRR@10"}
    theirs = {(m.query_id, names[m.measure]): m.value for m in ir_measures.iter_calc(list(names), judged, run)}
    ours = {
        (q, name): value for q, (ranking, grades) in cases.items() for name, value in measure(ranking, grades, (1, 5, 20)).items()
    }  # fmt: skip
    assert len(ours) == 1_500
    assert ours == pytest.approx(theirs, abs=1e-9)


def test_measures_of_one_ranking():
    grades = {"a": 2, "b": 0, "c": 1}
    assert ndcg(["x", "a", "c"], grades, 10) == pytest.approx((2 / math.log2(3) + 1 / 2) / (2 + 1 / math.log2(3)))
    assert ndcg(["a", "c"], grades, 10) == 1.0
    assert (recall(["x", "a", "c"], grades, 2), recall(["b"], grades, 1)) == (0.5, 0.0)
    assert (reciprocal_rank(["b", "c"], grades, 10), reciprocal_rank(["b", "c"], grades, 1)) == (0.5, 0.0)


def test_without_anything_relevant_or_found_all_is_zero():
    wanted = Wanted().recall_at
    nothing = {"nDCG@10": 0.0, "recall@1": 0.0, "recall@5": 0.0, "recall@10": 0.0, "MRR@10": 0.0}
    assert measure(["a"], {}, wanted) == measure(["a"], {"a": 0}, wanted) == measure([], {"a": 1}, wanted) == nothing


def test_intervals_are_those_of_a_seed():
    values = np.random.default_rng(1).random((200, 2))
    found = estimates(values, seed=7)
    assert found == estimates(values, seed=7) != estimates(values, seed=8)
    for column, one in enumerate(found):
        error = values[:, column].std() / math.sqrt(200)
        assert one.mean == pytest.approx(values[:, column].mean(), abs=1e-6)
        assert (one.mean - one.low) / error == pytest.approx(1.96, abs=0.25)
        assert (one.high - one.mean) / error == pytest.approx(1.96, abs=0.25)


def test_the_same_draws_serve_all_columns():
    values = np.random.default_rng(1).random((50, 1))
    both = estimates(np.hstack([values, values + 1]), seed=0)
    assert [round(a - b, 6) for a, b in zip((both[1].mean, both[1].low, both[1].high), (both[0].mean, both[0].low, both[0].high), strict=True)] == [1.0, 1.0, 1.0]  # fmt: skip
    assert both[0] == estimates(values, seed=0)[0]


def test_one_value_has_no_spread():
    assert estimates(np.array([[0.5]]), seed=0) == [Estimate(0.5, 0.5, 0.5)]


def test_correlations_are_those_of_scipy():
    rng = np.random.default_rng(3)
    first, second = rng.integers(0, 5, 80).tolist(), rng.random(80).tolist()
    assert spearman(first, second) == pytest.approx(spearmanr(first, second).statistic)
    assert pearson(first, second) == pytest.approx(pearsonr(first, second).statistic)
    assert (spearman([1, 1], [0, 1]), pearson([0, 1], [2, 2]), spearman([1], [1])) == (None, None, None)
