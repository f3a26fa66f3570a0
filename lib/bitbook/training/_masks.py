"""Masks that keep pruned weights at zero, and how many weights to prune when."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from bitbook.training._parametrisation import attach, original


class Mask(nn.Module):
    """A parametrisation: pruned weights are zero and get no gradient, whatever momentum and weight decay do to them."""

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


def pruning(network: nn.Module, final: Mapping[str, float], *, every: int, end: float) -> Callable[[int, int], None]:
    """Mask the named parameters and return an `after_step` for `fit` that prunes them gradually by magnitude.

    `final` gives the sparsity of each parameter, reached after a share `end` of the training.
    """
    masks = {name: attach(network, name, Mask(original(network, name))) for name in final}

    def after_step(step: int, steps: int) -> None:
        if step % every == 0 or step == steps:
            for name, mask in masks.items():
                mask.prune(original(network, name), gradual_sparsity(step / steps, final=final[name], end=end))

    return after_step
