"""A task made outside of the package: its own images, its own network, compressed like the house's."""

from __future__ import annotations

import bitbook
import pytest
import torch
from bitbook import datasets, methods, training
from bitbook.tasks import Task
from torch import nn


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 1))


@pytest.fixture
def task() -> Task:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (120, 1, 6, 6), dtype=torch.uint8, generator=generator)
    labels = (images.float().mean((1, 2, 3)) > 127.5).long()
    data = datasets.OwnImages("mine", train=(images[:90], labels[:90]), test=(images[90:], labels[90:]))
    recipe = training.Recipe(epochs=1, augmentation="flip")
    return Task(name="mine", data=data, specification=network, metrics={"top1": training.top1}, recipe=recipe)


def test_methods_take_it_and_its_one_logit_counts(task, reads):
    own = task.network(seed=0).eval()
    assert torch.equal(task.network(seed=0)[0].weight, own[0].weight)
    compressed = methods.dpnet.compress(own, task, k=4, images=60)
    assert bitbook.compress(own, task=task, k=4).codes.keys() == compressed.codes.keys() == {"0.weight", "4.weight"}
    divergence = bitbook.compression.Divergence(own, task, images=60)
    coarse = methods.dpnet.compress(own, task, k=2, images=60, rounding="nearest")
    assert 0 < divergence(compressed) < divergence(coarse)
    assert reads == []
    assert task.test().labels.shape == (30,) and reads == ["mine"]


def test_its_fingerprint_is_that_of_the_images_in_any_order(task):
    marks = task.fingerprint()["splits"]
    assert marks["train"]["count"] == 90 and marks["test"]["shape"] == [6, 6, 1]
    train, order = task.train(), torch.randperm(90)
    splits = {"train": (train.images[order], train.labels[order]), "test": (train.images[:3], train.labels[:3])}
    again = datasets.OwnImages("mine", **splits).fingerprint()["splits"]
    assert again["train"] == marks["train"] and again["test"] != marks["test"]
    with pytest.raises(ValueError, match="train is images uint8"):
        datasets.OwnImages("mine", train=(train.images.float(), train.labels), test=splits["test"])
