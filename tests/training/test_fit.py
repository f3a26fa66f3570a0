"""Training: resumed after a real kill, repeatable, and step by step what it says."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
import torch
from bitbook import datasets, networks, tasks
from bitbook.training import Recipe, Scheme, cross_entropy, evaluate, fit
from bitbook.training._state import load_checkpoint
from torch import nn
from torch.nn import functional as F

# A training of 4 epochs of 11 steps that kills itself with SIGKILL at a given step, 0 for never.
CHILD = """
import os, signal, sys, torch
from bitbook import datasets, networks
from bitbook.training import Recipe, Scheme, fit
from pathlib import Path
torch.set_num_threads(1)
kill, folder = int(sys.argv[1]), Path(sys.argv[2])
train = datasets.load("digits", split="train")
network = torch.nn.Sequential(networks.build({"factory": "digits_cnn", "arguments": {}}, seed=0), torch.nn.Dropout(0.2))
taken = []
class Killing(Scheme):
    def after_step(self, network, step, steps):
        taken.append(step)
        if step == kill:
            os.kill(os.getpid(), signal.SIGKILL)
    def __repr__(self):
        return "a kill"
recipe = Recipe(epochs=4, warmup=0.25, label_smoothing=0.1, augmentation="crop1", averaging=0.9)
options = {"scheme": Killing(), "folder": folder, "progress": False}
history = fit(network, train.images, train.labels, recipe, seed=0, **options)
print(taken[:1], taken[-1:], history.loss, networks.checksum(network.state_dict()))
"""


def child(kill, folder):
    return subprocess.run(
        [sys.executable, "-c", CHILD, str(kill), str(folder)], capture_output=True, text=True, timeout=120
    )


def test_a_killed_training_ends_in_the_same_weights_and_loses_at_most_one_epoch(tmp_path):
    whole = child(0, tmp_path / "whole").stdout
    assert whole.startswith("[1] [44] ")
    assert child(28, tmp_path / "killed").returncode == -signal.SIGKILL  # in the third epoch, steps 23 to 33
    resumed = child(0, tmp_path / "killed").stdout
    assert resumed.replace("[23] ", "[1] ", 1) == whole != resumed


def digits(seed=0, **changed):
    recipe = Recipe(**{"epochs": 2, "batch_size": 64, "augmentation": "crop1"} | changed)
    train = datasets.load("digits", split="train")
    network = networks.build({"factory": "digits_cnn", "arguments": {}}, seed=0)
    history = fit(network, train.images, train.labels, recipe, seed=seed, progress=False)
    return history, networks.checksum(network.state_dict())


def test_a_seed_repeats_a_training_and_another_does_not():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = digits()
    torch.manual_seed(8)
    assert digits() == first
    assert digits(seed=1)[1] != first[1]
    torch.manual_seed(7)
    digits()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("changed", [{"optimiser": "adam", "learning_rate": 1e-2}, {"precision": "bfloat16"}])
def test_other_optimisers_and_precisions_learn(changed):
    history, _ = digits(epochs=3, **changed)
    assert history.loss[-1] < 0.5 * history.loss[0]


def test_the_digits_recipe_reaches_its_accuracy():
    task = tasks.get("digits")
    train, test = task.train(), task.test()
    network = task.network(seed=0)
    fit(network, train.images, train.labels, task.recipe, seed=0, progress=False)
    assert evaluate(network, test.images, test.labels, task.metrics)["top1"] >= 0.97


class Noting(Scheme):
    """Calls a function after each step."""

    def __init__(self, note):
        self.after_step = note

    def __repr__(self):
        return "Noting()"


def test_a_finished_training_is_not_done_again(tmp_path):
    images, labels = torch.randint(0, 256, (64, 1, 8, 8), dtype=torch.uint8), torch.arange(64) % 10
    steps, ends = [], []
    for _ in range(2):
        network = networks.build({"factory": "digits_cnn", "arguments": {}}, seed=0)
        recipe = Recipe(epochs=2, batch_size=32, averaging=0.5)
        history = fit(
            network,
            images,
            labels,
            recipe,
            seed=0,
            folder=tmp_path,
            scheme=Noting(lambda network, step, _: steps.append(step)),
            progress=False,
        )
        ends.append((history, networks.checksum(network.state_dict())))
    assert ends[0] == ends[1]
    assert steps == [1, 2, 3, 4]


def test_a_damaged_checkpoint_is_set_aside_and_the_training_done_again(tmp_path, capsys):
    images, labels = torch.zeros(8, 1, 8, 8, dtype=torch.uint8), torch.arange(8)
    ends, path = [], tmp_path / "checkpoint.pt"
    for flipped in (0, 100, 5000, -1):
        network = networks.build({"factory": "digits_cnn", "arguments": {}}, seed=0)
        fit(network, images, labels, Recipe(epochs=2), seed=0, folder=tmp_path, progress=False)
        ends.append(networks.checksum(network.state_dict()))
        data = bytearray(path.read_bytes())
        data[flipped] ^= 4
        path.write_bytes(data)
        assert load_checkpoint(tmp_path) is None
        assert "checkpoint.pt is damaged: set aside" in capsys.readouterr().err
    assert len(set(ends)) == 1


def test_another_training_in_the_same_folder_is_refused(tmp_path):
    images, labels = torch.zeros(8, 1, 8, 8, dtype=torch.uint8), torch.arange(8)
    network = networks.build({"factory": "digits_cnn", "arguments": {}}, seed=0)
    fit(network, images, labels, Recipe(epochs=1), seed=0, folder=tmp_path, progress=False)
    for changed in ({"seed": 1}, {"labels": labels.flip(0)}, {"recipe": Recipe(epochs=2)}, {"images": images + 1}):
        other = networks.build({"factory": "digits_cnn", "arguments": {}}, seed=0)
        arguments = {"images": images, "labels": labels, "recipe": Recipe(epochs=1), "seed": 0} | changed
        with pytest.raises(ValueError, match="another training"):
            fit(other, folder=tmp_path, progress=False, **arguments)


def test_objectives_need_a_name_and_schemes_a_repr_that_tell_trainings_apart(tmp_path):
    def train(**options):
        network, labels = line(), torch.zeros(4, dtype=torch.int64)
        recipe = Recipe(**PLAIN, epochs=1, batch_size=4)
        fit(network, ONES, labels, recipe, seed=0, folder=tmp_path, progress=False, **options)

    with pytest.raises(ValueError, match="give name="):
        train(objective=slope)
    with pytest.raises(ValueError, match="Scheme needs a repr that says all"):
        train(scheme=Scheme())
    assert not list(tmp_path.iterdir())
    train(objective=slope, name="slope")
    train(objective=slope, name="slope")
    noting = Noting(lambda *_: None)
    for other in ({}, {"objective": cross_entropy(0.5), "name": "smoothed"}, {"scheme": noting}):
        with pytest.raises(ValueError, match="another training"):
            train(**other)


def line(value=0.0):
    """A network of one weight in float64 whose gradient is easy: output (N, 2) = (w x, 0)."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False)).double()
    network[1].weight.data = torch.tensor([[value], [0.0]], dtype=torch.float64)
    return network


PLAIN = {"momentum": 0, "weight_decay": 0}
ONES = torch.ones(4, 1, 1, 1, dtype=torch.float64)


def slope(network, images, labels):
    """An objective whose gradient is 1 for the first weight, whatever it is."""
    return network(images)[:, 0].mean()


def test_steps_follow_the_schedule_and_averaging_its_closed_form():
    seen = []
    network = line()
    recipe = Recipe(**PLAIN, epochs=2, batch_size=2, schedule="linear", learning_rate=0.8, averaging=0.6)
    fit(
        network,
        ONES,
        torch.zeros(4, dtype=torch.int64),
        recipe,
        seed=0,
        objective=slope,
        scheme=Noting(lambda network, step, steps: seen.append((step, steps, network[1].weight[0, 0].item()))),
        progress=False,
    )
    weights = [-0.8 * 7 / 8, -0.8 * 12 / 8, -0.8 * 15 / 8, -0.8 * 16 / 8]  # the rate falls from 7/8 to 1/8
    assert [w for *_, w in seen] == pytest.approx(weights)
    assert [pair[:2] for pair in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    average = 0.0
    for step, weight in enumerate(weights):
        decay = min(0.6, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weight
    assert network[1].weight[0, 0].item() == pytest.approx(average, rel=1e-12)


def test_parameter_groups_keep_their_own_rates():
    network = nn.Sequential(nn.Flatten(), nn.Linear(1, 2)).double()
    nn.init.zeros_(network[1].weight)
    nn.init.zeros_(network[1].bias)
    scheme = Scheme()
    scheme.parameters = lambda n: [{"params": [n[1].weight], "lr": 0.5}, {"params": [n[1].bias]}]
    recipe = Recipe(epochs=1, batch_size=4, schedule="constant", learning_rate=0.1, **PLAIN)
    labels = torch.zeros(4, dtype=torch.int64)
    fit(network, ONES, labels, recipe, seed=0, objective=slope, scheme=scheme, progress=False)
    assert network[1].weight[0, 0].item() == pytest.approx(-0.5)
    assert network[1].bias[0].item() == pytest.approx(-0.1)


def test_a_training_that_diverges_stops_and_is_not_kept(tmp_path):
    recipe = Recipe(epochs=3, batch_size=4, schedule="constant", learning_rate=1000.0, **PLAIN)

    def square(network, images, labels):
        return (1e15 * network(images)[:, 0]).square().mean()

    labels, options = torch.zeros(4, dtype=torch.int64), {"folder": tmp_path, "name": "square", "objective": square}
    with pytest.raises(FloatingPointError, match=r"epoch 2 of 3 is inf with learning rate 1000(\.0)?: lower"):
        fit(line(1.0), ONES, labels, recipe, seed=0, progress=False, **options)
    assert len(load_checkpoint(tmp_path)["losses"]) == 1


def test_images_that_fill_no_batch_are_left_out_and_loss_is_the_epochs_mean():
    network = line()
    recipe = Recipe(epochs=1, batch_size=3, schedule="constant", learning_rate=1.0, **PLAIN)
    labels = torch.zeros(8, dtype=torch.int64)
    history = fit(network, ONES.repeat(2, 1, 1, 1), labels, recipe, seed=0, objective=slope, progress=False)
    assert network[1].weight[0, 0].item() == -2
    assert history.loss == (-0.5,)  # 0 in the first step, -1 in the second


def test_label_smoothing_by_hand():
    outputs = torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64)
    log_p = F.log_softmax(outputs, 1)[0]
    expected = -(0.9 * log_p[1] + 0.1 * log_p.mean())
    loss = cross_entropy(0.1)(nn.Identity(), outputs, torch.tensor([1]))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
