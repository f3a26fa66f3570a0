"""Masks that keep pruned weights at zero, and how many weights to prune when."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ._parametrisation import attach, attached, original
from ._scheme import Scheme


class Mask(nn.Module):
    """A parametrisation: pruned weights are zero and get no gradient, whatever momentum and weight decay do to them."""

    along: ClassVar[dict[str, int]] = {"kept": 2}

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("kept", torch.ones_like(weights, dtype=torch.bool))

    def prune(self, weights: Tensor, sparsity: float) -> None:
        """Prune a share `sparsity` of all weights: those already pruned, then the smallest (of equals the last)."""
        magnitudes = weights.detach().abs().masked_fill(~self.kept, -1).flatten()
        count = round((1 - sparsity) * len(magnitudes))
        order = magnitudes.sort(descending=True, stable=True).indices[:count]
        self.kept &= torch.zeros_like(self.kept).flatten().index_fill_(0, order, True).view_as(self.kept)

    def forward(self, weights: Tensor) -> Tensor:
        return weights * self.kept


def gradual_sparsity(
    progress: float, *, final: float, initial: float = 0.0, begin: float = 0.0, end: float = 1.0
) -> float:
    """The share of weights pruned after a share `progress` of the training: fast at first, slow at last.

    final + (initial - final) (1 - t)^3, t rising from 0 at `begin` to 1 at `end` (Zhu and Gupta 2017, equation 1).
    """
    t = min(max((progress - begin) / (end - begin), 0.0), 1.0)
    return final + (initial - final) * (1 - t) ** 3


@dataclass(frozen=True, kw_only=True)
class Pruning(Scheme):
    """Gradual pruning by magnitude, with masks.

    final: the sparsity of each parameter, by name, reached after a share `end` of the training. every: steps between
    two prunings.
    """

    final: Mapping[str, float]
    every: int
    end: float

    def prepare(self, network: nn.Module) -> None:
        for name in self.final:
            attach(network, name, Mask(original(network, name)))

    def after_step(self, network: nn.Module, step: int, steps: int) -> None:
        if step % self.every == 0 or step == steps:
            for name, mask in attached(network, Mask).items():
                sparsity = gradual_sparsity(step / steps, final=self.final[name], end=self.end)
                mask.prune(original(network, name), sparsity)
