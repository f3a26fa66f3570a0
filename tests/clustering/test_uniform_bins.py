import numpy as np
import pytest
from bitbook.clustering import sort_weights, uniform_bins


def digitized(weights, k, full_width):
    """The paper's rule, written as the paper writes it."""
    edges = np.linspace(float(weights.min()), float(weights.max()), k + full_width)
    bins = np.minimum(np.digitize(weights.astype(np.float64), edges) - 1, k - 1)
    kept, indices = np.unique(bins, return_inverse=True)
    return np.array([weights[bins == b].mean(dtype=np.float64) for b in kept]), indices


@pytest.mark.parametrize("full_width", [False, True])
@pytest.mark.parametrize("k", [2, 3, 7, 100, 1000])
def test_same_bins_as_digitize(k, full_width):
    weights = np.random.default_rng(k).standard_t(3, 5000).astype(np.float32)
    values, indices = digitized(weights, k, full_width)
    bins = uniform_bins(weights, k, full_width=full_width)
    np.testing.assert_array_equal(bins.indices, indices)
    np.testing.assert_allclose(bins.values, values, rtol=0, atol=1e-11)
    np.testing.assert_array_equal(bins.counts, np.bincount(indices))
    np.testing.assert_array_equal(np.searchsorted(bins.edges, weights, side="right") - 1, indices)
    assert bins.cost == pytest.approx(np.sum((weights - values[indices]) ** 2), rel=1e-9)
    assert bins.indices.dtype == np.min_scalar_type(len(values) - 1)


@pytest.mark.parametrize("full_width", [False, True])
def test_sorted_weights_give_the_same_bins(full_width):
    weights = np.round(np.random.default_rng(0).normal(5, 1, (40, 50)), 2).astype(np.float32)
    prepared = sort_weights(weights)
    for k in (1, 2, 9, 64, 3000):
        slow, fast = (uniform_bins(w, k, full_width=full_width) for w in (weights, prepared))
        assert slow.indices.shape == weights.shape and fast.indices is None
        np.testing.assert_array_equal(slow.counts, fast.counts)
        np.testing.assert_array_equal(slow.edges, fast.edges)
        np.testing.assert_allclose(slow.values, fast.values, rtol=1e-13)
        assert slow.cost == pytest.approx(fast.cost, rel=1e-9, abs=1e-9)


def test_hand_computed():
    weights = np.array([0.0, 1.0, 2.0, 4.0])
    paper = uniform_bins(weights, 3)  # [0, 2), [2, 4), {4}
    assert paper.values.tolist() == [0.5, 2.0, 4.0] and paper.indices.tolist() == [0, 0, 1, 2] and paper.cost == 0.5
    corrected = uniform_bins(weights, 2, full_width=True)  # [0, 2), [2, 4]
    assert corrected.values.tolist() == [0.5, 3.0] and corrected.counts.tolist() == [2, 2]
    assert uniform_bins(weights, 2).values.tolist() == [1.0, 4.0]  # [0, 4), {4}
    assert uniform_bins(weights, 1).values.tolist() == [1.75]


@pytest.mark.parametrize("k", [1, 2, 50])
def test_all_equal(k):
    bins = uniform_bins(np.full((3, 4), 0.7, np.float32), k)
    assert bins.values.tolist() == [float(np.float32(0.7))] and bins.counts.tolist() == [12]
    assert bins.cost == 0.0 and not bins.indices.any()


@pytest.mark.parametrize("bad, fault", [([], "empty"), ([1.0, np.nan], "NaN"), ([1.0, -np.inf], "infinity")])
def test_refusals(bad, fault):
    for prepare in (lambda x: uniform_bins(x, 4), sort_weights):
        with pytest.raises(ValueError, match=fault):
            prepare(np.array(bad))
    with pytest.raises(ValueError, match="k must be at least 1"):
        uniform_bins(np.ones(3), 0)
