"""How coarse a grid each layer bears: exact curvature, layers that undo each other, outputs that are no logits."""

import copy

import numpy as np
import pytest
import torch
from bitbook import compress, training
from bitbook.compression._sensitivity import layer_scales
from torch import nn


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 4)).eval()


def _weights(network):
    return {name: value.detach().numpy() for name, value in network.named_parameters() if value.ndim > 1}


def test_scales_follow_the_exact_curvature_of_the_divergence(network):
    with torch.no_grad():
        network[0].weight.div_(4)
        network[4].weight.mul_(4)
    x, weights = 3 * torch.randn(250, 6), _weights(network)
    curvature = dict.fromkeys(weights, 0.0)
    for sample in x:  # every label of every sample, by its probability
        logs = network(sample).log_softmax(0)
        for label in logs:
            found = torch.autograd.grad(label, [network.get_parameter(name) for name in weights], retain_graph=True)
            for name, gradient in zip(weights, found, strict=True):
                curvature[name] += label.exp().item() * gradient.square().mean().item()
    scales = layer_scales(network, weights, [(x[:130],), (x[130:],)])
    ratios = {name: float(scale) ** 2 * curvature[name] for name, scale in scales.items()}
    np.testing.assert_allclose(list(ratios.values()), np.mean(list(ratios.values())), rtol=0.35)
    assert (
        sorted(scales.values())[1] == 1 and scales["0.weight"].shape == ()
    )  # the median has no other grid than before


def test_a_layer_whose_weights_the_next_one_undoes_keeps_its_levels(network):
    x, scaled = torch.randn(400, 6), copy.deepcopy(network)
    with torch.no_grad():
        scaled[0].weight.div_(4)
        scaled[0].bias.div_(4)
        scaled[2].weight.mul_(4)
    plain, other = (layer_scales(n, _weights(n), [(x,)]) for n in (network, scaled))
    relative = {name: float(other[name] / plain[name]) for name in plain}
    assert relative["2.weight"] / relative["0.weight"] == pytest.approx(16, rel=2e-3)
    target, held = training.logits(network, [(x[200:],)]), [(x[200:],)]
    losses = []
    for given in (network, scaled):
        file = compress(given, calibration=x[:200], budget=500, progress=False)
        losses.append(training.kl_divergence(target, training.logits(file.to_module(into=copy.deepcopy(given)), held)))
    assert losses[1] < 1.5 * losses[0]


def test_outputs_that_are_no_logits_and_weights_that_do_nothing():
    class Image(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 2, 3, padding=1)
            self.idle = nn.Linear(2, 2)

        def forward(self, x):
            return {"image": self.second(self.first(x)), "index": x.argmax(1)}

    torch.manual_seed(0)
    network = Image().requires_grad_(False)
    weights = _weights(network)
    with torch.inference_mode():
        scales = layer_scales(network, weights, [torch.rand(30, 1, 8, 8)])
    assert scales["idle.weight"] == 1 and scales["first.weight"] != scales["second.weight"]
    assert not any(value.requires_grad for value in network.parameters())
    network.forward = lambda x: network.second(network.first(x)).argmax(1).float()
    assert layer_scales(network, weights, [torch.rand(30, 1, 8, 8)]) == {}
