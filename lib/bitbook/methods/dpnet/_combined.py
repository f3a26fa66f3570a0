"""The combined pipeline: pruning, clustering and entropy coding in one training, to a given ratio."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bitbook import training
from bitbook.clustering._threads import Workers
from bitbook.codes import Coded, Compressed
from bitbook.compression._assemble import assemble, weight_tensors
from bitbook.methods.dpnet._spending import Priced, Pruned, Spending, price_for
from bitbook.tasks import Task

AIMED = 0.995  # of the budget: weights move on after the last clustering
RAISED, TRIES = 1.05, 200  # how the price rises after training until the file keeps its budget


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The constants of the combined pipeline; progress runs from 0 to 1 over all steps.

    ratio: of the file. epochs, learning_rate, weight_decay, batch_size, precision: as in `training.Recipe`. bits: a
    weight, at the start. values: None for priced clusters, or K values in every layer beside zero, for what magnitude
    pruning leaves. ramp: progress at which the bits have come down to what the ratio asks for, along the cubic
    law of gradual pruning. every: steps between two clusterings. frozen: progress from which clusters stand still.
    temperature, share: of the distillation.
    """

    ratio: float
    epochs: int
    learning_rate: float = 0.01
    weight_decay: float = 1e-4
    batch_size: int = 128
    precision: str = "float32"
    bits: float = 4.0
    values: int | None = None
    ramp: float = 0.4
    every: int = 50
    frozen: float = 2 / 3
    temperature: float = 2.0
    share: float = 0.8


def combined(
    network: nn.Module, task: Task, schedule: Schedule, *, seed: int = 0, folder: Path | None = None
) -> Compressed:
    """Compress a network to a ratio by training it through ever fewer and cheaper clusters.

    In the forward pass every weight has the value of its cluster (DPQ). The bits come down until the file fits the
    ratio: either by clusters under a price of a bit (`Priced`), or by pruning with K values for the rest (`Pruned`).
    The network learns from its float self's outputs. folder: keeps a checkpoint, so that a killed training resumes. The
    network itself is left as it is. Raises ValueError for a ratio that no clustering reaches.
    """
    budget = 4 * sum(value.numel() for value in network.parameters()) / schedule.ratio
    trained = copy.deepcopy(network)
    tensors = weight_tensors(network)
    start = schedule.bits * sum(tensor.size for tensor in tensors.values())
    spending: Spending = (
        Pruned(trained, list(tensors), schedule.values) if schedule.values else Priced(trained, list(tensors), start)
    )

    def coded() -> Coded:
        return _coded({name: (layer, spending.weights(trained, name)) for name, layer in spending.layers.items()})

    def refresh(step: int, steps: int) -> None:
        progress = step / steps
        if step % schedule.every == 0 and progress <= schedule.frozen:
            # What a bit of entropy takes in the file is measured anew each time: the coder does better than that.
            target = _bits_within(AIMED * budget, assemble(network, coded(), task, reestimate=False))
            share = training.gradual_sparsity(progress, final=1.0, end=schedule.ramp)
            spending.refresh(trained, start + share * (min(target, start) - start))

    images = task.train()
    training.fit(
        trained,
        images.images,
        images.labels,
        training.Recipe(
            epochs=schedule.epochs,
            batch_size=schedule.batch_size,
            learning_rate=schedule.learning_rate,
            weight_decay=schedule.weight_decay,
            warmup=0.05,
            augmentation=task.recipe.augmentation,
            precision=schedule.precision,
        ),
        seed=seed,
        folder=folder,
        objective=training.distillation(network, temperature=schedule.temperature, share=schedule.share),
        after_step=refresh,
        name=f"combined {schedule}",
    )
    found = coded()
    weights = {name: spending.weights(trained, name).detach().cpu().numpy() for name in tensors}
    training.bake(trained)
    raised = price_for(weights, found.entropy())
    for _ in range(TRIES):
        if len(assemble(trained, found, task, reestimate=False).to_bytes()) <= budget:
            file = assemble(trained, found, task, seed=seed)
            if len(file.to_bytes()) <= budget:
                return file
        # The clusters stood still while the weights moved on, and so took a few more bits.
        again = partial(_cheapest, weights, found, raised)
        with Workers() as workers:
            found = found.with_indices(dict(zip(found.codes, workers.each(again, found.codes), strict=True)))
        raised *= RAISED
    raise ValueError(f"ratio {schedule.ratio:g}: no clustering keeps {budget:.0f} bytes; lower the ratio")


def _coded(layers: Mapping[str, tuple[training.StraightThrough, Tensor]]) -> Coded:
    """Codes and codebooks of the weights as the layers quantise them, without the values that none has."""
    found = {}
    for name, (layer, weights) in layers.items():
        indices = layer.indices(weights).to(torch.uint8 if len(layer.values) <= 256 else torch.int32)
        found[name] = indices.cpu().numpy(), layer.values.cpu().numpy()
    return Coded.by_layer(found)


def _cheapest(tensors: Mapping[str, np.ndarray], coded: Coded, price: float, name: str) -> np.ndarray:
    """A layer's indices of least squared error plus the price of its bits, by the lengths in the code given."""
    weights, code, values = tensors[name], coded.codes[name], coded.codebooks[name]
    counts = np.bincount(code.indices.ravel(), minlength=len(values))
    lengths = np.log2((counts.sum() + 1) / (counts + 0.5))  # finite for a value that no weight has any more
    best, least = np.zeros(weights.shape, code.indices.dtype), np.full(weights.shape, np.inf)
    for index, (value, length) in enumerate(zip(values.astype(np.float64), lengths, strict=True)):
        cost = (weights - value) ** 2 + price * length
        best[cost < least] = index
        least = np.minimum(least, cost)
    return best


def _bits_within(budget: float, file: Compressed) -> float:
    """Bits of the labels' entropy that keep the budget, if each goes on taking the bytes that it takes in this file."""
    coded = sum(row.bytes for row in file.ledger().rows if row.section in file.codes)
    return Coded(file.codes, file.codebooks).entropy() * max(budget - (len(file.to_bytes()) - coded), 0.0) / coded
