"""Training weights that the network sees quantised: the straight-through estimator, with refreshed clusters."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from bitbook.clustering import Clusters
from bitbook.clustering._threads import Workers
from bitbook.codes import Coded
from bitbook.networks import bake

from ._parametrisation import attached, entering


class _StraightThrough(torch.autograd.Function):
    """Exactly the quantised weights forward: weights + (quantised - weights) would round, and tear clusters apart."""

    @staticmethod
    def forward(context: Any, weights: Tensor, quantised: Tensor) -> Tensor:
        return quantised.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def straight_through(weights: Tensor, quantised: Tensor) -> Tensor:
    """The quantised weights, whose gradient passes to the weights unchanged (Bengio et al., arXiv 1308.3432)."""
    return _StraightThrough.apply(weights, quantised)


class Quantiser(nn.Module, ABC):
    """A parametrisation that knows values, (k,), and for weights the indices, int64, of those that they take."""

    along: ClassVar[dict[str, int]] = {}  # values belong to the whole layer
    values: Tensor

    @abstractmethod
    def indices(self, weights: Tensor) -> Tensor:
        """The index of each weight's value, shape of the weights."""


class Clustered(Quantiser):
    """Clusters of a weight tensor for a parametrisation to use: values and borders, which stay between refreshes.

    `cluster` finds at most `k` clusters of an array of weights, such as `lambda w: kmeans1d(w, k)`. A weight that
    crosses a border changes its cluster.
    """

    def __init__(self, weights: Tensor, cluster: Callable[[np.ndarray], Clusters], k: int) -> None:
        super().__init__()
        self.cluster = cluster
        # Where fewer clusters are found, the last value is repeated beyond borders at infinity.
        self.register_buffer("values", weights.new_zeros(k))  # (k,) ascending
        self.register_buffer("borders", weights.new_zeros(k - 1, dtype=torch.float64))  # (k - 1,)
        self.refresh(weights)

    @torch.no_grad()
    def refresh(self, weights: Tensor) -> None:
        """Find the clusters of the weights as they are now; FloatingPointError where they are not finite."""
        if not weights.isfinite().all():
            raise FloatingPointError("training diverged: weights to be clustered are not finite; lower learning_rate")
        self.take(self.cluster(weights.detach().cpu().numpy()))

    @torch.no_grad()
    def take(self, clusters: Clusters) -> None:
        """Use these clusters from now on; ValueError for more than there is room for."""
        found, k = len(clusters.values), len(self.values)
        if found > k:
            raise ValueError(f"{found} clusters were found where at most {k} were promised")
        self.values.copy_(torch.from_numpy(np.pad(clusters.values, (0, k - found), mode="edge")))
        self.borders.copy_(torch.from_numpy(np.pad(clusters.borders, (0, k - found), constant_values=np.inf)))

    def indices(self, weights: Tensor) -> Tensor:
        """The cluster of each weight, int64, shape of the weights."""
        return torch.bucketize(weights.detach().double(), self.borders, right=True)

    def quantised(self, weights: Tensor) -> Tensor:
        """The value of each weight's cluster, shape of the weights, without a gradient."""
        return self.values.take(self.indices(weights))


class StraightThrough(Clustered):
    """A parametrisation: each weight is replaced by the value of its cluster, and trained through that."""

    def forward(self, weights: Tensor) -> Tensor:
        return straight_through(weights, self.quantised(weights))


def refresh(network: nn.Module) -> None:
    """Find the clusters of all `Clustered` parametrisations anew, for the weights as they are now."""
    found = [(entering(network, name, module), module) for name, module in attached(network, Clustered).items()]
    with Workers() as workers:
        workers.each(lambda pair: pair[1].refresh(pair[0]), found)


@torch.no_grad()
def coded(network: nn.Module) -> Coded:
    """The weights of all layers with a `Quantiser`, as codes with a float16 codebook for each layer."""
    layers = {}
    for name, module in attached(network, Quantiser).items():  # type: ignore[type-abstract]
        indices = module.indices(entering(network, name, module))
        small = indices.to(torch.uint8 if len(module.values) <= 256 else torch.int32)  # travels faster
        layers[name] = small.cpu().numpy(), module.values.detach().cpu().numpy()
    return Coded.by_layer(layers)


def quantise(network: nn.Module) -> Coded:
    """Take all parametrisations off a network, which keeps the weights that it computed with; return its codes."""
    found = coded(network)
    bake(network)
    return found
