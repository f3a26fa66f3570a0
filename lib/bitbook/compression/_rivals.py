"""What users would pick: k-means layer by layer, or a uniform grid for each layer whose step size is learned."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bitbook import training
from bitbook.codes import Coded
from bitbook.compression._select import weight_tensors


def kmeans_layers(tensors: Mapping[str, np.ndarray], k: int | Mapping[str, int], *, seed: int = 0) -> Coded:
    """Return the codes that scikit-learn finds, layer by layer: the best of ten starts, drawn by the seed.

    tensors: float arrays by parameter name. k: one K for all layers, or one by name; fewer where weights are fewer.
    """
    from sklearn.cluster import KMeans

    layers = {}
    for name, tensor in tensors.items():
        clusters = min(k[name] if isinstance(k, Mapping) else k, len(np.unique(tensor)))
        found = KMeans(clusters, n_init=10, random_state=seed).fit(tensor.reshape(-1, 1).astype(np.float64))
        layers[name] = found.labels_.reshape(tensor.shape), found.cluster_centers_.ravel()
    return Coded.by_layer(layers)


class _Rounded(torch.autograd.Function):
    """The nearest level of each weight times the step, with the gradients of LSQ's equations 3 and 5."""

    @staticmethod
    def forward(context: Any, weights: Tensor, step: Tensor, largest: float) -> Tensor:
        levels = _levels(weights / step, largest)
        context.save_for_backward(weights / step, levels)
        context.largest = largest
        return levels * step

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, levels = context.saved_tensors
        within = x.abs() <= context.largest
        scale = 1 / math.sqrt(x.numel() * context.largest)  # LSQ, section 2.2
        of_step = (gradient * (levels - x * within)).sum() * scale
        return gradient * within, of_step, None


def _levels(x: Tensor, largest: float) -> Tensor:
    return (x.clamp(-largest, largest) + largest).round() - largest


class LearnedStep(training.Quantiser):
    """A parametrisation: each weight is rounded to one of k levels, multiples of a step that is learned.

    The levels are -Q, ..., Q times the step with Q = (k - 1) / 2. Unlike LSQ's own, -k/2, ..., k/2 - 1, they lie evenly
    about zero and serve k = 2 too. The step begins where the squared error is least near the start that LSQ gives, from
    which a short training would take epochs to come.
    """

    def __init__(self, weights: Tensor, k: int) -> None:
        super().__init__()
        self.largest = (k - 1) / 2
        step = 2 * weights.abs().mean() / math.sqrt(self.largest)
        for _ in range(50):  # alternately the levels for the step and the step for the levels
            levels = _levels(weights / step, self.largest)
            step = (weights * levels).sum() / levels.square().sum()
        self.step = nn.Parameter(step.clone())

    @property
    def values(self) -> Tensor:
        """The levels times the step, (k,) ascending."""
        levels = torch.arange(round(2 * self.largest) + 1, device=self.step.device) - self.largest
        return levels * self.step

    def indices(self, weights: Tensor) -> Tensor:
        """The level of each weight, counted from 0, int64, shape of the weights."""
        return (_levels(weights.detach() / self.step.detach(), self.largest) + self.largest).long()

    def forward(self, weights: Tensor) -> Tensor:
        return _Rounded.apply(weights, self.step, self.largest)


@dataclass(frozen=True, kw_only=True)
class LSQ(training.Quantising):
    """Trains through a uniform grid of k levels in every layer, one number for all or one by parameter name."""

    k: int | Mapping[str, int]

    def __post_init__(self) -> None:
        training.require_ranges(self, k=(2, 65536))  # levels

    def prepare(self, network: nn.Module) -> None:
        """Put a grid before every weight tensor."""
        layers = {name: self.k[name] if isinstance(self.k, Mapping) else self.k for name in weight_tensors(network)}
        for name, levels in layers.items():
            training.attach(network, name, LearnedStep(training.original(network, name).detach(), levels))
