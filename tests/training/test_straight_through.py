"""Straight-through training against its closed form in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bitbook.clustering import kmeans1d
from bitbook.networks import bake
from bitbook.training import Refreshing
from bitbook.training._parametrisation import attach, original
from bitbook.training._straight_through import StraightThrough, straight_through
from torch import nn

WEIGHTS = torch.tensor([[-1.1, -0.9, 0.1], [0.0, 1.9, 2.1]], dtype=torch.float64)
VALUES = torch.tensor([[-1.0, -1.0, 0.05], [0.05, 2.0, 2.0]], dtype=torch.float64)  # by hand, three clusters


def three(weights):
    return kmeans1d(weights, 3)


def linear(weights=WEIGHTS):
    network = nn.Sequential(nn.Linear(weights.shape[1], weights.shape[0], bias=False).double())
    network[0].weight.data = weights.clone()
    return network


def test_forward_is_the_quantised_weight_and_the_gradient_is_the_weights_own():
    weights = WEIGHTS.clone().requires_grad_()
    outside = torch.arange(6.0, dtype=torch.float64).view(2, 3)
    (straight_through(weights, VALUES) * outside).sum().backward()
    assert torch.equal(weights.grad, outside)
    assert torch.equal(straight_through(weights.float(), VALUES.float()), VALUES.float())  # exact, also in float32


def test_one_step_moves_the_hidden_weight_by_the_gradient_at_the_quantised_one():
    network = linear()
    attach(network, "0.weight", StraightThrough(WEIGHTS, three, 3))
    torch.testing.assert_close(network[0].weight, VALUES)
    x = torch.tensor([[1.0, 2.0, -1.0]], dtype=torch.float64)
    (network(x) ** 2).sum().backward()
    expected = 2 * (VALUES @ x[0])[:, None] * x  # d/dW |Wx|^2 at the quantised W
    torch.testing.assert_close(original(network, "0.weight").grad, expected)
    bake(network)
    assert isinstance(network[0].weight, nn.Parameter)
    torch.testing.assert_close(network[0].weight.data, VALUES)


def test_a_weight_that_crosses_a_border_changes_its_cluster_until_a_refresh():
    network = linear()
    quantiser = attach(network, "0.weight", StraightThrough(WEIGHTS, three, 3))
    with torch.no_grad():
        original(network, "0.weight")[0, 0] = 1.5  # beyond the border halfway between 0.05 and 2
    assert network[0].weight[0, 0] == 2.0
    quantiser.refresh(original(network, "0.weight"))
    expected = kmeans1d(original(network, "0.weight").detach().numpy(), 3).values
    assert np.allclose(quantiser.values, expected)


def test_fewer_clusters_than_promised_are_padded_and_more_are_refused():
    quantiser = StraightThrough(WEIGHTS, three, 5)
    torch.testing.assert_close(quantiser(WEIGHTS), VALUES)
    assert quantiser.indices(WEIGHTS).tolist() == [[0, 0, 1], [1, 2, 2]]
    with pytest.raises(ValueError, match="3 clusters were found where at most 2"):
        StraightThrough(WEIGHTS, three, 2)


def test_weights_of_a_training_that_diverged_are_named_as_that():
    quantiser = StraightThrough(WEIGHTS, three, 3)
    with pytest.raises(FloatingPointError, match=r"diverged.*lower learning_rate"):
        quantiser.refresh(WEIGHTS / torch.tensor([0.0, 1.0, 1.0]))


def test_refreshes_come_at_their_steps_and_stop():
    calls = []

    def cluster(weights):
        calls.append(weights.copy())
        return kmeans1d(weights, 3)

    network = linear()
    attach(network, "0.weight", StraightThrough(WEIGHTS, cluster, 3))
    scheme = Refreshing(every=3, until=0.7)
    for step in range(1, 13):
        with torch.no_grad():
            original(network, "0.weight")[0, 0] = step
        scheme.after_step(network, step, 12)
    assert [weights[0, 0] for weights in calls[1:]] == [3, 6]  # 9 would be past 70 % of 12
