"""One codebook for the whole network: theta, cut into k uniform bins, each replaced by its mean."""

from collections.abc import Mapping

import numpy as np
from torch import nn

from bitbook.clustering import uniform_bins
from bitbook.codes import Coded, Compressed, ScalarCode, small_floats
from bitbook.compression import assemble, weight_tensors
from bitbook.tasks import Task


def shared_bins(tensors: Mapping[str, np.ndarray], k: int) -> Coded:
    """Return the codes of all tensors and their one codebook, from k uniform bins over the range of all weights.

    tensors: float arrays by parameter name. The codebook holds the d <= k means of the non-empty bins as float16.
    Raises ValueError for k < 1 and for weights that are not finite. Source: arXiv 2501.03095, uniform bins.
    """
    theta = np.concatenate([tensor.ravel() for tensor in tensors.values()])  # (N,)
    bins = uniform_bins(theta, k)
    ends = np.cumsum([tensor.size for tensor in tensors.values()])[:-1]
    parts = np.split(bins.indices, ends)
    codes = {
        name: ScalarCode(part.reshape(tensor.shape), "shared")
        for (name, tensor), part in zip(tensors.items(), parts, strict=True)
    }
    return Coded(codes, {"shared": small_floats(bins.values)})


def compress(network: nn.Module, task: Task, *, bins: int, seed: int = 0) -> Compressed:
    """Compress a network to one codebook of at most `bins` shared weights, without retraining.

    The batch norms' statistics are taken again on training images drawn by the seed. Raises ValueError for bins < 1.
    """
    return assemble(network, shared_bins(weight_tensors(network), bins), calibration=task.calibration(seed=seed))
