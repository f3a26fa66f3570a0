"""The combined pipeline: pruning, clustering and entropy coding in one training, to a given ratio."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import nn

from bitbook import training
from bitbook.clustering._threads import Workers
from bitbook.codes import Coded, Compressed, ScalarCode
from bitbook.compression import assemble, weight_tensors
from bitbook.methods.dpnet._bit_budget import EntropyConstrained, Pruned, rate_distortion_weight
from bitbook.methods.dpnet._compress import optimal_layers
from bitbook.tasks import Task

AIMED = 0.995  # of the budget: weights move on after the last clustering
RAISED, TRIES = 1.05, 200  # how the rate-distortion weight rises after training until the file keeps its budget


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The constants of the combined pipeline; progress runs from 0 to 1 over all steps.

    ratio: of the file. epochs, learning_rate, weight_decay, batch_size, precision: as in `training.Recipe`. bits: a
    weight, at the start. values: None for entropy-constrained clusters, or K values in every layer beside zero, for
    what magnitude pruning leaves. ramp: progress at which the bits have come down to what the ratio asks for, along the
    cubic law of gradual pruning. every: steps between two clusterings. frozen: progress from which clusters stand
    still. temperature, share: of the distillation.
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

    def __post_init__(self) -> None:
        shares = dict.fromkeys(("ramp", "frozen", "share"), (0, 1))
        training.require_ranges(self, ratio=(1e-3, 1e6), bits=(1e-3, 16), values=(1, 65536), temperature=(1e-3, 1e6))
        training.require_ranges(self, epochs=(0, 1e6), every=(1, 1e9), **shares)


@dataclass(frozen=True)
class Combined(training.Scheme):
    """The combined pipeline as a scheme.

    In the forward pass every weight has the value of its cluster (DPQ). The bits come down until the file fits the
    ratio: either by entropy-constrained clusters, or by pruning with K values for the rest.

    network: the float one, whose outputs are learned. seed: of the images for its batch norms. budget: bytes.
    """

    schedule: Schedule
    network: nn.Module = field(repr=False)
    task: Task = field(repr=False)
    seed: int = field(repr=False)

    @property
    def budget(self) -> float:
        """The most bytes of the file."""
        return 4 * sum(value.numel() for value in self.network.parameters()) / self.schedule.ratio

    @property
    def bits(self) -> EntropyConstrained | Pruned:
        """How the bits come down."""
        return Pruned(self.schedule.values) if self.schedule.values else EntropyConstrained()

    @property
    def start(self) -> float:
        """The bits of all weights at the start."""
        return self.schedule.bits * sum(tensor.size for tensor in weight_tensors(self.network).values())

    def prepare(self, network: nn.Module) -> None:
        least = len(assemble(self.network, optimal_layers(weight_tensors(self.network), 1)).to_bytes())
        if least > self.budget:
            raise ValueError(
                f"ratio {self.schedule.ratio:g}: {self.budget:.0f} bytes are asked for, but one value for the weights"
                f" of each layer takes {least:,} bytes already; lower the ratio"
            )
        self.bits.attach(network, self.start)

    def objective(self, network: nn.Module, base: training.Objective) -> training.Objective:
        return training.distillation(self.network, temperature=self.schedule.temperature, share=self.schedule.share)

    def after_step(self, network: nn.Module, step: int, steps: int) -> None:
        """Find clusters of fewer bits when it is time."""
        progress = step / steps
        if step % self.schedule.every == 0 and progress <= self.schedule.frozen:
            # What a bit of entropy takes in the file is measured anew each time: the coder does better than that.
            file = assemble(self.network, training.coded(network))
            target = min(_bits_within(AIMED * self.budget, file), self.start)
            share = training.gradual_sparsity(progress, final=1.0, end=self.schedule.ramp)
            self.bits.refresh(network, self.start + share * (target - self.start))

    def finish(self, network: nn.Module) -> Coded:
        """Return codes whose file keeps the ratio; ValueError where there are none."""
        found = training.coded(network)
        layers = training.attached(network, training.StraightThrough)
        entering = {name: training.entering(network, name, layer) for name, layer in layers.items()}
        weights = {name: value.detach().cpu().numpy() for name, value in entering.items()}
        training.bake(network)
        weight = rate_distortion_weight(weights, found.entropy())
        calibration = self.task.calibration(seed=self.seed)
        for _ in range(TRIES):
            # The quick one first.
            files = (assemble(network, found, calibration=images) for images in (None, calibration))
            if all(len(file.to_bytes()) <= self.budget for file in files):
                return found
            # The clusters stood still while the weights moved on, and so took a few more bits.
            again = partial(_cheapest, weights, found, weight)
            with Workers() as workers:
                found = found.with_indices(dict(zip(found.codes, workers.each(again, found.codes), strict=True)))
            weight *= RAISED
        ratio = f"ratio {self.schedule.ratio:g}"
        raise ValueError(f"{ratio}: no clustering keeps {self.budget:.0f} bytes; lower the ratio")


def combined(
    network: nn.Module, task: Task, schedule: Schedule, *, seed: int = 0, folder: Path | None = None
) -> Compressed:
    """Compress a network to a ratio by training it through ever fewer and cheaper clusters.

    The network learns from its float self's outputs. folder: keeps a checkpoint, so that a killed training resumes. The
    network itself is left as it is. Raises ValueError for a ratio that no clustering reaches.
    """
    recipe = training.Recipe(
        epochs=schedule.epochs,
        batch_size=schedule.batch_size,
        learning_rate=schedule.learning_rate,
        weight_decay=schedule.weight_decay,
        warmup=0.05,
        augmentation=task.recipe.augmentation,
        precision=schedule.precision,
    )
    images, scheme = task.train(), Combined(schedule, network, task, seed)
    own: dict[str, Any] = {"scheme": scheme, "seed": seed, "folder": folder}
    done = training.fit(copy.deepcopy(network), images.images, images.labels, recipe, **own)
    return assemble(done.network, done.coded, calibration=task.calibration(seed=seed))


def _cheapest(tensors: Mapping[str, np.ndarray], coded: Coded, weight: float, name: str) -> np.ndarray:
    """A layer's indices of least squared error plus weighted bits, by the lengths in the code given."""
    weights, code, values = tensors[name], cast(ScalarCode, coded.codes[name]), coded.codebooks[name]
    counts = np.bincount(code.indices.ravel(), minlength=len(values))
    lengths = np.log2((counts.sum() + 1) / (counts + 0.5))  # finite for a value that no weight has any more
    best, least = np.zeros(weights.shape, code.indices.dtype), np.full(weights.shape, np.inf)
    for index, (value, length) in enumerate(zip(values.astype(np.float64), lengths, strict=True)):
        cost = (weights - value) ** 2 + weight * length
        best[cost < least] = index
        least = np.minimum(least, cost)
    return best


def _bits_within(budget: float, file: Compressed) -> float:
    """Bits of the labels' entropy that keep the budget, if each goes on taking the bytes that it takes in this file."""
    coded = sum(row.bytes for row in file.ledger().rows if row.section in file.codes)
    return Coded(file.codes, file.codebooks).entropy() * max(budget - (len(file.to_bytes()) - coded), 0.0) / coded
