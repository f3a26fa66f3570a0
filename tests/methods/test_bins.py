"""The shared bins of a network against the paper's rule worked by hand and in float64."""

import numpy as np
import pytest
from bitbook.compression import _baseline as baseline
from bitbook.methods import moea_bins


def test_bins_of_two_layers_by_hand():
    tensors = {"a": np.array([[0.0, 1.0], [2.0, 10.0]]), "b": np.array([4.0, 5.0, 5.5])}
    coded = moea_bins.shared_bins(tensors, 6)  # edges 0 2 4 6 8 10; bin [6, 8) and [8, 10) stay empty
    np.testing.assert_array_equal(coded.codebooks["shared"], np.float16([0.5, 2.0, 14.5 / 3, 10.0]))
    np.testing.assert_array_equal(coded.codes["a"].indices, [[0, 0], [1, 3]])
    np.testing.assert_array_equal(coded.codes["b"].indices, [2, 2, 2])


def test_bins_agree_with_digitize_over_all_layers():
    rng = np.random.default_rng(0)
    tensors = {name: rng.standard_t(3, size=(20, 30)).astype(np.float32) for name in "abc"}
    found = moea_bins.shared_bins(tensors, 40).decode()
    theta = np.concatenate([t.ravel() for t in tensors.values()]).astype(np.float64)
    bins = np.digitize(theta, np.linspace(theta.min(), theta.max(), 40)) - 1
    means = {b: theta[bins == b].mean() for b in np.unique(bins)}
    decoded = np.concatenate([found[name].ravel() for name in tensors])
    np.testing.assert_allclose(decoded, [np.float16(means[b]) for b in bins], rtol=0)


def test_grid_rounds_to_whole_steps():
    tensors = {"a": np.array([-0.26, 0.24, 0.26]), "b": np.array([[1.0]])}
    found = baseline.grid(tensors, 0.5).decode()
    np.testing.assert_array_equal(found["a"], np.float32([-0.5, 0.0, 0.5]))
    np.testing.assert_array_equal(found["b"], np.float32([[1.0]]))


@pytest.mark.parametrize("step", [0.0, -1.0, np.nan, 1e-9])
def test_grid_refuses_steps_that_make_no_sense(step):
    with pytest.raises(ValueError, match="step"):
        baseline.grid({"a": np.array([-1.0, 1.0])}, step)
