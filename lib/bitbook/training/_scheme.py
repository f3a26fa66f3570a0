"""What a training through codes adds to plain training, and how it ends in codes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from bitbook.codes import Coded
from bitbook.networks import bake

from ._objective import Objective
from ._parametrisation import attached
from ._recipe import Recipe, require_ranges
from ._straight_through import Quantiser, quantise, refresh


class Scheme:
    """A training through codes, for `fit`; each method may be left as it is here.

    Every method gets the network, which is another, smaller one once channels have left: a scheme keeps what changes
    while it trains in parametrisations of the network, as buffers or parameters, where checkpoints have it, and finds
    them there (`attached`). A parametrisation whose tensors lie along the weight's channels names them in an attribute
    `along`, see `networks.channel_graph.Plan.along`. The `repr` of a scheme must say all that distinguishes two
    trainings, as that of a dataclass does.
    """

    def check(self, recipe: Recipe) -> None:
        """Raise ValueError for a recipe with which the scheme makes no sense."""

    def prepare(self, network: nn.Module) -> None:
        """Put parametrisations before the network's weights."""

    def parameters(self, network: nn.Module) -> list[dict[str, Any]]:
        """Return optimiser groups; their own `lr` and `weight_decay` replace the recipe's."""
        return [{"params": list(network.parameters())}]

    def objective(self, network: nn.Module, base: Objective) -> Objective:
        """Return what is minimised; base: the objective of plain training or distillation."""
        return base

    def after_step(self, network: nn.Module, step: int, steps: int) -> None:
        """Act after each optimiser step, counted from 1."""

    def after_epoch(self, network: nn.Module, epoch: int, epochs: int) -> Mapping[str, Sequence[int] | np.ndarray]:
        """Act after each epoch, counted from 1; return the output channels that leave the network, by layer."""
        return {}

    def finish(self, network: nn.Module) -> Coded:
        """Take the parametrisations off, and return the codes; the network is left with what it computed with."""
        bake(network)
        return Coded({}, {})


class Quantising(Scheme):
    """What schemes with `Quantiser` parametrisations share: no weight decay for what they learn, and the codes."""

    def parameters(self, network: nn.Module) -> list[dict[str, Any]]:
        values = [value for module in attached(network, Quantiser).values() for value in module.parameters()]  # type: ignore[type-abstract]
        others = [value for value in network.parameters() if all(value is not other for other in values)]
        return [{"params": others}, {"params": values, "weight_decay": 0.0}]

    def finish(self, network: nn.Module) -> Coded:
        return quantise(network)


@dataclass(frozen=True, kw_only=True)
class Refreshing(Quantising):
    """A scheme whose clusters are found anew.

    every: steps between two clusterings. until: the share of all steps in which they are made: a codebook that keeps
    moving costs accuracy at the end.
    """

    every: int = 130
    until: float = 2 / 3

    def __post_init__(self) -> None:
        require_ranges(self, every=(1, 1e9), until=(0, 1))

    def after_step(self, network: nn.Module, step: int, steps: int) -> None:
        if step % self.every == 0 and step <= self.until * steps:
            refresh(network)
