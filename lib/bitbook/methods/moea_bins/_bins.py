"""One codebook for the whole network: theta, cut into k uniform bins, each replaced by its mean."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import nn

from bitbook.clustering import uniform_bins
from bitbook.codes import Coded, Compressed, ScalarCode
from bitbook.compression._assemble import assemble
from bitbook.compression._select import weight_tensors
from bitbook.tasks import Task


def shared_bins(tensors: Mapping[str, np.ndarray], k: int, *, full_width: bool = False) -> Coded:
    """Return the codes of all tensors and their one codebook, from k uniform bins over the range of all weights.

    tensors: float arrays by parameter name. The codebook holds the d <= k means of the non-empty bins as float16.
    full_width: k bins of full width, instead of the paper's rule by which the largest weight has a bin of its own.
    Raises ValueError for k < 1 and for weights that are not finite. Source: arXiv 2501.03095, uniform bins.
    """
    theta = np.concatenate([tensor.ravel() for tensor in tensors.values()])  # (N,)
    bins = uniform_bins(theta, k, full_width=full_width)
    ends = np.cumsum([tensor.size for tensor in tensors.values()])[:-1]
    parts = np.split(bins.indices, ends)
    codes = {
        name: ScalarCode(part.reshape(tensor.shape), "shared")
        for (name, tensor), part in zip(tensors.items(), parts, strict=True)
    }
    return Coded(codes, {"shared": bins.values.astype(np.float16)})


def compress(
    network: nn.Module, task: Task, *, bins: int, full_width: bool = False, reestimate: bool = True, seed: int = 0
) -> Compressed:
    """Compress a network to one codebook of at most `bins` shared weights, without retraining.

    reestimate: whether the batch norms' statistics are taken again on training images drawn by the seed. Raises
    ValueError for bins < 1.
    """
    coded = shared_bins(weight_tensors(network), bins, full_width=full_width)
    return assemble(network, coded, calibration=task.calibration(seed=seed) if reestimate else None)
