"""Re-estimated batch-norm statistics against their closed form in float64."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from bitbook import networks
from bitbook.training import reestimate_batch_norm, sample
from torch import nn


def test_statistics_are_the_weighted_average_over_batches():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(70, 3, 4, 4, dtype=torch.float64, generator=generator) * 3 + 1
    first, second = nn.BatchNorm2d(3, momentum=0.25).double(), nn.BatchNorm2d(3).double()
    nn.init.uniform_(first.weight, 1, 2)
    network = nn.Sequential(first, nn.ReLU(), nn.Dropout(0.9), second).eval()
    reestimate_batch_norm(network, sample(images, 50, policy="none", seed=5), batch_size=20)

    mean, variance = torch.zeros(2, 3, dtype=torch.float64), torch.zeros(2, 3, dtype=torch.float64)
    for batch in sample(images, 50, policy="none", seed=5).split(20):  # 20, 20 and 10 images
        normalised = (batch - batch.mean((0, 2, 3), keepdim=True)) / (
            batch.var((0, 2, 3), correction=0, keepdim=True) + first.eps
        ).sqrt()
        hidden = (normalised * first.weight.view(1, 3, 1, 1)).relu()  # dropout does nothing in evaluation mode
        for layer, values in enumerate((batch, hidden)):
            mean[layer] += values.mean((0, 2, 3)) * len(batch) / 50
            variance[layer] += values.var((0, 2, 3)) * len(batch) / 50
    for layer, module in enumerate((first, second)):
        torch.testing.assert_close(module.running_mean, mean[layer], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(module.running_var, variance[layer], rtol=1e-12, atol=1e-12)
    assert (first.momentum, second.momentum) == (0.25, 0.1)
    assert not any(module.training for module in network.modules())


def test_float32_networks_agree_with_float64_ones():
    single = networks.build({"factory": "digits_cnn", "arguments": {}}, seed=0)
    double = networks.build({"factory": "digits_cnn", "arguments": {}}, seed=0).double()
    images = torch.randint(0, 256, (300, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for network in (single, double):
        reestimate_batch_norm(network, sample(images, 400, policy="crop1", seed=1), batch_size=100)
    for name, value in double.state_dict().items():
        assert single.state_dict()[name].numpy() == pytest.approx(value.numpy(), rel=1e-4, abs=1e-5), name
        if name.endswith("running_var"):
            assert (value != 1).all()


def test_an_interruption_leaves_the_momentum_as_it_was():
    layer = nn.BatchNorm2d(3, momentum=0.25)

    def interrupt(*_):
        raise KeyboardInterrupt

    layer.register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        reestimate_batch_norm(layer.eval(), torch.rand(4, 3, 2, 2))
    assert layer.momentum == 0.25 and not layer.training


def test_a_network_without_batch_norm_is_left_alone():
    network = networks.build({"factory": "lenet5", "arguments": {}}, seed=0)
    before = networks.checksum(network.state_dict())
    reestimate_batch_norm(network, torch.zeros(1, 1, 28, 28, dtype=torch.uint8))
    assert networks.checksum(network.state_dict()) == before


def test_a_batch_norm_that_is_used_twice_gets_the_average_over_its_uses():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(2)

        def forward(self, x):
            return self.norm(x) + self.norm(3 * x + 1)

    network, x = Twice().double(), torch.randn(60, 2, dtype=torch.float64)
    reestimate_batch_norm(network, x, batch_size=60)
    uses = (x, 3 * x + 1)
    torch.testing.assert_close(network.norm.running_mean, sum(use.mean(0) for use in uses) / 2)
    torch.testing.assert_close(network.norm.running_var, sum(use.var(0) for use in uses) / 2)


def test_batches_of_arguments_count_by_their_length_and_a_batch_of_one_is_refused():
    network, x = nn.Sequential(nn.BatchNorm1d(2)).double(), torch.randn(50, 2, dtype=torch.float64)
    reestimate_batch_norm(network, [(x[:40],), {"input": x[40:]}])
    expected = (x[:40].var(0) * 40 + x[40:].var(0) * 10) / 50
    torch.testing.assert_close(network[0].running_var, expected)
    with pytest.raises(ValueError, match="larger batches"):
        reestimate_batch_norm(network, [(x[:1],)])


def test_every_count_of_images_serves_but_none_and_none_that_is_not_finite():
    network, images = torch.nn.Sequential(torch.nn.BatchNorm1d(2)), torch.randn(201, 2)
    reestimate_batch_norm(network, images, batch_size=200)
    torch.testing.assert_close(network[0].running_mean, images.mean(0))
    with pytest.raises(ValueError, match="no images"):
        reestimate_batch_norm(network, images[:0])
    with pytest.raises(ValueError, match="not finite"):
        reestimate_batch_norm(network, images * math.nan)


def test_with_a_reference_statistics_change_by_what_distinguishes_the_networks():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3, eps=1e-9)).double()
    nn.init.normal_(network[1].running_mean)  # as other images gave them
    nn.init.uniform_(network[1].running_var, 1, 3)
    other, reference, before = (copy.deepcopy(network) for _ in range(3))
    images = [(torch.randn(30, 2, 4, 4, dtype=torch.float64),)]
    reestimate_batch_norm(reference, images)
    reestimate_batch_norm(network, images, reference=reference)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(network[1], name), getattr(before[1], name))

    with torch.no_grad():
        other[0].weight.mul_(2)
        other[0].bias.mul_(2)
    reestimate_batch_norm(other, images, reference=reference)
    torch.testing.assert_close(other[1].running_mean, before[1].running_mean + reference[1].running_mean)
    torch.testing.assert_close(other[1].running_var, 4 * before[1].running_var, rtol=1e-6, atol=0)
