"""Fronts against exhaustive comparison and hand-computed cases."""

import numpy as np
import pytest
from bitbook.compression import bytes_at, front, nondominated, pick
from bitbook.search._sweep import Candidate
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=30))
def test_nondominated_agrees_with_comparing_all_pairs(costs):
    kept = nondominated(costs)
    costs = np.array(costs)
    distinct = {tuple(row) for row in costs}
    expected = {a for a in distinct if not any(b != a and b[0] <= a[0] and b[1] <= a[1] for b in distinct)}
    assert [tuple(costs[i]) for i in kept] == sorted(expected)


def test_nondominated_refuses_what_is_not_finite():
    with pytest.raises(ValueError, match="finite"):
        nondominated([(1.0, np.nan)])


def test_bytes_at_interpolates_in_the_logarithm_of_the_bytes():
    assert bytes_at([100, 400], [0.8, 0.9], 0.85) == pytest.approx(200)
    assert bytes_at([400, 100], [0.9, 0.8], 0.8) == pytest.approx(100)
    assert bytes_at([100, 400], [0.8, 0.9], 0.91) is None
    assert bytes_at([100, 400], [0.8, 0.9], 0.79) is None


def test_bytes_at_averages_a_wiggle_instead_of_picking_its_peak():
    # 0.90 at 100 B and 0.86 at 200 B are pooled to 0.88, so 0.89 lies beyond them, not at 100 B.
    assert bytes_at([50, 100, 200, 400], [0.80, 0.90, 0.86, 0.92], 0.90) == pytest.approx(200 * 2**0.5)


def _candidate(file_bytes, divergence):
    return Candidate(None, 8, "plain", 8, 1, 1, 1, file_bytes, divergence)


def test_pick_takes_the_least_divergence_within_the_bytes():
    candidates = [_candidate(100, 0.3), _candidate(200, 0.1), _candidate(300, 0.05), _candidate(150, 0.4)]
    assert pick(candidates, 250).file_bytes == 200
    assert pick(candidates, 99) is None
    assert [c.file_bytes for c in front(candidates)] == [100, 200, 300]
