"""The two ways in which the combined pipeline spends its bits: priced clusters, or pruning and K values beside zero."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from bitbook import training
from bitbook.clustering import Clusters, SortedWeights, clusters_beside_zero, entropy_constrained, sort_weights

PRICES = 1e-9, 1e2  # of a bit, in units of the mean squared weight, between which the search looks
RESOLUTION = 512  # positions tried for a border while training: those in between are refined anyway
MOST_VALUES = 1024  # of a layer; more than any rate-distortion weight in use leaves
EXACT = 2**17  # weights of a layer up to which training clusters them one by one; above, as bins
BINS = 2**14  # of a larger layer, of equal width: they cost the squared error less than 0.01 %
CLOSE = 1e-3  # share of the weights to which the search for what to prune settles


class Spending(Protocol):
    """A way to spend bits: what stands before the weights in training, moved to a number of bits again and again."""

    layers: Mapping[str, training.StraightThrough]

    def weights(self, network: nn.Module, name: str) -> Tensor:
        """Return what the layer of that name is given to quantise."""

    def refresh(self, network: nn.Module, bits: float) -> None:
        """Find clusters of the weights as they are now that take at most so many bits."""


class Priced:
    """Entropy-constrained clusters, zero a value of its own, under one price of a bit for all layers.

    As the price rises more and more of the small weights become zero, which is gradual pruning with thresholds that
    the clustering finds; a weight may come back.
    """

    def __init__(self, network: nn.Module, names: list[str], bits: float) -> None:
        weights = {name: self.weights(network, name) for name in names}
        self._price = price_for({name: _points(value) for name, value in weights.items()}, bits)
        self.layers = _attach(network, weights, self._cluster, MOST_VALUES)

    def weights(self, network: nn.Module, name: str) -> Tensor:
        """Return the weights that train."""
        return training.original(network, name)

    def refresh(self, network: nn.Module, bits: float) -> None:
        """Find the price at which the clusters of all layers take so many bits, and these clusters."""
        points = {name: _points(self.weights(network, name)) for name in self.layers}
        self._price = price_for(points, bits)
        for name, layer in self.layers.items():
            layer.take(self._cluster(points[name]))

    def _cluster(self, weights: np.ndarray | SortedWeights) -> Clusters:
        return entropy_constrained(weights, self._price, zero=True, resolution=RESOLUTION)


class Pruned:
    """Magnitude pruning by masks, and K optimal values in every layer for the weights that are left, beside zero.

    What is pruned stays pruned. Layers are made comparable by the scores of LAMP (Lee et al., arXiv 2010.07611): a
    squared weight over the sum of those in its layer that are not smaller; one level serves all layers.
    """

    def __init__(self, network: nn.Module, names: list[str], k: int) -> None:
        self._k = k
        weights = {name: training.original(network, name) for name in names}
        self._masks = {name: training.attach(network, name, training.Mask(value)) for name, value in weights.items()}
        self.layers = _attach(network, weights, self._cluster, k + 1)

    def weights(self, network: nn.Module, name: str) -> Tensor:
        """Return the weights that train, zero where they are pruned."""
        return self._masks[name](training.original(network, name))

    def refresh(self, network: nn.Module, bits: float) -> None:
        """Find the level of scores below which weights are pruned so that the rest takes so many bits; prune them."""
        weights = {name: _array(self.weights(network, name)) for name in self.layers}
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
        for name, layer in self.layers.items():
            kept = self._masks[name].kept
            kept &= torch.from_numpy(scores[name] >= levels[high]).to(kept.device)
            layer.refresh(self.weights(network, name))

    def _cluster(self, weights: np.ndarray) -> Clusters:
        return clusters_beside_zero(weights, self._k)


def lamp_scores(weights: np.ndarray) -> np.ndarray:
    """Return w^2 / sum of all v^2 >= w^2 for each weight w, float64; zeros score zero. Source: arXiv 2010.07611."""
    squares = weights.astype(np.float64).ravel() ** 2
    order = np.argsort(-squares, kind="stable")
    scores = np.empty_like(squares)
    scores[order] = squares[order] / np.maximum(np.cumsum(squares[order]), np.finfo(np.float64).tiny)
    return scores.reshape(weights.shape)


def price_for(tensors: Mapping[str, np.ndarray | SortedWeights], bits: float) -> float:
    """Return the price of a bit, one for all layers, at which their entropy-constrained clusters take so many bits.

    tensors: float arrays, or sorted. bits: of all labels together. Found by bisection, to 0.1 %; what no price gives
    ends at the nearest one.
    """
    layers = [x if isinstance(x, SortedWeights) else sort_weights(x) for x in tensors.values()]
    scale = sum(float(x.second[-1]) for x in layers) / sum(float(x.counts[-1]) for x in layers)
    low, high = (np.log(price * max(scale, 1e-30)) for price in PRICES)
    while high - low > 1e-3:
        middle = (low + high) / 2
        taken = sum(entropy_constrained(x, np.exp(middle), zero=True, resolution=RESOLUTION // 2).bits for x in layers)
        low, high = (middle, high) if taken > bits else (low, middle)
    return float(np.exp(high))


def _attach(
    network: nn.Module, weights: Mapping[str, Tensor], cluster: Callable[[np.ndarray], Clusters], most: int
) -> dict[str, training.StraightThrough]:
    return {
        name: training.attach(network, name, training.StraightThrough(value.detach(), cluster, most))
        for name, value in weights.items()
    }


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
