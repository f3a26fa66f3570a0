"""A whole network clustered layer by layer, without training: given K, or within a budget of bytes."""

from collections.abc import Mapping

import numpy as np
from torch import nn

from bitbook.codes import Coded, Compressed
from bitbook.compression import Divergence, assemble, compensate, input_moments, rate_distortion_table, weight_tensors
from bitbook.methods.dpnet._cluster import entropy_constrained_layers, optimal_layers
from bitbook.tasks import Task

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
