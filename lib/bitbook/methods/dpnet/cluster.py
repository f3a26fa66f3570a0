"""One codebook per layer: K optimal clusters, or as many as their bits are worth."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bitbook.clustering import Clusters, entropy_constrained, kmeans1d_layers
from bitbook.codes import ScalarCode

Coded = tuple[dict[str, ScalarCode], dict[str, np.ndarray]]


def optimal_layers(tensors: Mapping[str, np.ndarray], k: int | Mapping[str, int]) -> Coded:
    """Return codes and codebooks of least squared error with K clusters in each layer.

    tensors: float arrays by parameter name. k: one K for all layers, or one by name. A layer with fewer distinct
    weights gets that many. Raises ValueError for K < 1. Source: arXiv 2003.09615, optimal clustering.
    """
    return _coded(kmeans1d_layers(tensors, k if isinstance(k, Mapping) else int(k)))


def entropy_constrained_layers(tensors: Mapping[str, np.ndarray], step: float) -> Coded:
    """Return codes and codebooks of least squared error plus the price of the coded bits, layer by layer.

    step: sets the price: that at which a uniform quantiser of this step, in units of the layer's standard deviation,
    trades squared error for bits. Raises ValueError for a step that is not above zero.
    """
    clusters = {}
    for name, tensor in tensors.items():
        width = step * max(float(tensor.std()), 1e-30)
        clusters[name] = entropy_constrained(tensor, width**2 * np.log(2) / 6)
    return _coded(clusters)


def _coded(clusters: Mapping[str, Clusters]) -> Coded:
    codes = {name: ScalarCode(found.labels, name) for name, found in clusters.items()}
    return codes, {name: found.values.astype(np.float16) for name, found in clusters.items()}
