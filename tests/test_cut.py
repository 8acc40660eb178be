"""Where an answer ends: the bounds, and the largest jump."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kb.errors import QueryError
from kb.search import Cut
from kb.search.cut import largest_jump

SCORES = st.floats(-1, 1)


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        ({"min_score": 1.5}, "min_score must be from -1 to 1, not 1.5"),
        ({"max_score": -2.0}, "max_score must be from -1 to 1, not -2"),
        ({"min_score": float("nan")}, "min_score must be from -1 to 1, not nan"),
        ({"min_score": 0.5, "max_score": 0.4}, "min_score 0.5 is above max_score 0.4: nothing can be both"),
        ({"within": 0.0}, "within must be above 0 and at most 1, not 0"),
        ({"within": 1.1}, "within must be above 0 and at most 1, not 1.1"),
        ({"within": float("nan")}, "within must be above 0 and at most 1, not nan"),
    ],
)
def test_faults_G8_bounds_out_of_range_are_refused(cut, message):
    with pytest.raises(QueryError) as refused:
        Cut(**cut)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("cut", "best", "bound"),
    [
        (Cut(), 0.8, None),
        (Cut(min_score=0.3), 0.8, 0.3),
        (Cut(within=0.75), 0.8, 0.6),
        (Cut(min_score=0.7, within=0.75), 0.8, 0.7),
        (Cut(min_score=0.1, within=0.75), 0.8, 0.6),
        (Cut(within=0.5), -0.2, -0.3),
        (Cut(min_score=0.3, within=0.5), None, 0.3),
    ],
)
def test_the_bound_is_the_higher_of_the_fixed_and_the_relative_one(cut, best, bound):
    assert cut.bound(best) == (None if bound is None else pytest.approx(bound))


@given(st.floats(0.01, 1), SCORES)
def test_the_best_document_is_always_within(share, best):
    assert Cut(within=share).bound(best) <= best


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ([], 0),
        ([0.9], 1),
        ([0.9, 0.1], 2),
        ([0.9, 0.88, 0.5, 0.48], 2),
        ([0.9, 0.5, 0.48, 0.46, 0.45], 1),
        ([0.5, 0.4, 0.3, 0.2, 0.1], 5),
        ([0.7, 0.7, 0.7, 0.7], 4),
        ([0.9, 0.9, 0.5, 0.5, 0.1, 0.1], 2),
    ],
)
def test_an_answer_stops_at_the_largest_jump_but_not_on_an_even_slope(scores, kept):
    assert largest_jump(scores) == kept


@given(st.lists(SCORES, min_size=1))
def test_at_least_the_best_is_kept(scores):
    assert 1 <= largest_jump(sorted(scores, reverse=True)) <= len(scores)
