"""Output positions: counts by hand and the multiplications that torchvision publishes."""

from __future__ import annotations

import pytest
import torch
import torchvision
from bitbook import networks
from torch import nn

NORM = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}


def test_lenet5_by_hand():
    specification = {"factory": "lenet5", "arguments": {}}
    found = networks.output_positions(networks.build(specification), networks.image_shape(specification))
    assert [positions for positions, _ in found.values()] == [24 * 24, 8 * 8, 1, 1]


@pytest.mark.parametrize(("name", "weights"), [("resnet18", "ResNet18"), ("mobilenet_v2", "MobileNet_V2")])
def test_multiplications_are_those_that_torchvision_publishes(name, weights):
    specification = {"factory": "torchvision", "arguments": {"name": name, "classes": 1000, **NORM}}
    network = networks.build(specification)
    found = networks.output_positions(network, networks.image_shape(specification))
    parameters = dict(network.named_parameters())
    total = sum(parameters[name].numel() * positions for name, (positions, _) in found.items())
    published = getattr(torchvision.models, f"{weights}_Weights").DEFAULT.meta["_ops"]
    assert total / 1e9 == pytest.approx(published, abs=0.002)


def test_groups_and_a_layer_that_is_used_twice():
    conv = nn.Conv2d(4, 4, 3, padding=1, groups=2)
    network = nn.Sequential(conv, conv).train()
    assert networks.output_positions(network, (4, 5, 5)) == {"0.weight": (50, 2)}
    assert network.training and not conv._forward_hooks


def test_shapes_of_images():
    small = {"factory": "torchvision", "arguments": {"small_images": True}}
    assert networks.image_shape(small) == networks.image_shape({"factory": "cifar_resnet"}) == (3, 32, 32)
    assert networks.image_shape({"factory": "shrunk", "arguments": {"of": {"factory": "lenet5"}}}) == (1, 28, 28)


def test_no_gradients_are_kept():
    network = nn.Sequential(nn.Linear(4, 2))
    networks.output_positions(network, (4,))
    assert all(p.grad is None for p in network.parameters()) and torch.is_grad_enabled()
