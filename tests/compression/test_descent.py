"""Coordinate descent over levels, against exhaustive search."""

import itertools

import numpy as np
import pytest
from bitbook.compression._descent import descend

LENGTHS = np.array([5.0, 3.0, 1.0, 3.0, 5.0])  # levels -2..2


def _cost(levels, weights, moments, rate_weight):
    error = levels - weights
    return error @ moments @ error + rate_weight * LENGTHS[levels + 2].sum()


@pytest.mark.parametrize("rate_weight", [0.0, 0.1])
def test_no_single_change_is_better_and_many_starts_reach_the_optimum(rate_weight):
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(4, 8))
    moments, weights = factor @ factor.T, rng.normal(size=(1, 4))
    every = np.array(list(itertools.product(range(-2, 3), repeat=4)))
    costs = [_cost(levels, weights[0], moments, rate_weight) for levels in every]
    options = {"code_lengths": LENGTHS, "rate_weight": rate_weight, "sweeps": 50}
    found = descend(every, np.repeat(weights, len(every), 0), moments, **options)
    ends = np.array([_cost(levels, weights[0], moments, rate_weight) for levels in found])
    assert (ends <= np.array(costs) + 1e-9).all()
    assert ends.min() == pytest.approx(min(costs))
    for levels, end in zip(found[:50], ends, strict=False):
        for place, level in itertools.product(range(4), range(-2, 3)):
            changed = levels.copy()
            changed[place] = level
            assert _cost(changed, weights[0], moments, rate_weight) >= end - 1e-6
