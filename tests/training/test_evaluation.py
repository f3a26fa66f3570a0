"""Outputs in one pass, and the accuracies that the given weights are known for."""

from __future__ import annotations

import pytest
import torch
from bitbook import networks, tasks
from bitbook.training import evaluate, logits, top1
from torch import nn


def test_logits_do_not_depend_on_the_batch_size_and_modes_are_put_back():
    network = networks.build({"factory": "digits_cnn", "arguments": {}}, seed=0).train()
    network.bn2.eval()
    images = torch.randint(0, 256, (23, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = logits(network, images)
    assert (whole.shape, whole.dtype) == ((23, 10), torch.float32)
    torch.testing.assert_close(logits(network, images, batch_size=4), whole)
    torch.testing.assert_close(logits(network, images / 255), whole)
    assert network.training and network.bn1.training and not network.bn2.training
    with torch.no_grad():
        torch.testing.assert_close(whole, network.eval()(images / 255))


def test_every_metric_is_reported_by_name():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    network[1].weight.data = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]])
    images = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0.5, 0.2, 0, 0]]).view(3, 1, 2, 2)
    metrics = {"top1": top1, "spread": lambda outputs, labels: (outputs.max() - outputs.min()).item()}
    assert evaluate(network, images, torch.tensor([0, 1, 1]), metrics) == {"top1": pytest.approx(2 / 3), "spread": 1.0}


@pytest.mark.parametrize(
    ("name", "count", "hits"),
    [
        ("cifar10", 1000, 915),
        pytest.param("cifar10", 10000, 9173, marks=pytest.mark.slow),
        ("cifar10-resnet56", 1000, 926),
        ("cifar100", 1000, 703),
        ("cifar100-resnet56", 1000, 748),
        ("imagenet-dev1000", 100, 49),
        pytest.param("imagenet-dev1000", 1000, 484, marks=pytest.mark.slow),
        pytest.param("cifar10-resnet56", 10000, 9339, marks=pytest.mark.slow),
        pytest.param("cifar100", 10000, 6883, marks=pytest.mark.slow),
        pytest.param("cifar100-resnet56", 10000, 7263, marks=pytest.mark.slow),
    ],
)
def test_given_weights_have_their_known_accuracy(name, count, hits, data_folder):
    task = tasks.get(name)
    network = task.network()
    network.load_state_dict(networks.GIVEN[task.weights].read(data_folder / "weights" / f"{task.weights}.safetensors"))
    test = task.test()
    result = evaluate(network, test.images[:count], test.labels[:count], task.metrics)
    assert abs(result[task.headline] * count - hits) < 1.5  # one image either way
