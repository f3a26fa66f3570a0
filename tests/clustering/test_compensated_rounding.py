"""Compensated rounding against plain rounding, a float64 rendering of the update rule, and its own promise."""

import numpy as np
import pytest
from bitbook.clustering import compensated_rounding, input_factor


def _layer(seed, outputs=7, inputs=12):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(inputs, inputs))
    x = rng.normal(size=(400, inputs)) @ mixing  # correlated inputs
    return rng.normal(size=(outputs, inputs)), x.T @ x


def _output_error(weights, moments, rounded):
    difference = weights - rounded
    return np.einsum("oi,ij,oj->", difference, moments, difference)


def test_independent_inputs_give_nearest_rounding():
    weights, _ = _layer(0)
    values = np.linspace(-3, 3, 13)
    indices = compensated_rounding(weights, np.diag(np.arange(1.0, 13.0)), values)
    np.testing.assert_array_equal(indices, np.abs(weights[..., None] - values).argmin(-1))


@pytest.mark.parametrize("seed", range(5))
def test_outputs_come_out_closer_than_with_nearest_rounding(seed):
    weights, moments = _layer(seed)
    values = np.linspace(-3, 3, 13)
    nearest = values[np.abs(weights[..., None] - values).argmin(-1)]
    ours = values[compensated_rounding(weights, moments, values)]
    assert _output_error(weights, moments, ours) < 0.7 * _output_error(weights, moments, nearest)


def test_agrees_with_solving_for_the_remaining_columns_each_time():
    """After each column, the later ones are what minimises the output error given all columns rounded so far."""
    weights, moments = _layer(3)
    values = np.linspace(-3, 3, 13)
    damping = 0.01 * np.diagonal(moments).mean()
    h = moments + damping * np.eye(len(moments))
    order = np.argsort(-np.diagonal(moments), kind="stable")
    expected = np.empty(weights.shape, int)
    for row, w in enumerate(weights):
        current = w.copy()
        done = []
        for j in order:
            expected[row, j] = np.abs(current[j] - values).argmin()
            current[j] = values[expected[row, j]]
            done.append(j)
            rest = [i for i in order if i not in done]
            if rest:
                error = w[done] - current[done]
                current[rest] = w[rest] + np.linalg.solve(h[np.ix_(rest, rest)], h[np.ix_(rest, done)] @ error)
    np.testing.assert_array_equal(compensated_rounding(weights, moments, values), expected)


def test_a_rate_weight_lowers_the_bits():
    weights, moments = _layer(1, outputs=200)
    values = np.linspace(-3, 3, 25)
    free = compensated_rounding(weights, moments, values)
    counts = np.bincount(free.ravel(), minlength=25) + 0.05
    lengths = np.log2(counts.sum() / counts)
    weighted = compensated_rounding(weights, moments, values, code_lengths=lengths, rate_weight=0.1)
    assert lengths[weighted].sum() < 0.98 * lengths[free].sum()


def test_dead_inputs_do_no_harm():
    weights, moments = _layer(2)
    moments[4] = moments[:, 4] = 0
    values = np.linspace(-3, 3, 13)
    assert (
        np.abs(weights[:, 4, None] - values).argmin(-1) == compensated_rounding(weights, moments, values)[:, 4]
    ).all()
    np.testing.assert_array_equal(
        compensated_rounding(weights, np.zeros_like(moments), values), np.abs(weights[..., None] - values).argmin(-1)
    )


@pytest.mark.parametrize(
    "change", [{"values": [0.0, 0.0, 1.0]}, {"values": [0.0, np.nan]}, {"moments": np.eye(3)}, {"code_lengths": [1.0]}]
)
def test_nonsense_is_refused(change):
    weights, moments = _layer(0)
    arguments = {"weights": weights, "moments": moments, "values": np.linspace(-3, 3, 5)} | change
    with pytest.raises(ValueError, match=r"values|moments|code_lengths"):
        compensated_rounding(**arguments)


def test_moments_factored_beforehand_give_the_same_indices():
    rng = np.random.default_rng(5)
    weights, inputs = rng.normal(size=(4, 12)), rng.normal(size=(12, 40))
    moments, values = inputs @ inputs.T, np.linspace(-2, 2, 6)
    factor = input_factor(moments, damping=0.05)
    expected = compensated_rounding(weights, moments, values, damping=0.05)
    np.testing.assert_array_equal(compensated_rounding(weights, factor, values), expected)
    with pytest.raises(ValueError, match="12 inputs"):
        compensated_rounding(weights, input_factor(moments[:5, :5]), values)
    with pytest.raises(ValueError, match="finite"):
        input_factor(moments[:, :3])
