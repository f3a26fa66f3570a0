"""The whole pipeline: ADMM pruning, masked retraining, ADMM clustering, freezing rounds, clustering retraining."""

import copy
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from bitbook import training
from bitbook.codes import Coded, Compressed
from bitbook.compression import assemble, weight_tensors
from bitbook.networks import channel_graph
from bitbook.tasks import Task

from ._constraints import (
    Cardinality,
    Channels,
    Constraint,
    EqualLevels,
    FreeClusters,
    GlobalCardinality,
    Levels,
)
from ._retrain import Freezing, Masked, quantised
from ._scheme import ADMM, names, residuals

FINE = 64  # values of a layer that is only pruned


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training of the pipeline; the learning rate falls along a cosine.

    rounds: of ADMM's updates or of freezing. rho, growth: as in `ADMM`.
    """

    epochs: int
    learning_rate: float = 1e-3
    rounds: int = 1
    rho: float = 1e-3
    growth: float = 1.0

    def __post_init__(self) -> None:
        training.require_ranges(self, epochs=(0, 1e6), learning_rate=(0, 1e3), rounds=(1, 1e6))
        training.require_ranges(self, rho=(0, 1e9), growth=(1e-3, 1e3))


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """ADMM to a cardinality, and the masked retraining of what is left."""

    constraint: Cardinality | GlobalCardinality | Channels
    admm: Training
    masked: Training


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The constants of the pipeline; a training of no epochs is left out.

    prune: one after another. cluster: the values of what is left, or None to prune only. moving: whether the levels are
    found anew in each round (the paper's centroid updates) or once (the authors' release). clustering: of ADMM to them.
    freezing: the quantising rounds. tuning: of the codebooks with fixed assignments. ramp: as in
    `ADMM`, of the prunings. temperature, share: of the distillation from the float network's outputs for
    the images as they are, computed once; a share of 0 is plain cross-entropy, as in the paper. augmentation,
    batch_size, optimiser: instead of the task's.
    """

    prune: tuple[Pruning, ...]
    cluster: EqualLevels | FreeClusters | None = None
    clustering: Training = Training(epochs=0)
    freezing: Training = Training(epochs=0)
    tuning: Training = Training(epochs=0)
    moving: bool = True
    ramp: float = 0.0
    temperature: float = 2.0
    share: float = 0.0
    augmentation: str | None = None
    batch_size: int = 256
    optimiser: str = "adam"

    def __post_init__(self) -> None:
        training.require_ranges(self, ramp=(0, 1), share=(0, 1), temperature=(1e-3, 1e6), batch_size=(1, 1e6))


@dataclass(frozen=True)
class Stage:
    """What a part of the pipeline ends in: the network, its codes if it has any, and how its ADMM went.

    residuals: by layer, (rounds, 2): primal and dual. pulled: by layer, W at the end of ADMM, before zeros are cut off.
    """

    network: nn.Module = field(repr=False)
    coded: Coded = field(repr=False)
    residuals: Mapping[str, np.ndarray] = field(repr=False)
    pulled: Mapping[str, np.ndarray] = field(repr=False)


def run(
    network: nn.Module, task: Task, schedule: Schedule, *, seed: int = 0, folder: Path | None = None
) -> dict[str, Stage]:
    """Run the pipeline on a network, which itself is left as it is; return "pruned 1", "pruned 2", ... and "clustered".

    Channels that nothing reads any more, or that hold nothing, leave after each pruning, with their biases. folder:
    keeps a checkpoint of every training, so that a killed one resumes at its last epoch and ends in the same weights.
    """
    stages, data = {}, task.train()
    labels, own = data.labels, dict[str, Any]()
    if schedule.share:
        labels = torch.cat([training.logits(network, data.images), labels[:, None]], 1)
        name = f"distil {schedule.share} at {schedule.temperature}"
        own = {"objective": _distilled(schedule.share, schedule.temperature), "name": name}

    def train(name: str, start: nn.Module, scheme: training.Scheme, how: Training) -> Stage:
        found: dict[str, np.ndarray] = {}
        pulled: dict[str, np.ndarray] = {}
        if not how.epochs:
            return Stage(start, Coded({}, {}), found, pulled)

        def look(epoch: int, current: nn.Module) -> None:
            found.update(residuals(current))
            pulled.update({name: training.original(current, name).detach().cpu().numpy().copy() for name in found})

        recipe = training.Recipe(
            epochs=how.epochs,
            batch_size=schedule.batch_size,
            optimiser=schedule.optimiser,
            learning_rate=how.learning_rate,
            weight_decay=0.0,
            warmup=0.05,
            augmentation=schedule.augmentation or task.recipe.augmentation,
        )
        done = training.fit(
            start,
            data.images,
            labels,
            recipe,
            seed=seed,
            scheme=scheme,
            folder=folder and folder / name,
            progress=False,
            callback=look,
            **own,
        )
        return Stage(done.network, done.coded, found, pulled)

    current = copy.deepcopy(network)
    for number, part in enumerate(schedule.prune, 1):
        scheme = _admm(part.constraint, part.admm, schedule.ramp)
        pruned = train(f"prune {number}", current, scheme, part.admm)
        current = train(f"retrain {number}", without_dead_channels(pruned.network), Masked(), part.masked).network
        stages[f"pruned {number}"] = dataclasses.replace(pruned, network=copy.deepcopy(current))
    if schedule.cluster:
        stages["clustered"] = _cluster(current, schedule, train)
    return stages


def _admm(constraint: Constraint, how: Training, ramp: float = 0.0) -> ADMM:
    return ADMM(constraint=constraint, rounds=how.rounds, rho=how.rho, growth=how.growth, ramp=ramp)


def _distilled(share: float, temperature: float) -> training.Objective:
    """As `training.distillation`, with the teacher's outputs beside the label: (N, C + 1)."""

    def objective(network: nn.Module, images: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        outputs = network(images)
        target, softened = (F.log_softmax(logits / temperature, 1) for logits in (told[:, :-1], outputs))
        divergence = F.kl_div(softened, target, reduction="batchmean", log_target=True)
        return share * temperature**2 * divergence + (1 - share) * F.cross_entropy(outputs, told[:, -1].long())

    return objective


def _cluster(network: nn.Module, schedule: Schedule, train: Callable[..., Stage]) -> Stage:
    """Pull the weights to levels, quantise them round by round, and train the codebooks."""

    def levels(of: nn.Module) -> Levels:
        chosen = names(schedule.cluster, network)
        return schedule.cluster.find({name: training.original(of, name).detach() for name in chosen})

    constraint = schedule.cluster if schedule.moving else levels(network)
    pulled = train("cluster", network, _admm(constraint, schedule.clustering), schedule.clustering)
    found = levels(pulled.network) if schedule.moving else constraint
    freezing = Freezing(levels=cast(Levels, found), rounds=schedule.freezing.rounds)
    frozen = train("freeze", pulled.network, freezing, schedule.freezing)
    coded = frozen.coded if schedule.freezing.epochs else quantised(frozen.network, found)
    tuned = train("tune", frozen.network, training.CodebookTuning(coded), schedule.tuning)
    return dataclasses.replace(pulled, network=tuned.network, coded=tuned.coded if schedule.tuning.epochs else coded)


def compressed(stage: Stage, network: nn.Module, task: Task, *, seed: int = 0, compact: bool = False) -> Compressed:
    """Return a stage as a file; network: the float one, whose parameters count for the ratio. compact: its header.

    A stage without codes is stored with FINE optimal values in every layer for the weights that are left.
    """
    coded = stage.coded
    if not coded.codes:
        weights = {name: torch.from_numpy(value) for name, value in weight_tensors(stage.network).items()}
        coded = FreeClusters(dict.fromkeys(weights, FINE)).find(weights).coded(weights)
    norms = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in stage.network.modules())
    calibration = task.calibration(seed=seed) if norms else None
    file = assemble(stage.network, coded, calibration=calibration)
    original = sum(value.numel() for value in network.parameters())
    return dataclasses.replace(file, original_parameters=original, compact=compact)


@torch.no_grad()
def without_dead_channels(network: nn.Module) -> nn.Module:
    """Return the network without channels that no weight reads, or whose own weights are all zero.

    Of the latter the bias goes too, which changes the function a little: training follows.
    """
    while True:
        graph = channel_graph.trace(network)
        for layer, ids in graph.layers.items():
            module = network.get_submodule(layer)
            if module.bias is not None and not np.isin(ids, graph.fixed).any():
                module.bias.mul_(module.weight.flatten(1).any(1))
        dead = channel_graph.zero_channels(network, graph)
        if not dead:
            return network.to(memory_format=torch.channels_last)
        network = channel_graph.remove(network, graph, dead)
