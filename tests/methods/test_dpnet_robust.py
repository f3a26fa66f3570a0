"""Robust networks on the bundled digits: attacks, training under them, and compression under them."""

from __future__ import annotations

import pytest
import torch
from bitbook import training
from bitbook.compression import Retraining, retrain
from bitbook.methods import dpnet
from bitbook.networks import checksum
from torch import nn

ATTACK = dpnet.Attack(epsilon=0.1, steps=2)


@pytest.fixture(scope="module")
def robust(task, network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("robust")
    return dpnet.train_robust(network, task, attack=ATTACK, epochs=3, ramp=[0.5], folder=folder), folder


@pytest.fixture(scope="module")
def images(task):
    data = task.train()  # a test of the library, not of a result: the test images need not be read
    return data.images[:300], data.labels[:300]


def test_an_attack_stays_in_its_box_and_its_seed_fixes_it(network, images):
    inputs, labels = images
    attacked = [ATTACK(network, inputs, labels, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(attacked[0], attacked[1]) and not torch.equal(attacked[0], attacked[2])
    assert (attacked[0] - inputs / 255).abs().max() <= 0.1 + 1e-6
    assert ATTACK.options == {"epsilon": 0.1, "step": 0.125, "steps": 2}


def test_accuracies_are_counted_over_all_batches():
    network = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))  # class 1 where the pixel is above one half
    network[1].weight.data, network[1].bias.data = torch.tensor([[0.0], [1.0]]), torch.tensor([0.5, 0.0])
    pixels = torch.tensor([0.1, 0.45, 0.55, 0.9, 0.95]).view(-1, 1, 1, 1)
    labels = torch.tensor([0, 0, 1, 1, 0])
    found = dpnet.accuracies(network, pixels, labels, attack=ATTACK, batch_size=2)
    assert found == pytest.approx({"natural": 0.8, "attacked": 0.4})  # 0.45 and 0.55 are pushed over, 0.95 was wrong


def test_training_under_attack_raises_the_accuracy_under_attack(network, robust, images):
    strong = dpnet.Attack(epsilon=0.1, steps=10)
    plain = dpnet.accuracies(network, *images, attack=strong)
    hardened = dpnet.accuracies(robust[0], *images, attack=strong)
    assert hardened["attacked"] > plain["attacked"] + 0.15
    assert hardened["natural"] > 0.85


def test_finished_stages_are_taken_up(task, network, robust, monkeypatch):
    monkeypatch.setattr(training, "adversarial_training", lambda **_: pytest.fail)
    again = dpnet.train_robust(network, task, attack=ATTACK, epochs=3, ramp=[0.5], folder=robust[1])
    assert checksum(again.state_dict()) == checksum(robust[0].state_dict())


def test_compression_under_attack_keeps_more_of_it(task, robust, images):
    strong = dpnet.Attack(epsilon=0.1, steps=10)
    scheme, options = dpnet.DPQ(k=3, every=10), Retraining(epochs=4, precision="float32")
    under = dpnet.compress_robust(robust[0], task, scheme, options, attack=ATTACK)
    without = retrain(robust[0], task, scheme, options, objective=training.cross_entropy())
    found = [dpnet.accuracies(c.to_module(), *images, attack=strong)["attacked"] for c in (under, without)]
    assert found[0] > found[1] + 0.05
    assert {len(book) for book in under.codebooks.values()} == {3}
