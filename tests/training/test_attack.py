"""PGD on a linear network, where the strongest attack is known by hand."""

from __future__ import annotations

import pytest
import torch
from bitbook import datasets, networks
from bitbook.training import Recipe, evaluate, fit, top1
from bitbook.training._objective import adversarial_training, pgd
from torch import nn


def linear():
    """Two classes, logit difference w.x with w = (1, -2, 0)."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False)).double()
    network[1].weight.data = torch.tensor([[1.0, -2.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    return network


IMAGES = torch.tensor([[0.5, 0.5, 0.5], [0.02, 0.97, 0.1]], dtype=torch.float64).view(2, 3, 1, 1)
LABELS = torch.tensor([0, 0])


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 10])
def test_each_step_goes_along_the_sign_and_back_into_the_box(steps):
    network = linear().train()
    attacked = pgd(network, IMAGES, LABELS, epsilon=0.1, step=0.04, steps=steps)
    moved = min(0.04 * steps, 0.1)
    expected = torch.tensor([[0.5 - moved, 0.5 + moved, 0.5], [max(0.02 - moved, 0), min(0.97 + moved, 1), 0.1]])
    torch.testing.assert_close(attacked.view(2, 3), expected.double())
    assert network.training and network[1].weight.grad is None
    other = pgd(network, IMAGES, 1 - LABELS, epsilon=0.1, step=0.04, steps=steps)
    torch.testing.assert_close(other.view(2, 3)[0], IMAGES.view(2, 3)[0] - (expected[0].double() - 0.5))


def test_a_random_start_lies_in_the_box_and_ends_in_the_same_corner():
    def attack(seed, steps):
        generator = torch.Generator().manual_seed(seed)
        return pgd(linear(), IMAGES, LABELS, epsilon=0.1, step=0.1, steps=steps, generator=generator)

    starts = [attack(seed, 0) for seed in (0, 0, 1)]
    assert torch.equal(starts[0], starts[1]) and not torch.equal(starts[0], starts[2])
    assert ((starts[0] - IMAGES).abs() <= 0.1).all() and starts[0].min() >= 0 and starts[0].max() <= 1
    plain = pgd(linear(), IMAGES, LABELS, epsilon=0.1, step=0.1, steps=5)
    torch.testing.assert_close(attack(0, 5)[:, :2], plain[:, :2])


def test_any_objective_can_be_taken_on_attacked_images():
    seen = []

    def base(network, images, labels):
        seen.append(images)
        return network(images).square().sum()

    torch.manual_seed(0)
    objective = adversarial_training(epsilon=0.1, step=0.2, steps=1, objective=base)
    loss = objective(linear(), IMAGES, LABELS)
    expected = pgd(linear(), IMAGES, LABELS, epsilon=0.1, step=0.2, steps=1)
    torch.testing.assert_close(seen[0][:, :2], expected[:, :2])  # a step this long ends in the corner from anywhere
    torch.testing.assert_close(loss, linear()(seen[0]).square().sum())


def test_adversarial_training_makes_a_network_robust():
    train, test = (datasets.load("digits", split=split) for split in ("train", "test"))
    attack = {"epsilon": 0.15, "step": 0.075, "steps": 3}
    robust = {}
    for name, objective in (("plain", None), ("adversarial", adversarial_training(**attack))):
        network = networks.build({"factory": "digits_cnn", "arguments": {}}, seed=0)
        recipe = Recipe(epochs=3, batch_size=64, warmup=0.2)
        fit(network, train.images, train.labels, recipe, seed=0, objective=objective, progress=False)
        attacked = pgd(network, test.images, test.labels, **attack)
        robust[name] = evaluate(network, attacked, test.labels, {"top1": top1})["top1"]
    assert robust["adversarial"] > robust["plain"] + 0.1
