"""A trained network trained on until few values a layer serve it, and what a user would otherwise pick."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from sklearn.cluster import KMeans
from torch import nn

from bitbook import training
from bitbook.codes import Coded, Compressed
from bitbook.compression._assemble import assemble, weight_tensors
from bitbook.methods.dpnet._quantised import attach_quantisers, quantise
from bitbook.methods.dpnet._regularised import LARGEST_PRODUCT, Drawn, ramping, regularised
from bitbook.methods.dpnet._shared import tune_values
from bitbook.methods.dpnet._uniform import attach_learned_steps
from bitbook.tasks import Task

Way = Literal["DPR", "DPQ", "k-means", "uniform"]
RIVALS = ("k-means", "uniform")
AfterStep = Callable[[int, int], None]
AfterEpoch = Callable[[int, nn.Module], None]


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
    strength: float = 30.0,
    every: int = 130,
    until: float = 1 / 3,
    distil: float = 0.8,
    precision: str = "bfloat16",
    objective: training.Objective | None = None,
    name: str = "",
    reestimate: bool = True,
    seed: int = 0,
    folder: Path | None = None,
    after_epoch: AfterEpoch | None = None,
) -> Compressed:
    """Train a network to K values in each layer, and return it compressed; the network itself is left as it is.

    way: "DPR" draws weights to their optimal clusters (`regularised`), "DPQ" trains through them (`quantised`): each
    for `epochs`, then their shared values alone for `shared_epochs`. The rivals train as many epochs in all: "k-means"
    finds codebooks once, by scikit-learn, and trains the shared values (Han et al. 2016), "uniform" trains through a
    grid with a learned step (LSQ). k: values of each layer, one K for all or one by parameter name.

    The loss is that of `distillation` from the network itself, `distil` the share of its outputs, unless an `objective`
    is given, which needs a `name` where there is a folder. reestimate: whether batch norms are re-estimated in the end,
    on clean images. learning_rate, shared_learning_rate: the largest of each
    part, SGD with Nesterov momentum, cosine; batch size and augmentation are the task's. strength: the lambda that DPR
    ends at. every: steps between two clusterings; until: the share of DPQ's epochs in which they are made. folder: for
    checkpoints, from which a killed training resumes; asked again for other shared_epochs, DPR and DPQ begin where
    those begin. after_epoch: called with the number of epochs done, from 0, and the network that trains, in the first
    part.

    Raises ValueError for an unknown way, a strength so large that DPR diverges and an objective without a name, and as
    `fit` does.
    """
    if way not in get_args(Way):
        raise ValueError(f"way is one of {', '.join(get_args(Way))}, not {way!r}")
    if way == "DPR" and strength * learning_rate > LARGEST_PRODUCT:
        most = LARGEST_PRODUCT / learning_rate
        raise ValueError(
            f"DPR diverges at learning rate {learning_rate:g} and strength {strength:g}: take at most {most:.3g}"
        )
    if folder and objective and not name:
        raise ValueError("with a folder, an objective needs a name that says what it is: give name=")
    student = copy.deepcopy(network)
    objective = objective or training.distillation(copy.deepcopy(network), share=distil)
    about = f"{way}, k {dict(k) if isinstance(k, Mapping) else k}, {name or f'distillation {distil}'}"
    recipe = training.Recipe(
        epochs=epochs + shared_epochs if way in RIVALS else epochs,
        batch_size=task.recipe.batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        augmentation=task.recipe.augmentation,
        precision=precision,
    )
    if way == "k-means":
        coded, shared_epochs = kmeans_layers(weight_tensors(network), k, seed=seed), recipe.epochs
    else:
        part = _first_part(student, way, k, objective, strength=strength, every=every, until=until)
        data = task.train()
        training.fit(
            student,
            data.images,
            data.labels,
            recipe,
            seed=seed,
            folder=folder and folder / "weights",
            objective=part.objective,
            parameters=_groups(student, part.quantisers),
            after_step=_together(part.after_step, _each_epoch(student, after_epoch, recipe.epochs)),
            name=f"{about}, strength {strength}, every {every} until {until}",
        )
        if way == "DPR":
            for layer, drawn in part.quantisers.items():
                drawn.refresh(training.original(student, layer))
        coded = quantise(student, part.quantisers)
    if shared_epochs and way != "uniform":
        recipe = dataclasses.replace(recipe, epochs=shared_epochs, learning_rate=shared_learning_rate)
        options = {"objective": objective, "recipe": recipe, "name": about, "folder": folder and folder / "values"}
        coded = tune_values(student, task, coded, seed=seed, **options)
    return assemble(student, coded, task, reestimate=reestimate, seed=seed)


def kmeans_layers(tensors: Mapping[str, np.ndarray], k: int | Mapping[str, int], *, seed: int = 0) -> Coded:
    """Return codes and codebooks that scikit-learn finds, layer by layer: the best of ten starts, drawn by the seed.

    tensors: float arrays by parameter name. k: one K for all layers, or one by name; fewer where weights are fewer.
    """
    layers = {}
    for name, tensor in tensors.items():
        clusters = min(k[name] if isinstance(k, Mapping) else k, len(np.unique(tensor)))
        found = KMeans(clusters, n_init=10, random_state=seed).fit(tensor.reshape(-1, 1).astype(np.float64))
        layers[name] = found.labels_.reshape(tensor.shape), found.cluster_centers_.ravel()
    return Coded.by_layer(layers)


@dataclass(frozen=True)
class _Part:
    """A training of all weights: what stands before them, by parameter name, the loss, and what follows each step."""

    quantisers: Mapping[str, nn.Module]
    objective: training.Objective
    after_step: AfterStep | None = None


def _first_part(
    student: nn.Module,
    way: Way,
    k: int | Mapping[str, int],
    objective: training.Objective,
    *,
    strength: float,
    every: int,
    until: float,
) -> _Part:
    if way == "uniform":
        return _Part(attach_learned_steps(student, k), objective)
    if way == "DPQ":
        quantisers = attach_quantisers(student, k)
        return _Part(quantisers, objective, training.refreshing(student, every=every, until=until))
    drawn = attach_quantisers(student, k, Drawn)
    after_step = _together(ramping(drawn, strength=strength), training.refreshing(student, every=every, until=1.0))
    return _Part(drawn, regularised(objective, student, drawn), after_step)


def _groups(student: nn.Module, quantisers: Mapping[str, nn.Module]) -> list[dict]:
    """Parameter groups for `fit`: no weight decay for what the quantisers themselves learn."""
    values = [value for module in quantisers.values() for value in module.parameters()]
    others = [value for value in student.parameters() if all(value is not other for other in values)]
    return [{"params": others}, {"params": values, "weight_decay": 0.0}]


def _together(*hooks: AfterStep | None) -> AfterStep:
    def after_step(step: int, steps: int) -> None:
        for hook in hooks:
            if hook is not None:
                hook(step, steps)

    return after_step


def _each_epoch(student: nn.Module, after_epoch: AfterEpoch | None, epochs: int) -> AfterStep | None:
    if after_epoch is None:
        return None
    after_epoch(0, student)

    def after_step(step: int, steps: int) -> None:
        if step % (steps // epochs) == 0:
            after_epoch(step * epochs // steps, student)

    return after_step
