"""The two variants of the combined pipeline: entropy-constrained clusters, or pruning and K values beside zero."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from bitbook import training
from bitbook.clustering import Clusters, SortedWeights, clusters_beside_zero, entropy_constrained, sort_weights
from bitbook.compression import weight_tensors

RANGE = 1e-9, 1e2  # of the rate-distortion weight, in units of the mean squared weight
RESOLUTION = 512  # positions tried for a border while training: those in between are refined anyway
MOST_VALUES = 1024  # of a layer; more than any rate-distortion weight in use leaves
EXACT = 2**17  # weights of a layer up to which training clusters them one by one; above, as bins
BINS = 2**14  # of a larger layer, of equal width: they cost the squared error less than 0.01 %
CLOSE = 1e-3  # share of the weights to which the search for what to prune settles


class EntropyConstrained:
    """Entropy-constrained clusters, zero a value of its own, under one rate-distortion weight for all layers.

    All that changes is in the network's parametrisations. As the weight rises more and more of the small weights become
    zero, which is gradual pruning with thresholds that the clustering finds; a weight may come back.
    """

    def attach(self, network: nn.Module, bits: float) -> None:
        """Put clusters before all weights that take so many bits."""
        weights = {name: training.original(network, name) for name in weight_tensors(network)}
        weight = rate_distortion_weight({name: _points(value) for name, value in weights.items()}, bits)
        _attach(network, weights, partial(_clusters, weight=weight), MOST_VALUES)

    def refresh(self, network: nn.Module, bits: float) -> None:
        """Find the rate-distortion weight at which the clusters of all layers take so many bits, and these clusters."""
        layers = training.attached(network, training.StraightThrough)
        points = {name: _points(training.original(network, name)) for name in layers}
        weight = rate_distortion_weight(points, bits)
        for name, layer in layers.items():
            layer.take(_clusters(points[name], weight=weight))


def _clusters(weights: np.ndarray | SortedWeights, weight: float) -> Clusters:
    return entropy_constrained(weights, weight, zero=True, resolution=RESOLUTION)


@dataclass(frozen=True)
class Pruned:
    """Magnitude pruning by masks, and K optimal values in every layer for the weights that are left, beside zero.

    What is pruned stays pruned. Layers are made comparable by the scores of LAMP (Lee et al., arXiv 2010.07611): a
    squared weight over the sum of those in its layer that are not smaller; one level serves all layers.
    """

    k: int

    def attach(self, network: nn.Module, bits: float) -> None:
        """Put masks that prune nothing yet, and clusters, before all weights."""
        names = list(weight_tensors(network))
        for name in names:
            training.attach(network, name, training.Mask(training.original(network, name)))
        _attach(network, names, self._cluster, self.k + 1)

    def refresh(self, network: nn.Module, bits: float) -> None:
        """Find the level of scores below which weights are pruned so that the rest takes so many bits; prune them."""
        layers = training.attached(network, training.StraightThrough)
        weights = {name: _array(training.entering(network, name, layer)) for name, layer in layers.items()}
        scores = {name: lamp_scores(value) for name, value in weights.items()}
        levels = np.sort(np.concatenate([score.ravel() for score in scores.values()]))

        def bits_above(level: float) -> float:
            left = (np.where(scores[name] >= level, value, 0) for name, value in weights.items())
            return sum(self._cluster(value).bits for value in left)

        low, high = int(np.searchsorted(levels, 0.0, "right")), len(levels) - 1
        if bits_above(levels[low]) <= bits:
            high = low
        while high - low > CLOSE * len(levels):
            middle = (low + high) // 2
            low, high = (middle, high) if bits_above(levels[middle]) > bits else (low, middle)
        for name, mask in training.attached(network, training.Mask).items():
            mask.kept &= torch.from_numpy(scores[name] >= levels[high]).to(mask.kept.device)
        training.refresh(network)

    def _cluster(self, weights: np.ndarray) -> Clusters:
        return clusters_beside_zero(weights, self.k)


def lamp_scores(weights: np.ndarray) -> np.ndarray:
    """Return w^2 / sum of all v^2 >= w^2 for each weight w, float64; zeros score zero. Source: arXiv 2010.07611."""
    squares = weights.astype(np.float64).ravel() ** 2
    order = np.argsort(-squares, kind="stable")
    scores = np.empty_like(squares)
    scores[order] = squares[order] / np.maximum(np.cumsum(squares[order]), np.finfo(np.float64).tiny)
    return scores.reshape(weights.shape)


def rate_distortion_weight(tensors: Mapping[str, np.ndarray | SortedWeights], bits: float) -> float:
    """Return what a bit is worth in squared error where the entropy-constrained clusters of all layers take so many.

    tensors: float arrays, or sorted. bits: of all labels together. Found by bisection, to 0.1 %; what no weight gives
    ends at the nearest one.
    """
    layers = [x if isinstance(x, SortedWeights) else sort_weights(x) for x in tensors.values()]
    scale = sum(float(x.second[-1]) for x in layers) / sum(float(x.counts[-1]) for x in layers)
    low, high = (np.log(end * max(scale, 1e-30)) for end in RANGE)
    while high - low > 1e-3:
        middle = (low + high) / 2
        taken = sum(entropy_constrained(x, np.exp(middle), zero=True, resolution=RESOLUTION // 2).bits for x in layers)
        low, high = (middle, high) if taken > bits else (low, middle)
    return float(np.exp(high))


def _attach(network: nn.Module, names: Iterable[str], cluster: Callable[[np.ndarray], Clusters], most: int) -> None:
    for name in names:
        value = training.original(network, name).detach()
        training.attach(network, name, training.StraightThrough(value, cluster, most))


@torch.no_grad()
def _points(weights: Tensor) -> SortedWeights:
    """Sorted weights; of a large layer the centres and counts of bins, found on the device where it is."""
    if not weights.isfinite().all():
        raise FloatingPointError("training diverged: weights to be clustered are not finite; lower learning_rate")
    if weights.numel() <= EXACT:
        return sort_weights(_array(weights))
    flat = weights.detach().reshape(-1).double()
    low, high = flat.aminmax()
    width = (high - low).clamp(min=1e-30) / BINS
    counts = torch.bincount(((flat - low) / width).long().clamp(max=BINS - 1), minlength=BINS)  # (BINS,)
    used = counts.nonzero()[:, 0]
    return sort_weights((low + (used + 0.5) * width).cpu().numpy(), counts=counts[used].cpu().numpy())


def _array(weights: Tensor) -> np.ndarray:
    return weights.detach().cpu().numpy()
