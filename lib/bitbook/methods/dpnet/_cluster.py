"""One codebook per layer: K optimal clusters, or as many as their bits are worth."""

from collections.abc import Mapping, Sequence

import numpy as np

from bitbook.clustering import Clusters, entropy_constrained, kmeans1d, kmeans1d_layers, uniform_bins
from bitbook.codes import Coded


def optimal_layers(tensors: Mapping[str, np.ndarray], k: int | Mapping[str, int]) -> Coded:
    """Return the codes of least squared error with K clusters in each layer.

    tensors: float arrays by parameter name. k: one K for all layers, or one by name. A layer with fewer distinct
    weights gets that many. Raises ValueError for K < 1. Source: arXiv 2003.09615, optimal clustering.
    """
    return _coded(kmeans1d_layers(tensors, k if isinstance(k, Mapping) else int(k)))


def entropy_constrained_layers(tensors: Mapping[str, np.ndarray], step: float) -> Coded:
    """Return the codes of least squared error plus weighted coded bits, layer by layer.

    step: sets the rate-distortion weight: that at which a uniform quantiser of this step, in units of the layer's
    standard deviation, trades squared error for bits. Raises ValueError for a step that is not above zero.
    """
    clusters = {}
    for name, tensor in tensors.items():
        width = step * max(float(tensor.std()), 1e-30)
        clusters[name] = entropy_constrained(tensor, width**2 * np.log(2) / 6)
    return _coded(clusters)


def clustering_costs(weights: np.ndarray, k: Sequence[int], *, seed: int = 0) -> dict[str, list[float]]:
    """Return, for each K, the squared error of other clusterings of one layer as a multiple of the optimum's.

    weights: any shape. Beside the optimum stand Lloyd's algorithm (scikit-learn's, k-means++ start, one run drawn by
    the seed) and K uniform bins of full width. Returns columns `k`, `Lloyd`, `uniform bins`.
    """
    from sklearn.cluster import KMeans

    columns: dict[str, list[float]] = {"k": list(k), "Lloyd": [], "uniform bins": []}
    for clusters in k:
        optimum = kmeans1d(weights, clusters).cost
        lloyd = KMeans(clusters, n_init=1, random_state=seed).fit(weights.reshape(-1, 1).astype(np.float64))
        columns["Lloyd"].append(lloyd.inertia_ / optimum)
        columns["uniform bins"].append(uniform_bins(weights, clusters, full_width=True).cost / optimum)
    return columns


def _coded(clusters: Mapping[str, Clusters]) -> Coded:
    return Coded.by_layer({name: (found.labels, found.values) for name, found in clusters.items()})
