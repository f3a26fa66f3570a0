"""ADMM as a training: weights W, their copies Z in the constraint set, and the scaled duals U."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from bitbook import training
from bitbook.codes import Coded
from bitbook.compression import weight_tensors

from ._constraints import Constraint


class Split(nn.Module):
    """A parametrisation that leaves the weights as they are, and holds Z, U, rho and the residuals of all rounds."""

    along: ClassVar = {"z": 2, "u": 2}

    def __init__(self, weights: Tensor, projected: Tensor, rho: float, rounds: int) -> None:
        super().__init__()
        self.register_buffer("z", projected.detach().clone())
        self.register_buffer("u", torch.zeros_like(weights))
        self.register_buffer("rho", torch.tensor(rho).to(weights))
        # (rounds, 2): primal |W - Z| and dual rho |Z - last Z|
        self.register_buffer("residuals", torch.full((rounds, 2), torch.nan, dtype=torch.float64))

    def forward(self, weights: Tensor) -> Tensor:
        return weights

    def penalty(self, weights: Tensor) -> Tensor:
        """Return rho / 2 |W - Z + U|^2."""
        return self.rho / 2 * (weights - self.z + self.u).square().sum()

    def update(self, weights: Tensor, projected: Tensor, done: int, growth: float) -> None:
        """Take the new Z and U; U is in units of the multiplier over rho, so it shrinks as rho grows."""
        pair = (weights - projected).norm(), self.rho * (projected - self.z).norm()
        self.residuals[done] = torch.stack(pair).to(self.residuals)
        self.z.copy_(projected)
        self.u.add_(weights - projected).div_(growth)
        self.rho.mul_(growth)


@dataclass(frozen=True, kw_only=True)
class ADMM(training.Scheme):
    """Minimise the loss + sum of rho / 2 |W - Z + U|^2 by training; now and then Z = Proj(W + U), U = U + W - Z.

    Weights of zero at the start stay zero. In the end what Z has as zero is zero. rounds: updates of Z and U, spread
    evenly. growth: what rho is multiplied by in each. ramp: the share of the rounds over which a cardinality comes down
    from all weights, along the cubic law of gradual pruning; 0 for the paper's fixed one.
    """

    constraint: Constraint
    rounds: int = 20
    rho: float = 1e-3
    growth: float = 1.0
    ramp: float = 0.0

    def prepare(self, network: nn.Module) -> None:
        weights = {name: training.original(network, name) for name in names(self.constraint, network)}
        projected = self.constraint.project(weights, self._progress(0))
        for name, value in weights.items():
            training.attach(network, name, kept(value))
            training.attach(network, name, Split(value.detach(), projected[name], self.rho, self.rounds))

    def objective(self, network: nn.Module, base: training.Objective) -> training.Objective:
        splits = training.attached(network, Split)

        def minimised(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            pulled = (split.penalty(training.entering(network, name, split)) for name, split in splits.items())
            return base(model, images, labels) + sum(pulled)

        return minimised

    @torch.no_grad()
    def after_step(self, network: nn.Module, step: int, steps: int) -> None:
        """Update Z and U when a round is over."""
        done = step * self.rounds // steps
        if done == (step - 1) * self.rounds // steps:
            return
        splits = training.attached(network, Split)
        weights = {name: training.entering(network, name, split) for name, split in splits.items()}
        sums = {name: value + splits[name].u for name, value in weights.items()}
        projected = self.constraint.project(sums, self._progress(done))
        for name, split in splits.items():
            split.update(weights[name], projected[name], done - 1, self.growth)

    @torch.no_grad()
    def finish(self, network: nn.Module) -> Coded:
        for name, split in training.attached(network, Split).items():
            training.original(network, name).mul_(split.z != 0)
        return super().finish(network)

    def _progress(self, done: int) -> float:
        return min(done / (self.ramp * self.rounds), 1.0) if self.ramp else 1.0


def names(constraint: Constraint, network: nn.Module) -> Sequence[str]:
    """Return the parameters of a network that a constraint is about, of its layers' weights and biases."""
    weights, every = list(weight_tensors(network)), dict(network.named_parameters())
    biases = [name for weight in weights if (name := f"{weight.rpartition('.')[0]}.bias") in every]
    return constraint.names(weights, [*weights, *biases])


def kept(weights: Tensor) -> training.Mask:
    """A mask of the weights that are not zero."""
    mask = training.Mask(weights)
    mask.kept.copy_(weights != 0)
    return mask


def residuals(network: nn.Module) -> Mapping[str, np.ndarray]:
    """Primal and dual residual of each layer after every round so far, (rounds, 2), of a network in training."""
    found = training.attached(network, Split)
    return {name: split.residuals.cpu().numpy() for name, split in found.items()}
