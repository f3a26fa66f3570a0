"""Parametrised networks train, stop and resume like any other, and bake into ordinary ones."""

from __future__ import annotations

import pytest
import torch
from bitbook import datasets, networks
from bitbook.clustering import kmeans1d
from bitbook.training import Pruning, Recipe, Refreshing, StraightThrough, attach, bake, evaluate, fit, original, top1


class Interrupted(Exception):
    pass


NAMES = ["conv2.weight", "conv3.weight"]


class PrunedAndQuantised(Pruning):
    """Half of the weights pruned, eight values for what is left; raises Interrupted after a step."""

    def __init__(self, stop):
        super().__init__(final=dict.fromkeys(NAMES, 0.5), every=5, end=0.5)
        object.__setattr__(self, "stop", stop)

    def prepare(self, network):
        for name in NAMES:
            attach(network, name, StraightThrough(network.get_parameter(name), lambda w: kmeans1d(w, 8), 8))
        super().prepare(network)

    def after_step(self, network, step, steps):
        super().after_step(network, step, steps)
        Refreshing(every=5).after_step(network, step, steps)
        if step == self.stop:
            raise Interrupted

    def finish(self, network):
        return None


def train(folder, stop=None):
    """Prune and quantise a digits network while it trains; raise Interrupted after step `stop`."""
    digits = datasets.load("digits", split="train")
    network = networks.build({"factory": "digits_cnn", "arguments": {}}, seed=0)
    scheme = PrunedAndQuantised(stop)
    recipe = Recipe(epochs=6, batch_size=128, warmup=0.2)
    fit(network, digits.images, digits.labels, recipe, seed=0, scheme=scheme, folder=folder, progress=False)
    return network, NAMES


def test_pruned_and_quantised_training_resumes_and_bakes(tmp_path):
    whole, names = train(tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(tmp_path / "stopped", stop=40)
    resumed, _ = train(tmp_path / "stopped")
    assert networks.checksum(resumed.state_dict()) == networks.checksum(whole.state_dict())
    bake(whole)
    plain = networks.build(whole.specification)
    plain.load_state_dict(whole.state_dict())
    for name in names:
        weights = plain.get_parameter(name)
        assert (weights == 0).float().mean() >= 0.5
        assert len(weights[weights != 0].unique()) <= 8
    test = datasets.load("digits", split="test")
    assert evaluate(plain, test.images, test.labels, {"top1": top1})["top1"] > 0.95


def test_the_trained_parameter_is_found_parametrised_or_not():
    network = networks.build({"factory": "digits_cnn", "arguments": {}}, seed=0)
    weight = network.conv1.weight
    assert original(network, "conv1.weight") is weight
    attach(network, "conv1.weight", torch.nn.Tanh())
    assert original(network, "conv1.weight") is weight
    torch.testing.assert_close(network.conv1.weight, weight.tanh())
    with pytest.raises(AttributeError, match="conv9"):
        attach(network, "conv9.weight", torch.nn.Tanh())
