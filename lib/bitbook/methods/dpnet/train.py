"""A trained network trained on until few values a layer serve it, and what a user would otherwise pick."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from sklearn.cluster import KMeans
from torch import nn

from bitbook import training
from bitbook.codes import Compressed, ScalarCode
from bitbook.methods.assemble import assemble, weight_tensors
from bitbook.methods.dpnet.cluster import Coded
from bitbook.methods.dpnet.quantised import attach_quantisers, quantise
from bitbook.methods.dpnet.regularised import Drawn, ramping, regularised
from bitbook.methods.dpnet.shared import tune_values
from bitbook.methods.dpnet.uniform import attach_learned_steps
from bitbook.tasks import Task

Way = Literal["DPR", "DPQ", "k-means", "uniform"]
RIVALS = ("k-means", "uniform")
AfterStep = Callable[[int, int], None]
SETTLE = 2 / 3  # share of the training after which clusters stand still: codebooks that keep moving cost accuracy


def train(
    network: nn.Module,
    task: Task,
    *,
    way: Way,
    k: int | Mapping[str, int],
    epochs: int,
    shared_epochs: int = 0,
    learning_rate: float = 0.02,
    shared_learning_rate: float = 0.01,
    weight_decay: float = 1e-4,
    strength: float = 1.0,
    every: int = 130,
    distil: float = 0.8,
    precision: str = "bfloat16",
    objective: training.Objective | None = None,
    name: str = "",
    seed: int = 0,
    folder: Path | None = None,
    after_epoch: Callable[[int, nn.Module], None] | None = None,
) -> Compressed:
    """Train a network to K values in each layer, and return it compressed; the network itself is left as it is.

    way: "DPR" draws weights to their optimal clusters (`regularised`), "DPQ" trains through them (`quantised`): each
    for `epochs`, then their shared values alone for `shared_epochs`. The rivals train as many epochs in all: "k-means"
    finds codebooks once, by scikit-learn, and trains the shared values (Han et al. 2016), "uniform" trains through a
    grid with a learned step (LSQ). k: values of each layer, one K for all or one by parameter name.

    The loss is that of `distillation` from the network itself, `distil` the share of its outputs, unless an `objective`
    is given, which needs a `name` where there is a folder. learning_rate, shared_learning_rate: the largest of each
    part, SGD with Nesterov momentum, cosine; batch size and augmentation are the task's. strength: the lambda that DPR
    ends at. every: steps between two clusterings. folder: for checkpoints, from which a killed training resumes; asked
    again for other shared_epochs, DPR and DPQ begin where those begin. after_epoch: called with the number of epochs
    done, from 0, and the network that trains, in the first part.

    Raises ValueError for an unknown way, and as `fit` does.
    """
    if way not in get_args(Way):
        raise ValueError(f"way is one of {', '.join(get_args(Way))}, not {way!r}")
    student = copy.deepcopy(network)
    objective = objective or training.distillation(copy.deepcopy(network), share=distil)
    about = f"{way}, k {dict(k) if isinstance(k, Mapping) else k}, {name or f'distillation {distil}'}"
    recipe = training.Recipe(
        epochs=epochs,
        batch_size=task.recipe.batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        augmentation=task.recipe.augmentation,
        precision=precision,
    )
    if way in RIVALS:
        epochs, shared_epochs = (0, epochs + shared_epochs) if way == "k-means" else (epochs + shared_epochs, 0)
    if way == "k-means":
        coded = kmeans_layers(weight_tensors(network), k, seed=seed)
    else:
        loss, after_step, finish = _way(student, way, k, objective, strength=strength, every=every)
        train, recipe = task.train(), dataclasses.replace(recipe, epochs=epochs)
        training.fit(
            student,
            train.images,
            train.labels,
            recipe,
            seed=seed,
            folder=folder and folder / "weights",
            objective=loss,
            after_step=_with_epochs(student, after_step, after_epoch, epochs),
            name=f"{about}, strength {strength}, every {every}",
        )
        coded = finish()
    if shared_epochs:
        recipe = dataclasses.replace(recipe, epochs=shared_epochs, learning_rate=shared_learning_rate)
        place = folder and folder / "values"
        coded = tune_values(
            student, task, coded, objective=objective, recipe=recipe, seed=seed, folder=place, name=about
        )
    return assemble(student, task, *coded, seed=seed)


def kmeans_layers(tensors: Mapping[str, np.ndarray], k: int | Mapping[str, int], *, seed: int = 0) -> Coded:
    """Return codes and codebooks that scikit-learn finds, layer by layer: the best of ten starts, drawn by the seed.

    tensors: float arrays by parameter name. k: one K for all layers, or one by name; fewer where weights are fewer.
    """
    codes, books = {}, {}
    for name, tensor in tensors.items():
        clusters = min(k[name] if isinstance(k, Mapping) else k, len(np.unique(tensor)))
        found = KMeans(clusters, n_init=10, random_state=seed).fit(tensor.reshape(-1, 1).astype(np.float64))
        codes[name] = ScalarCode(found.labels_.reshape(tensor.shape).astype(np.uint16), name)
        books[name] = found.cluster_centers_.ravel().astype(np.float16)
    return codes, books


def _way(
    student: nn.Module,
    way: Way,
    k: int | Mapping[str, int],
    objective: training.Objective,
    *,
    strength: float,
    every: int,
) -> tuple[training.Objective, AfterStep, Callable[[], Coded]]:
    """Prepare a network for a way: the objective, what follows each step, and what makes codes of it in the end."""
    if way == "uniform":
        quantisers = attach_learned_steps(student, k)
        return objective, lambda step, steps: None, lambda: quantise(student, quantisers)
    if way == "DPQ":
        quantisers = attach_quantisers(student, k)
        return objective, training.refreshing(student, every=every, until=SETTLE), lambda: quantise(student, quantisers)
    drawn = attach_quantisers(student, k, Drawn)
    hooks = ramping(drawn, strength=strength, until=SETTLE), training.refreshing(student, every=every, until=SETTLE)

    def after_step(step: int, steps: int) -> None:
        for hook in hooks:
            hook(step, steps)

    def finish() -> Coded:
        for name, module in drawn.items():
            module.refresh(training.original(student, name))
        return quantise(student, drawn)

    return regularised(objective, student, drawn), after_step, finish


def _with_epochs(
    student: nn.Module, after_step: AfterStep, after_epoch: Callable[[int, nn.Module], None] | None, epochs: int
) -> AfterStep:
    if after_epoch is None:
        return after_step
    after_epoch(0, student)

    def both(step: int, steps: int) -> None:
        after_step(step, steps)
        if step % (steps // epochs) == 0:
            after_epoch(step * epochs // steps, student)

    return both
