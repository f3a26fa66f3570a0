"""Folded networks give the outputs of the networks as they are."""

import pytest
import torch
from bitbook import tasks, training
from torch import nn


@pytest.mark.parametrize("name", ["digits", "mnist", "cifar10", "cifar100", "cifar10-wrn16-4", "cifar10-resnet18"])
def test_outputs_stay_and_batch_norms_go(name):
    network = tasks.get(name).network(seed=0)
    side = {"digits": 8, "mnist": 28}.get(name, 32)
    images = torch.rand(20, 1 if side < 32 else 3, side, side)
    network.train()(images)  # moves the statistics
    before = training.logits(network, images)
    folded = training.folded(network)
    assert torch.allclose(training.logits(folded, images), before, atol=1e-4)
    norms = [sum(isinstance(m, nn.BatchNorm2d) for m in net.modules()) for net in (network, folded)]
    assert norms[1] == 0 or name == "cifar10-wrn16-4"  # there batch norm comes before the convolution
    assert network.training


def test_what_cannot_be_traced_is_copied():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(2)

        def forward(self, x):
            return self.norm(x) if x.sum() > 0 else x

    network = Branching()
    folded = training.folded(network)
    assert folded is not network and not folded.training and network.training
    assert torch.equal(folded(torch.ones(1, 2, 3, 3)), network.eval()(torch.ones(1, 2, 3, 3)))
