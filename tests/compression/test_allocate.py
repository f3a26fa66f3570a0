"""Allocation against an exhaustive search over all choices."""

import itertools

import numpy as np
import pytest
from bitbook.compression import allocate
from hypothesis import given, settings
from hypothesis import strategies as st

TABLE = st.lists(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), min_size=3, max_size=3), min_size=1, max_size=4
)


@settings(max_examples=200)
@given(TABLE, st.integers(0, 60))
def test_optimal_for_the_bytes_that_it_takes(table, slack):
    costs, sizes = np.moveaxis(np.array(table, float), -1, 0)
    budget = sizes.min(1).sum() + slack
    chosen = allocate(costs, sizes, budget)
    rows = np.arange(len(costs))
    taken, cost = sizes[rows, chosen].sum(), costs[rows, chosen].sum()
    assert taken <= budget
    every = [np.array(c) for c in itertools.product(range(3), repeat=len(costs))]
    totals = [(sizes[rows, c].sum(), costs[rows, c].sum()) for c in every]
    best = min(c for s, c in totals if s <= budget)
    # What greedy steps along the hulls can miss is at most the gain of one step, the largest that any layer offers.
    assert cost - best <= (costs.max(1) - costs.min(1)).max()
    if budget >= sizes.max(1).sum():
        assert cost == best


def test_the_steepest_step_goes_first():
    costs, sizes = [[10, 4, 3], [10, 1, 0.5]], [[1, 2, 4], [1, 2, 4]]
    assert list(allocate(costs, sizes, 3)) == [0, 1]
    assert list(allocate(costs, sizes, 4)) == [1, 1]
    assert list(allocate(costs, sizes, 6)) == [2, 1]
    assert list(allocate(costs, sizes, 99)) == [2, 2]


def test_options_above_the_hull_are_not_taken():
    assert list(allocate([[10, 9.9, 0]], [[1, 5, 6]], 5)) == [0]


def test_a_budget_below_the_least_is_refused():
    with pytest.raises(ValueError, match="smallest options take 2 bytes"):
        allocate([[1.0], [1.0]], [[1.0], [1.0]], 1)


@pytest.mark.parametrize("costs", [[[np.nan, 1.0]], [[1.0]]])
def test_nonsense_is_refused(costs):
    with pytest.raises(ValueError, match="finite"):
        allocate(costs, [[1.0, 2.0]], 5)
