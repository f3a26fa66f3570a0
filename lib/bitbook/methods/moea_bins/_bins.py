"""One codebook for the whole network: theta, cut into k uniform bins, each replaced by its mean; bins merged."""

from collections.abc import Callable, Mapping

import numpy as np
from torch import nn

from bitbook.clustering import uniform_bins
from bitbook.codes import Coded, Compressed, ScalarCode, small_floats
from bitbook.compression import assemble, weight_tensors
from bitbook.tasks import Task


def split(flat: np.ndarray, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what belongs to each tensor of (N,) numbers, in its shape."""
    parts = np.split(flat, np.cumsum([tensor.size for tensor in tensors.values()])[:-1])
    return {name: part.reshape(tensor.shape) for (name, tensor), part in zip(tensors.items(), parts, strict=True)}


def shared_bins(tensors: Mapping[str, np.ndarray], k: int) -> Coded:
    """Return the codes of all tensors and their one codebook, from k uniform bins over the range of all weights.

    tensors: float arrays by parameter name. The codebook holds the d <= k means of the non-empty bins as float16.
    Raises ValueError for k < 1 and for weights that are not finite. Source: arXiv 2501.03095, uniform bins.
    """
    theta = np.concatenate([tensor.ravel() for tensor in tensors.values()])  # (N,)
    bins = uniform_bins(theta, k)
    codes = {name: ScalarCode(part, "shared") for name, part in split(bins.indices, tensors).items()}
    return Coded(codes, {"shared": small_floats(bins.values)})


def compress(network: nn.Module, task: Task, *, bins: int, seed: int = 0) -> Compressed:
    """Compress a network to one codebook of at most `bins` shared weights, without retraining.

    The batch norms' statistics are taken again on training images drawn by the seed. Raises ValueError for bins < 1.
    """
    return assemble(network, shared_bins(weight_tensors(network), bins), calibration=task.calibration(seed=seed))


Score = Callable[[np.ndarray], float]  # (d,) the group of each bin, 0..g-1 ascending -> larger is better


def merge_neighbours(bins: int, score: Score, *, reference: float, rising: bool = False) -> np.ndarray:
    """Return the group of each of the d bins, (d,) ascending from 0, after merging neighbours from left to right.

    bins: d, in ascending order of their values. score: of a grouping; each is asked for once. reference: the least
    score accepted, the uncompressed network's. At each bin with two neighbours both merges are scored, the better one
    is accepted if it reaches the reference (the left one where both are equal) and the scan stays there; otherwise it
    moves on. rising: the reference rises to each accepted score, as in the authors' first version.

    Source: arXiv 2501.03095 as its authors' code has it. A merge there steps a Python loop back, which has no effect,
    and the schemes from the ends reuse stale neighbours; here the scan really stays.
    """
    if bins < 1:
        raise ValueError(f"there are {bins} bins: give at least one")
    groups = np.arange(bins)
    known: dict[bytes, float] = {}

    def scored(candidate: np.ndarray) -> float:
        key = candidate.tobytes()
        if key not in known:
            known[key] = score(candidate)
        return known[key]

    i = 1
    while i < groups[-1]:
        left, right = (groups - (groups >= start) for start in (i, i + 1))  # joins start - 1 and start
        best = max((left, right), key=scored)  # the first of equals
        if scored(best) >= reference:
            groups = best
            reference = scored(best) if rising else reference
        else:
            i += 1
    return groups


def merged_values(values: np.ndarray, counts: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the value of each group, (g,) float64: the mean over the union of its bins' members."""
    return np.bincount(groups, values * counts) / np.bincount(groups, counts)
