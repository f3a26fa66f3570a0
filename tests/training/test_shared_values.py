"""Gradients of shared values against the sum over members in float64."""

from __future__ import annotations

import torch
from bitbook.networks import bake
from bitbook.training._parametrisation import attach
from bitbook.training._shared_values import SharedValues, lookup
from torch import nn

RNG = torch.Generator().manual_seed(0)


def test_a_scalar_values_gradient_is_the_sum_over_its_members():
    values = torch.tensor([0.5, -1.0, 3.0, 7.0], dtype=torch.float64, requires_grad=True)
    indices = torch.tensor([[0, 1, 0], [2, 2, 0]])  # nobody has value 3
    outside = torch.tensor([[1.0, 2, 4], [8, 16, 32]], dtype=torch.float64)
    weights = lookup(values, indices)
    assert weights.tolist() == [[0.5, -1.0, 0.5], [3.0, 3.0, 0.5]]
    (weights * outside).sum().backward()
    assert values.grad.tolist() == [37.0, 2.0, 24.0, 0.0]


def test_codewords_of_vectors_too():
    values = torch.randn(3, 4, dtype=torch.float64, generator=RNG, requires_grad=True)
    indices = torch.randint(0, 3, (5, 2), generator=RNG)
    assert torch.autograd.gradcheck(lambda v: lookup(v, indices), values)


def test_long_sums_of_small_gradients_keep_their_precision():
    values = torch.zeros(1, requires_grad=True)
    indices = torch.zeros(10_000_000, dtype=torch.long)
    lookup(values, indices).backward(torch.full((10_000_000,), 0.1))
    expected = torch.tensor(0.1).double().item() * 10_000_000
    assert abs(values.grad.item() - expected) < 0.05  # a running sum in float32 is off by more than 80,000


def test_one_codebook_serves_several_layers_and_trains_for_all():
    network = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(2, 3, bias=False)).double()
    values = nn.Parameter(torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64))
    indices = [torch.randint(0, 3, module.weight.shape, generator=RNG) for module in network]
    for i in (0, 1):
        attach(network, f"{i}.weight", SharedValues(values, indices[i]))
    x = torch.randn(4, 3, dtype=torch.float64, generator=RNG)
    network(x).pow(2).sum().backward()
    dense = [values.detach()[index].requires_grad_() for index in indices]
    (x @ dense[0].T @ dense[1].T).pow(2).sum().backward()
    expected = sum(
        torch.stack([(w.grad * (i == k)).sum() for k in range(3)]) for w, i in zip(dense, indices, strict=True)
    )
    torch.testing.assert_close(values.grad, expected)
    torch.optim.SGD(network.parameters(), lr=0.1, weight_decay=0.1).step()
    bake(network)
    moved = torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64)
    moved = moved - 0.1 * (expected + 0.1 * moved)
    for module, index in zip(network, indices, strict=True):
        torch.testing.assert_close(module.weight.data, moved[index])
