"""One codebook per layer, without training: K optimal clusters, or as many as a budget of bytes is worth."""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import nn

from bitbook.clustering import Clusters, entropy_constrained, kmeans1d, kmeans1d_layers, uniform_bins
from bitbook.codes import Coded, Compressed
from bitbook.compression import Divergence, assemble, compensate, input_moments, rate_distortion_table, weight_tensors
from bitbook.tasks import Task


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


STEPS = tuple(np.geomspace(0.15, 1.5, 8))  # of the layer's standard deviation: from 5 bits a weight to under 1


def entropy_constrained_options(tensors: Mapping[str, np.ndarray], steps: tuple[float, ...] = STEPS) -> list[Coded]:
    """Return the network clustered at several rate-distortion weights, those of uniform quantisers with these steps.

    steps: in units of each layer's standard deviation, so that options span the same rates in every layer.
    """
    return [entropy_constrained_layers(tensors, step) for step in steps]


def compress(
    network: nn.Module,
    task: Task,
    *,
    k: int | None = None,
    budget: int | None = None,
    rounding: str = "compensated",
    rate_weight: float = 0.1,
    images: int = 1000,
    seed: int = 0,
) -> Compressed:
    """Compress a network to one codebook per layer, batch norms re-estimated, without training.

    Either k, the optimal clusters of every layer, or budget, the most bytes of the file: each layer then gets the
    entropy-constrained clusters that serve the whole network's outputs best. rounding: "nearest" values, or
    "compensated" at this rate-distortion weight, see `compensate`. images: augmented training images for both. Raises
    ValueError unless exactly one of k and budget is given, and for a budget that no file keeps.
    """
    if (k is None) == (budget is None):
        raise ValueError("give either k, the clusters of every layer, or budget, the bytes of the file")
    if rounding not in ("nearest", "compensated"):
        raise ValueError(f"rounding is 'nearest' or 'compensated', not {rounding!r}")
    tensors, calibration = weight_tensors(network), task.calibration(seed=seed)
    divergence = Divergence(network, task, images=images, seed=seed)
    moments = input_moments(network, divergence.images) if rounding == "compensated" else {}
    if k is not None:
        coded = compensate(tensors, optimal_layers(tensors, k), moments, rate_weight=rate_weight)
        return assemble(network, coded, calibration=calibration)
    options = entropy_constrained_options(tensors)
    table = rate_distortion_table(network, tensors, options, divergence, moments=moments, rate_weight=rate_weight)
    most = budget
    while True:
        file = assemble(network, table.within(most), calibration=calibration)
        if (over := len(file.to_bytes()) - budget) <= 0:
            return file
        most -= over  # the batch norms as re-estimated take a few bytes more than those of the table
