"""Training to K values a layer: gradients against closed forms in float64, and whole trainings on the digits."""

from __future__ import annotations

import copy
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from bitbook import codes, training
from bitbook.clustering import kmeans1d
from bitbook.compression import (
    LSQ,
    Divergence,
    LearnedStep,
    Retraining,
    _retrain,
    assemble,
    kmeans_layers,
    retrain,
    weight_tensors,
)
from bitbook.methods import dpnet
from bitbook.methods.dpnet._regularised import Drawn, regularised
from torch import nn

WEIGHTS = torch.tensor([[-1.1, -0.9, 0.1], [0.0, 1.9, 2.1]], dtype=torch.float64)
CLUSTERED = torch.tensor([[-1.0, -1.0, 0.05], [0.05, 2.0, 2.0]], dtype=torch.float64)  # by hand, three clusters
IMAGES = torch.tensor([[1.0, 2.0, -1.0]], dtype=torch.float64)


def linear(weights=WEIGHTS):
    network = nn.Sequential(nn.Linear(weights.shape[1], weights.shape[0], bias=False).double())
    network[0].weight.data = weights.clone()
    return network


def half_square(network, images, labels):
    return network(images).square().sum() / 2


@pytest.fixture(scope="module")
def network(task):
    network = task.network(seed=0)
    recipe = dataclasses.replace(task.recipe, epochs=10)
    training.fit(network, task.train().images, task.train().labels, recipe, seed=0, progress=False)
    return network.eval()


def run(network, task, variant, *, k=3, epochs=2, codebook_epochs=1, **more):
    options = {"epochs": epochs, "codebook_epochs": codebook_epochs, "precision": "float32"}
    if variant in ("k-means", "uniform"):  # these train as long, in one part
        options |= {"epochs": epochs + codebook_epochs, "codebook_epochs": 0}
    if variant == "k-means":
        scheme = training.CodebookTuning(kmeans_layers(weight_tensors(network), k))
        options |= {"learning_rate": 0.01}
    else:
        scheme = {"DPR": dpnet.DPR(k=k, every=10), "DPQ": dpnet.DPQ(k=k, every=10), "uniform": LSQ(k=k)}[variant]
    return retrain(network, task, scheme, Retraining(**options), **more)


def attached(weights=WEIGHTS, k=3):
    """A linear layer, as float network or with the quantiser of DPQ before its weights."""
    network = linear(weights)
    dpnet.DPQ(k=k).prepare(network)
    return network, training.attached(network, training.Quantiser)["0.weight"]


def test_the_penalty_adds_lambda_times_the_distance_to_the_gradient():
    network, scheme = linear(), dpnet.DPR(k=3, strength=5.0, ramp=0.5)
    scheme.prepare(network)
    objective = regularised(half_square, network)
    scheme.after_step(network, 2, 8)  # half of the way to the full strength: a quarter of it
    lam = 5.0 / 4
    weights = training.original(network, "0.weight")
    for shift in (0.0, 0.02):  # the first cluster, of two weights, moves by half as much, refreshed or not
        with torch.no_grad():
            weights[0, 0] += shift
        weights.grad = None
        loss = objective(network, IMAGES, None)
        loss.backward()
        distance = weights.detach() - CLUSTERED
        distance[0, :2] -= shift / 2
        expected = (weights.detach() @ IMAGES[0]).square().sum() / 2 + lam / 2 * distance.square().sum()
        torch.testing.assert_close(loss.detach(), expected)
        torch.testing.assert_close(weights.grad, (weights.detach() @ IMAGES[0])[:, None] * IMAGES + lam * distance)


def test_the_strength_rises_from_nothing_and_then_stays():
    network, scheme, found = linear(), dpnet.DPR(k=3, strength=2.0, ramp=0.5), []
    scheme.prepare(network)
    for step in range(1, 9):
        scheme.after_step(network, step, 8)
        found.append(training.attached(network, Drawn)["0.weight"].strength.item())
    assert found == [0.125, 0.5, 1.125, 2.0, 2.0, 2.0, 2.0, 2.0]


def test_the_forward_pass_is_the_optimal_quantisation_and_values_get_the_mean_gradient():
    network, quantiser = attached()
    torch.testing.assert_close(network[0].weight.detach(), CLUSTERED)
    half_square(network, IMAGES, None).backward()
    gradient = (CLUSTERED @ IMAGES[0])[:, None] * IMAGES
    torch.testing.assert_close(training.original(network, "0.weight").grad, gradient)
    means = torch.stack([gradient[value == CLUSTERED].mean() for value in (-1.0, 0.05, 2.0)])
    torch.testing.assert_close(quantiser.values.grad, means)


def test_random_layers_are_quantised_as_kmeans1d_does():
    weights = torch.randn(40, 30, generator=torch.Generator().manual_seed(0))
    quantiser = attached(weights.double(), 5)[1].float()
    found = kmeans1d(weights.numpy(), 5)
    np.testing.assert_allclose(quantiser(weights).detach().numpy(), found.values[found.labels], rtol=1e-6)


def test_values_that_change_places_still_take_the_nearest_weights():
    network, quantiser = attached()
    with torch.no_grad():
        quantiser.values.copy_(torch.tensor([0.0, -1.0, 2.0]))
    expected = torch.tensor([[-1.0, -1, 0], [0, 2, 2]], dtype=torch.float64)
    assert torch.equal(network[0].weight.detach(), expected)
    coded = training.quantise(network)
    assert coded.codebooks["0.weight"].tolist() == [-1, 0, 2]
    assert coded.codes["0.weight"].indices.tolist() == [[0, 0, 1], [1, 2, 2]]
    assert torch.equal(network[0].weight.detach(), expected)


def test_a_learned_step_has_the_gradients_of_its_paper():
    module = LearnedStep(WEIGHTS, 4)
    module.step.data = torch.tensor(0.5, dtype=torch.float64)
    weights = WEIGHTS.clone().requires_grad_()  # over the step: -2.2, -1.8, 0.2, 0, 3.8, 4.2; levels -1.5 to 1.5
    levels = torch.tensor([[-1.5, -1.5, 0.5], [0.5, 1.5, 1.5]], dtype=torch.float64)  # 0 goes up, as round half to even
    found = module(weights)
    outside = torch.tensor([[1.0, 2, 4], [8, 16, 32]], dtype=torch.float64)
    (found * outside).sum().backward()
    levels[1, 0] = found[1, 0].item() / 0.5
    assert abs(levels[1, 0]) == 0.5
    assert torch.equal(found.detach(), levels * 0.5)
    assert weights.grad.tolist() == [[0, 0, 4], [8, 0, 0]]
    within = 4 * (0.5 - 0.2) + 8 * levels[1, 0].item()
    beyond = -1.5 * (1 + 2) + 1.5 * (16 + 32)
    assert module.step.grad.item() == pytest.approx((within + beyond) / math.sqrt(6 * 1.5))
    assert torch.equal(module.values.detach()[module.indices(WEIGHTS)], found.detach())


def test_a_learned_step_begins_where_the_error_is_least_nearby():
    weights = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    module = LearnedStep(weights, 4)
    assert module.step.item() == pytest.approx(0.9957, abs=0.03)  # for a Gaussian (Max 1960, table II)


def one_step(network, coded, objective):
    """One step of plain SGD on the codebooks, with weight decay for all else."""
    scheme = training.CodebookTuning(coded)
    scheme.prepare(network)
    optimiser = torch.optim.SGD(scheme.parameters(network), lr=0.25, weight_decay=0.5)
    objective(network, IMAGES, None).backward()
    optimiser.step()
    return scheme.finish(network).codebooks


def test_codebooks_move_by_the_mean_gradient_of_their_members():
    network = linear()
    books = one_step(network, dpnet.optimal_layers(weight_tensors(network), 3), half_square)
    gradient = (CLUSTERED @ IMAGES[0])[:, None] * IMAGES
    means = [gradient[value == CLUSTERED].mean() for value in (-1.0, 0.05, 2.0)]
    expected = np.array([-1.0, 0.05, 2.0]) - 0.25 * np.array(means)
    np.testing.assert_allclose(books["0.weight"], expected, rtol=2e-3)
    np.testing.assert_allclose(network[0].weight.detach().numpy().ravel()[[0, 2, 4]], expected, rtol=1e-3)


@pytest.mark.parametrize("variant", ["DPR", "DPQ", "k-means", "uniform"])
def test_the_file_is_the_network_that_was_trained(task, network, variant, monkeypatch, tmp_path):
    trained = []

    def keep(student, *arguments, **options):
        trained.append(copy.deepcopy(student))
        return assemble(student, *arguments, **options)

    monkeypatch.setattr(_retrain, "assemble", keep)
    before = weight_tensors(network)["conv2.weight"].copy()
    compressed = run(network, task, variant)
    compressed.save(tmp_path / "file.bitbook")
    loaded = codes.load(tmp_path / "file.bitbook")
    assert all(len(book) <= 3 for book in loaded.codebooks.values()) and len(loaded.codes) == 4
    training.reestimate_batch_norm(trained[0], task.calibration(seed=0))
    images = task.calibration(200, seed=9)
    ours, theirs = training.logits(loaded.to_module(), images), training.logits(trained[0], images)
    torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.02)  # values, biases and batch norm in half precision
    np.testing.assert_array_equal(weight_tensors(network)["conv2.weight"], before)
    assert not torch.equal(trained[0].fc.bias, network.fc.bias)  # what has no code is trained too


class Killed(Exception):
    pass


@pytest.mark.parametrize("variant", ["DPR", "DPQ"])
def test_a_killed_training_resumes_to_the_same_file(task, network, variant, tmp_path):
    def kill(epoch, student):
        if epoch == 2:
            raise Killed

    whole = run(network, task, variant, folder=tmp_path / "whole").to_bytes()
    with pytest.raises(Killed):
        run(network, task, variant, folder=tmp_path / "killed", callback=kill)
    assert (tmp_path / "killed" / "weights" / "checkpoint.pt").exists()
    assert run(network, task, variant, folder=tmp_path / "killed").to_bytes() == whole


def test_shared_values_can_be_tuned_after_a_finished_training(task, network, tmp_path, monkeypatch):
    epochs = []
    first = run(network, task, "DPQ", codebook_epochs=0, folder=tmp_path, callback=lambda e, _: epochs.append(e))
    second = run(network, task, "DPQ", folder=tmp_path, callback=lambda e, _: epochs.append(e))
    assert epochs == [0, 1, 2, 2]  # the weights were trained once
    for name, code in first.codes.items():
        np.testing.assert_array_equal(second.codes[name].indices, code.indices)
    assert any((second.codebooks[name] != book).any() for name, book in first.codebooks.items())


@pytest.mark.parametrize("variant", ["DPR", "DPQ", "k-means", "uniform"])
def test_training_beats_the_optimal_clusters_alone(task, network, variant):
    divergence = Divergence(network, task, images=500)
    untrained = divergence(
        assemble(network, dpnet.optimal_layers(weight_tensors(network), 2), calibration=task.calibration(seed=0))
    )
    assert (
        divergence(run(network, task, variant, k=2, epochs=4))
        < (0.4 if variant in ("DPQ", "uniform") else 0.8) * untrained
    )


@pytest.mark.parametrize(
    ("scheme", "more", "message"),
    [
        (dpnet.DPR(k=3, strength=300.0), {}, "diverges at .* take at most 23"),
        (dpnet.DPQ(k=3), {"objective": half_square, "folder": Path("somewhere")}, "needs a name"),
    ],
)
def test_nonsense_is_refused(task, network, scheme, more, message):
    with pytest.raises(ValueError, match=message):
        retrain(network, task, scheme, Retraining(epochs=1), **more)
