"""The charges, by hand and against the entropy of real levels."""

import math

import numpy as np
import pytest
import torch
from bitbook import networks, training
from bitbook.codes import entropy_bits
from bitbook.methods.self_compression import LearnedDepth, size
from bitbook.methods.self_compression._size import _entropy, channel_values
from bitbook.networks import channel_graph
from torch import nn


def with_depths(network, depths):
    for name, values in depths.items():
        weights = training.original(network, f"{name}.weight")
        layer = training.attach(network, f"{name}.weight", LearnedDepth(weights))
        with torch.no_grad():
            layer.depths.copy_(torch.tensor(values))
    return network


def chain():
    """Two convolutions and a linear layer behind a flattened map of four pixels."""
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 3, 2, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)
    )


def test_equations_4_and_5_by_hand():
    network = with_depths(chain(), {"0": [2.0, 0.0], "2": [1.0, 3.0, 0.0], "5": [4.0, 4.0]})
    starting = 2 * 9 + 6 * 4 + 24
    plain = 9 * 2.0 + 2 * 4 * 4.0 + 12 * 8.0
    assert size(network, "depth").item() == pytest.approx(plain / starting)
    # conv 0 reads the images; conv 2: one of two inputs has bits; linear: 8 of its 12 features, four pixels each
    first, second, third = 9 * 2.0, 4 * (1 * 4.0 + 2 * 2.0), 8 * 8.0 + 2 * 4 * 4.0
    found = size(network, "depth and inputs", channel_graph.trace(network))
    assert found.item() == pytest.approx((first + second + third) / starting)
    found.backward()
    layers = training.attached(network, LearnedDepth)
    assert layers["5.weight"].depths.grad.tolist() == pytest.approx([8 / starting] * 2)
    assert layers["0.weight"].depths.grad.tolist() == pytest.approx([(9 + 4 * 2) / starting, 0.0])  # relu at zero


def test_a_sum_needs_the_deeper_of_its_channels():
    network = networks.build({"factory": "resnet9", "arguments": {"mean": [0.5] * 3, "std": [0.2] * 3}}, seed=0)
    graph = channel_graph.trace(network)
    own = {name: torch.full((len(ids),), float(place)) for place, (name, ids) in enumerate(graph.layers.items())}
    values = channel_values(graph, own)
    sums = [step for step in graph.steps if step.kind == "sum"]
    assert len(sums) == 2
    for step in sums:
        terms = [values[torch.from_numpy(ids)] for ids in step.operand_ids]
        assert values[torch.from_numpy(step.ids)].tolist() == torch.maximum(*terms).tolist()


@pytest.mark.parametrize("scale", [0.05, 0.5, 3.0])
def test_charged_entropy_is_a_tight_bound_of_the_real_one(scale):
    generator = np.random.default_rng(0)
    for draw in (generator.laplace, generator.normal):
        r = np.rint(draw(0, scale, 200_000)).astype(int)
        real = entropy_bits(np.bincount(r - r.min())) / r.size
        charged = _entropy(torch.tensor(r, dtype=torch.float64)).item()
        assert real <= charged + 1e-4 and charged <= real + 0.3
    m = 0.7  # against the entropy of the distribution itself, summed up
    t = m / (1 + math.sqrt(1 + m * m))
    p = np.array([t ** abs(r) for r in range(-200, 201)])
    p /= p.sum()
    assert (p * np.abs(np.arange(-200, 201))).sum() == pytest.approx(m)
    exact = -(p * np.log2(p)).sum()
    assert _entropy(torch.tensor([m], dtype=torch.float64)).item() == pytest.approx(exact)
