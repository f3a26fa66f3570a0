"""What follows ADMM: training what is left, and rounds that quantise the weights nearest to their levels."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bitbook import training
from bitbook.codes import Coded
from bitbook.compression import weight_tensors

from ._constraints import Levels, largest
from ._scheme import kept, names

SHARE = 0.3  # of the weights in each level's cell that are still free: quantised in each round


@dataclass(frozen=True)
class Masked(training.Scheme):
    """Trains the weights of layers that are not zero; those that are stay so."""

    def prepare(self, network: nn.Module) -> None:
        for name in weight_tensors(network):
            training.attach(network, name, kept(training.original(network, name)))


class Frozen(nn.Module):
    """A parametrisation: where `fixed`, the weights have fixed `values`; elsewhere they are free."""

    along: ClassVar = {"fixed": 2, "values": 2}

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("fixed", torch.zeros_like(weights, dtype=torch.bool))
        self.register_buffer("values", torch.zeros_like(weights))

    def forward(self, weights: Tensor) -> Tensor:
        return torch.where(self.fixed, self.values, weights)

    def freeze(self, weights: Tensor, values: Tensor, cells: Tensor) -> None:
        """Fix SHARE of each cell's free weights, rounded up: those nearest to their level."""
        free, distance = (weights != 0) & ~self.fixed, (weights - values).abs()
        for cell in cells[free].unique():
            members = free & (cells == cell)
            count = math.ceil(SHARE * int(members.sum()))
            self.fixed |= largest((-distance).masked_fill(~members, -torch.inf), count)
        self.values.copy_(torch.where(self.fixed, values, 0.0))


@dataclass(frozen=True, kw_only=True)
class Freezing(training.Scheme):
    """Rounds that quantise the closest weights and train the rest on; in the end all that is left is quantised."""

    levels: Levels
    rounds: int = 8

    def prepare(self, network: nn.Module) -> None:
        for name in names(self.levels, network):
            training.attach(network, name, kept(training.original(network, name)))
            training.attach(network, name, Frozen(training.original(network, name).detach()))
        self._freeze(network)

    def after_step(self, network: nn.Module, step: int, steps: int) -> None:
        if step * self.rounds // steps > (step - 1) * self.rounds // steps:
            self._freeze(network)

    def finish(self, network: nn.Module) -> Coded:
        training.bake(network)
        return quantised(network, self.levels)

    @torch.no_grad()
    def _freeze(self, network: nn.Module) -> None:
        modules = training.attached(network, Frozen)
        weights = {name: module(training.entering(network, name, module)) for name, module in modules.items()}
        values, cells = self.levels.project(weights), self.levels.indices(weights)
        for name, module in modules.items():
            module.freeze(weights[name], values[name], cells[name])


@torch.no_grad()
def quantised(network: nn.Module, levels: Levels) -> Coded:
    """Give a network's weights their nearest levels, and return the codes."""
    weights = {name: training.original(network, name) for name in names(levels, network)}
    coded = levels.coded(weights)
    for name, value in levels.project(weights).items():
        weights[name].copy_(value)
    return coded
