"""Schemes: channels that leave while a network trains, killed and resumed; codebooks of every family that train."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from bitbook import networks, training
from bitbook.codes import Coded, GridCode, ScalarCode, SparseCode, VectorCode
from torch import nn

BLOCKS = [f"layer{stage}.{block}.conv1" for stage in (1, 2, 3) for block in range(3)]


class Killed(Exception):
    pass


@dataclass(frozen=True)
class Halving(training.Pruning):
    """Masks on two layers; half of every block's inner channels leave after the second epoch."""

    kill: Callable[[int], None] = field(repr=False)

    def after_step(self, network, step, steps):
        self.kill(step)
        super().after_step(network, step, steps)

    def after_epoch(self, network, epoch, epochs):
        return {name: range(0, network.get_submodule(name).out_channels, 2) for name in BLOCKS} if epoch == 2 else {}


def train(folder, optimiser, kill=lambda step: None):
    """Train ResNet-20 for four epochs of six steps while it loses channels; its history."""
    arguments = {"depth": 20, "mean": [0.5] * 3, "std": [0.25] * 3}
    network = networks.build({"factory": "cifar_resnet", "arguments": arguments}, seed=0)
    images = torch.randint(0, 256, (48, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sparsity = {"layer1.0.conv1.weight": 0.5, "layer2.0.conv2.weight": 0.5}
    options = {"scheme": Halving(final=sparsity, every=4, end=1.0, kill=kill), "folder": folder, "progress": False}
    recipe = training.Recipe(
        epochs=4, batch_size=8, optimiser=optimiser, learning_rate=0.01, augmentation="crop1+flip", averaging=0.8
    )
    return training.fit(network, images, torch.arange(48) % 10, recipe, seed=0, **options)


def kill_at(last):
    def kill(step):
        if step == last:
            raise Killed

    return kill


def sigkill(step):
    if step == 15:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_channels_leave_and_a_killed_training_resumes_to_the_same_weights(tmp_path, optimiser):
    whole = train(tmp_path / "whole", optimiser)
    assert whole.network.get_submodule("layer1.0.conv1").weight.shape == (8, 16, 3, 3)
    assert whole.network.get_submodule("layer3.2.conv2").weight.shape == (64, 32, 3, 3)
    assert (whole.network.get_submodule("layer1.0.conv1").weight == 0).float().mean() > 0.4  # masks shrank, too
    rebuilt = networks.build(whole.network.specification)
    rebuilt.load_state_dict(whole.network.state_dict())
    if optimiser == "sgd":  # really killed before the channels leave, in a process of its own
        code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_scheme as test; "
        code += f"test.torch.set_num_threads({torch.get_num_threads()}); "
        code += f"test.train(test.Path({str(tmp_path / 'killed')!r}), 'sgd', test.sigkill)"
        assert subprocess.run([sys.executable, "-c", code], timeout=300).returncode == -signal.SIGKILL
    else:  # afterwards
        with pytest.raises(Killed):
            train(tmp_path / "killed", optimiser, kill_at(20))
    steps = []
    resumed = train(tmp_path / "killed", optimiser, steps.append)
    assert steps[0] == (13 if optimiser == "sgd" else 19) and resumed.loss == whole.loss
    assert networks.checksum(resumed.network.state_dict()) == networks.checksum(whole.network.state_dict())


class Depths(nn.Module):
    """A parametrisation that trains a number for each output channel, and holds a mask in the shape of the weight."""

    along: ClassVar = {"depths": 1, "mask": 2}

    def __init__(self, weights):
        super().__init__()
        self.depths = nn.Parameter(torch.ones(len(weights), 1, 1, 1).to(weights))
        self.register_buffer("mask", torch.ones_like(weights))

    def forward(self, weights):
        return weights * self.depths * self.mask


@dataclass(frozen=True)
class SilentChannels(training.Scheme):
    """Half of a layer's channels are silent from the start, and leave after the first epoch, or stay."""

    leave: bool
    gone = (0, 2, 3, 7)

    def prepare(self, network):
        network.conv1.weight.data[list(self.gone)] = 0
        network.conv1.bias.data[list(self.gone)] = 0
        training.attach(network, "conv1.weight", Depths(network.conv1.weight))
        training.attach(network, "conv2.weight", Depths(network.conv2.weight))

    def after_epoch(self, network, epoch, epochs):
        return {"conv1": self.gone} if self.leave and epoch == 1 else {}


class Two(nn.Module):
    """Two convolutions in float64."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 3).double(), nn.Conv2d(8, 4, 3).double()
        for parameter in self.parameters():
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)

    def forward(self, x):
        return torch.flatten(torch.relu(self.conv2(torch.relu(self.conv1(x)))).mean((2, 3)), 1)


def test_without_silent_channels_training_goes_on_as_with_them():
    images = torch.rand(16, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    recipe = training.Recipe(epochs=3, batch_size=4, learning_rate=0.05, weight_decay=1e-3)
    ends = {}
    for leave in (False, True):
        scheme = SilentChannels(leave)
        done = training.fit(Two(), images, torch.arange(16) % 4, recipe, seed=0, scheme=scheme, progress=False)
        ends[leave] = done.loss, done.network.state_dict()
    assert ends[True][0] == pytest.approx(ends[False][0], rel=1e-12)
    stay = [1, 4, 5, 6]
    torch.testing.assert_close(ends[True][1]["conv1.weight"], ends[False][1]["conv1.weight"][stay])
    torch.testing.assert_close(ends[True][1]["conv2.weight"], ends[False][1]["conv2.weight"][:, stay])
    torch.testing.assert_close(ends[True][1]["conv1.bias"], ends[False][1]["conv1.bias"][stay])


RNG = np.random.default_rng(0)
POSITIONS = RNG.random((4, 6)) < 0.5
POSITIONS[0, 0] ^= POSITIONS.sum() % 2 == 1
BOOKS = {"k": np.float16([-1, 0.5, 2]), "kd": RNG.normal(size=(3, 2)).astype(np.float16)}
LEFT = int(POSITIONS.sum())
FAMILIES = {
    "scalar": ScalarCode(RNG.integers(0, 3, (4, 6)), "k"),
    "scales": ScalarCode(RNG.integers(0, 3, (4, 6)), "k", np.float16([0.5, 1, 2, 0.25])),
    "vector": VectorCode(RNG.integers(0, 3, (4, 3)), "kd", (4, 6)),
    "sparse": SparseCode(POSITIONS, ScalarCode(RNG.integers(0, 3, LEFT), "k", np.float16(0.5))),
    "sparse vectors": SparseCode(POSITIONS, VectorCode(RNG.integers(0, 3, LEFT // 2), "kd", (LEFT,))),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_codebooks_of_every_family_train_by_the_mean_gradient_of_their_members(family):
    code = FAMILIES[family]
    name = getattr(code, "inner", code).codebook
    coded = Coded({"0.weight": code}, {name: BOOKS[name]})
    network, scheme = nn.Sequential(nn.Linear(6, 4).double()), training.CodebookTuning(coded)
    scheme.prepare(network)
    np.testing.assert_allclose(network[0].weight.detach(), coded.decode()["0.weight"])
    slopes = torch.from_numpy(np.random.default_rng(1).normal(size=(4, 6)))
    (network[0].weight * slopes).sum().backward()
    values = training.attached(network, training.SharedValues)["0.weight"].values
    expected, members = np.zeros(BOOKS[name].shape), coded.counts()[name]
    for entry in np.ndindex(expected.shape):  # by differences: the weights are linear in the codebook
        moved = BOOKS[name].astype(np.float32)
        moved[entry] += 1
        change = code.decode({name: moved}).astype(np.float64) - code.decode({name: BOOKS[name].astype(np.float32)})
        expected[entry] = (change * slopes.numpy()).sum() / max(members[entry[0]], 1)
    np.testing.assert_allclose(values.grad, expected, rtol=1e-5, atol=1e-6)
    assert {id(value) for group in scheme.parameters(network) for value in group["params"]} == {
        id(values),
        id(network[0].bias),
    }
    with torch.no_grad():
        values += 1
    found = scheme.finish(network)
    np.testing.assert_allclose(found.codebooks[name], BOOKS[name] + np.float16(1), rtol=2e-3)
    np.testing.assert_allclose(network[0].weight.detach(), found.decode()["0.weight"], rtol=2e-3, atol=2e-3)
    assert network[0].weight.requires_grad


def test_a_code_without_a_codebook_is_not_tuned():
    code = GridCode(np.zeros((4, 6), int), np.full(4, 2), np.zeros(4, int))
    with pytest.raises(ValueError, match=r"0\.weight: a grid code has no codebook"):
        training.CodebookTuning(Coded({"0.weight": code}, {}))


def test_a_vector_codebook_is_tuned_resumes_and_ends_in_codes(tmp_path):
    images = torch.rand(16, 6, 1, 1, generator=torch.Generator().manual_seed(0))
    coded = Coded({"1.weight": FAMILIES["vector"]}, {"kd": BOOKS["kd"]})

    def train(folder, stop=None):
        def callback(epoch, _):
            if epoch == stop:
                raise KeyboardInterrupt

        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(6, 4))
        options = {"scheme": training.CodebookTuning(coded), "folder": folder, "callback": callback}
        recipe = training.Recipe(epochs=4, batch_size=4)
        return training.fit(network, images, torch.arange(16) % 4, recipe, seed=0, progress=False, **options)

    whole = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", stop=3)
    resumed = train(tmp_path / "killed")
    assert resumed.loss == whole.loss and whole.loss[-1] < whole.loss[0]
    np.testing.assert_array_equal(resumed.coded.codebooks["kd"], whole.coded.codebooks["kd"])
    assert networks.checksum(resumed.network.state_dict()) == networks.checksum(whole.network.state_dict())
    assert resumed.coded.codes["1.weight"] is coded.codes["1.weight"]
