"""The default method: the budget is kept, outputs come out closer than by nearest levels, odd layers are left alone."""

import copy

import numpy as np
import pytest
import torch
from bitbook import tasks, training
from bitbook.compression import assemble, baseline
from bitbook.compression._grid_search import InTurn, _levels, finest_grid
from bitbook.compression._sequential import round_in_turn, watchable
from torch import nn


@pytest.fixture(scope="module")
def digits():
    task = tasks.get("digits")
    network, train = task.network(seed=0), task.train()
    recipe = training.Recipe(epochs=4, batch_size=64, augmentation="crop1")
    training.fit(network, train.images, train.labels, recipe, seed=0, progress=False)
    return network.eval(), training.inputs(network, task.calibration(600, seed=0))


def _weights(network):
    return {name: v.detach().numpy() for name, v in network.named_parameters() if v.ndim > 1}


def _finest(network, images, budget):
    weights = _weights(network)
    rounding = InTurn(network, weights, images, watchable(network, images))
    return finest_grid(network, weights, budget, rounding, calibration=[(images,)], progress=False)


def test_the_budget_is_kept_and_nearly_used(digits):
    network, images = digits
    before, held = copy.deepcopy(network.state_dict()), images[300:]
    target = training.logits(network, held)
    for budget in (3000, 4500):
        found = _finest(network, images[:300], budget)
        assert 0.97 * budget < len(found.to_bytes()) <= budget
        step = float(np.diff(found.codebooks["grid"].astype(np.float64)).mean())
        nearest = assemble(network, baseline.grid(_weights(network), step), calibration=[(images[:300],)])
        ours, plain = (
            training.kl_divergence(target, training.logits(file.to_module(), held)) for file in (found, nearest)
        )
        assert ours < plain
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_impossible_budgets_are_refused(digits):
    network, images = digits
    with pytest.raises(ValueError, match="give a larger budget"):
        _finest(network, images[:50], 10)


def test_an_ample_budget_gives_a_grid_as_fine_as_there_is(digits):
    network, images = digits
    step = np.diff(_finest(network, images[:20], 10**6).codebooks["grid"].astype(np.float64)).mean()
    assert step < 1e-3 * np.std(_weights(network)["conv1.weight"])


def test_a_lone_layer_is_best_for_centred_inputs_and_its_bias_keeps_the_mean():
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    x = torch.rand(400, 3) + torch.tensor([5.0, 0.0, 2.0])
    step, found = 0.3, {}

    def round_layer(name, weights, moments):
        found[name] = _levels(weights / step, moments[0], np.ones(201), rate_weight=0.0)  # levels -100..100, all alike
        return found[name] * step

    biases = round_in_turn(nn.Sequential(layer), x, {"0.weight": True}, round_layer)
    weight, spread = layer.weight.detach().numpy().astype(np.float64), np.cov(x.numpy().T, bias=True)
    axis = np.arange(-4, 5)
    every = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(-1, 3) * step
    for row, levels in zip(weight, found["0.weight"], strict=True):
        errors = every - row
        costs = np.einsum("ni,ij,nj->n", errors, spread, errors)
        error = levels * step - row
        assert error @ spread @ error <= 1.3 * costs.min()
    rounded = torch.from_numpy(found["0.weight"] * step).float()
    mean = nn.functional.linear(x, rounded, biases["0.bias"]).mean(0)
    torch.testing.assert_close(mean, layer(x).mean(0).detach(), rtol=1e-4, atol=1e-4)


def test_what_can_be_watched():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2)
            self.bare = nn.Conv2d(2, 2, 1, bias=False)
            self.twice = nn.Linear(4, 4)
            self.idle = nn.Linear(4, 4)
            self.mixed = nn.Linear(4, 4)
            self.wide = nn.Linear(9000, 4)

        def forward(self, x):
            y = self.bare(self.norm(self.conv(x)).relu()).mean((2, 3))
            y = self.twice(self.twice(torch.cat([y, y], 1)))
            y = y + self.wide(y.repeat(1, 2250))
            return y + self.mixed(y.flip(0).cumsum(0))  # what it sees of one image depends on the others

    assert watchable(Network(), torch.rand(4, 1, 6, 6)) == {"conv.weight": True, "bare.weight": False}
