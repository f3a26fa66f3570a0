"""What a training through codes does beside plain training, and how it ends in codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from bitbook.codes import Coded
from bitbook.training._objective import Objective
from bitbook.training._parametrisation import bake
from bitbook.training._straight_through import Quantiser, quantise, refresh


class Scheme:
    """A training through codes, for `fit`; each method may be left as it is here.

    Every method is given the network, which is another, smaller one once channels have left: a scheme keeps what
    changes while it trains in parametrisations of the network, as buffers or parameters, where checkpoints have it, and
    finds them there (`attached`). A parametrisation whose tensors lie along the weight's channels names them in `along`,
    see `networks.channel_graph.Plan`. `repr` must say all that tells two trainings apart; a dataclass's does.
    """

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

    def after_epoch(self, network: nn.Module, epoch: int, epochs: int) -> Mapping[str, Sequence[int]]:
        """Act after each epoch, counted from 1; return the output channels that leave the network, by layer."""
        return {}

    def finish(self, network: nn.Module) -> Coded:
        """Take the parametrisations off, leave the network with the coded weights, and return the codes."""
        bake(network)
        return Coded({}, {})


@dataclass(frozen=True, kw_only=True)
class Quantising(Scheme):
    """What schemes with `Quantiser` parametrisations share: no weight decay for what they learn, and the codes.

    every: steps between two clusterings. until: the share of all steps in which they are made: a codebook that keeps
    moving costs accuracy at the end.
    """

    every: int = 130
    until: float = 2 / 3

    def parameters(self, network: nn.Module) -> list[dict[str, Any]]:
        """Return two groups: the network's own parameters, and what quantisers learn."""
        quantisers = [module for module in network.modules() if isinstance(module, Quantiser)]
        values = [value for module in quantisers for value in module.parameters()]
        others = [value for value in network.parameters() if all(value is not other for other in values)]
        return [{"params": others}, {"params": values, "weight_decay": 0.0}]

    def after_step(self, network: nn.Module, step: int, steps: int) -> None:
        """Find all clusters anew when it is time."""
        if step % self.every == 0 and step <= self.until * steps:
            refresh(network)

    def finish(self, network: nn.Module) -> Coded:
        """Leave the network quantised, and return the codes."""
        return quantise(network)
