"""DPQ: training through the optimal quantisation of each layer, with a straight-through gradient."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bitbook import training
from bitbook.clustering import Clusters, kmeans1d
from bitbook.compression import weight_tensors


class _Nearest(torch.autograd.Function):
    """values[indices]; the weights get the gradient unchanged, each value the mean of its members'."""

    @staticmethod
    def forward(context: Any, weights: Tensor, values: Tensor, indices: Tensor) -> Tensor:
        context.save_for_backward(values, indices)
        return values.take(indices)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        values, indices = context.saved_tensors
        return gradient, cluster_means(gradient, indices, len(values)).to(values.dtype), None


def cluster_means(numbers: Tensor, indices: Tensor, k: int) -> Tensor:
    """Return the mean of each cluster's numbers, float64 (k,), 0 for an empty one; indices: int64, shape of numbers."""
    total = torch.zeros(k, dtype=torch.float64, device=numbers.device)
    total.index_add_(0, indices.reshape(-1), numbers.reshape(-1).double())
    return total / torch.bincount(indices.reshape(-1), minlength=k).clamp(min=1)


class Quantised(training.Clustered):
    """A parametrisation: each weight is replaced by the nearest value of its layer, and both are trained.

    A refresh makes the values the optimal clusters' means again; between refreshes they follow their own gradient, and
    so they settle while the learning rate falls. Without it, clusters that are refreshed late in the training cost
    accuracy, and values that are never refreshed again stay behind their weights.
    """

    def __init__(self, weights: Tensor, cluster: partial[Clusters], k: int) -> None:
        super().__init__(weights, cluster, k)
        values = self.values
        del self.values
        self.values = nn.Parameter(values)  # (k,)

    def indices(self, weights: Tensor) -> Tensor:
        """The nearest value of each weight, int64, shape of the weights."""
        values, order = self.values.detach().double().sort()  # trained values may change places
        nearest = torch.bucketize(weights.detach().double(), (values[1:] + values[:-1]) / 2, right=True)
        return order.take(nearest)

    def forward(self, weights: Tensor) -> Tensor:
        return _Nearest.apply(weights, self.values, self.indices(weights))


def attach_clusters(network: nn.Module, k: int | Mapping[str, int], kind: type[training.Clustered]) -> None:
    """Put a parametrisation of this kind with K optimal clusters before every weight tensor of a network.

    k: one K for all layers, or one by name. Source: arXiv 2003.09615, optimal clustering; the gradients are our choice.
    """
    for name in weight_tensors(network):
        clusters = k[name] if isinstance(k, Mapping) else k
        weights = training.original(network, name).detach()
        training.attach(network, name, kind(weights, partial(kmeans1d, k=clusters), clusters))


@dataclass(frozen=True, kw_only=True)
class DPQ(training.Refreshing):
    """Trains through the optimal clusters of each layer.

    k: values of each layer, one K for all or one by parameter name. every: steps between two clusterings. until: the
    share of all steps in which they are made.
    """

    k: int | Mapping[str, int]
    until: float = 1 / 3

    def __post_init__(self) -> None:
        super().__post_init__()
        training.require_ranges(self, k=(1, 65536))

    def prepare(self, network: nn.Module) -> None:
        attach_clusters(network, self.k, Quantised)
