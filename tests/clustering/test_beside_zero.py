"""Zero and K values: against all splits of the signs, and hand-computed cases."""

import numpy as np
import pytest
from bitbook.clustering import clusters_beside_zero, kmeans1d


@pytest.mark.parametrize("k", [2, 3, 5, 8])
@pytest.mark.parametrize("shift", [0.0, 1.0, -2.0])
def test_least_error_of_all_splits_of_the_signs(k, shift):
    x = np.random.default_rng(k).normal(size=400) + shift
    x[::3] = 0
    found = clusters_beside_zero(x, k)
    below, above = x[x < 0], x[x > 0]
    costs = [kmeans1d(below, a).cost + kmeans1d(above, k - a).cost for a in range(1, k)]
    assert found.cost == pytest.approx(min(costs), rel=1e-12)
    assert len(found.values) == k + 1
    assert found.counts[found.values == 0] == [np.count_nonzero(x == 0)]
    assert ((found.values[found.labels] == 0) == (x == 0)).all()
    assert np.square(x - found.values[found.labels]).sum() == pytest.approx(found.cost)


def test_hand_computed():
    found = clusters_beside_zero(np.array([0, 1, 0, 3.0, -1, 9, 11], np.float32), 3)
    assert found.values.tolist() == [-1, 0, 2, 10]
    assert found.labels.tolist() == [1, 2, 1, 2, 0, 3, 3]
    assert found.borders.tolist() == [-0.5, 1, 6]


@pytest.mark.parametrize(
    "x, k, values",
    [
        ([1.0, 2.0], 2, [1, 2]),  # no zeros, no value 0
        ([-3.0, 0, -1], 1, [-2, 0]),
        ([-1.0, 0, 1], 1, [-1, 0, 1]),  # one group a sign at least
        ([0.0, 0, 5], 4, [0, 5]),
        ([0.0, 0], 3, [0]),
    ],
)
def test_few_numbers(x, k, values):
    assert clusters_beside_zero(np.array(x), k).values.tolist() == values


def test_no_group_is_an_error():
    with pytest.raises(ValueError, match="k must be at least 1, not 0"):
        clusters_beside_zero(np.ones(3), 0)
