"""Masks that keep zeros, pruning by magnitude, and its schedule, by hand."""

from __future__ import annotations

import pytest
import torch
from bitbook.networks import bake
from bitbook.training._masks import Mask, Pruning, gradual_sparsity
from bitbook.training._parametrisation import attach, original
from torch import nn

WEIGHTS = torch.tensor([[0.5, -3.0, 0.25], [0.25, 2.0, -1.0]], dtype=torch.float64)


def linear():
    network = nn.Sequential(nn.Linear(3, 2, bias=False).double())
    network[0].weight.data = WEIGHTS.clone()
    return network


def test_pruned_weights_stay_zero_under_momentum_and_decay_and_others_train_as_ever():
    network = linear()
    mask = attach(network, "0.weight", Mask(WEIGHTS))
    mask.prune(WEIGHTS, 0.5)
    kept = torch.tensor([[False, True, False], [False, True, True]])
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    weights, velocity = WEIGHTS * kept, torch.zeros(2, 3, dtype=torch.float64)
    x = torch.tensor([[1.0, -1.0, 2.0]], dtype=torch.float64)
    for _ in range(4):
        optimiser.zero_grad()
        network(x).pow(2).sum().backward()
        optimiser.step()
        gradient = (2 * (weights @ x[0])[:, None] * x + 0.01 * weights) * kept
        velocity = 0.9 * velocity + gradient
        weights = weights - 0.1 * velocity
        assert (network[0].weight[~kept] == 0).all()
        torch.testing.assert_close(network[0].weight.data, weights)
    bake(network)
    torch.testing.assert_close(network[0].weight.data, weights)


def test_the_largest_magnitudes_are_kept_and_what_is_pruned_stays_so():
    mask = Mask(WEIGHTS)
    mask.prune(WEIGHTS, 1 / 6)
    assert mask.kept.tolist() == [[True, True, True], [False, True, True]]  # of two equal weights the first is kept
    mask.prune(WEIGHTS * 0 + 1, 0.5)
    assert mask.kept.tolist() == [[True, True, True], [False, False, False]]
    mask.prune(torch.tensor([[1.0, 1, 1], [9, 9, 9]]), 0.5)
    assert mask.kept.tolist() == [[True, True, True], [False, False, False]]
    mask.prune(WEIGHTS, 0.0)  # a lower sparsity brings nothing back
    assert mask.kept.sum() == 3


@pytest.mark.parametrize(
    ("progress", "expected"), [(0.0, 0.1), (0.2, 0.1), (0.4, 0.9 - 0.8 * 0.125), (0.6, 0.9), (1.0, 0.9), (0.3, 0.5625)]
)
def test_sparsity_rises_by_a_cubic(progress, expected):
    assert gradual_sparsity(progress, final=0.9, initial=0.1, begin=0.2, end=0.6) == pytest.approx(expected)


def test_pruning_reaches_each_layers_sparsity_on_time():
    network, scheme = linear(), Pruning(final={"0.weight": 0.5}, every=2, end=0.5)
    scheme.prepare(network)
    zeros = []
    for step in range(1, 13):
        scheme.after_step(network, step, 12)
        zeros.append((network[0].weight == 0).sum().item())
    # 6 x 0.5 (1 - (1 - t)^3) at t = 1/3, 2/3, 1: 2.11, 2.89, 3
    assert zeros == [0, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3]
    assert torch.equal(original(network, "0.weight").data, WEIGHTS)
