"""Uniform bins over the range of the weights, in time that does not depend on the number of bins."""

from dataclasses import dataclass

import numba as nb
import numpy as np

from ._sorted_weights import SortedWeights, checked


@dataclass(frozen=True)
class UniformBins:
    """The non-empty ones of k uniform bins, in ascending order, renumbered without gaps."""

    values: np.ndarray  # (d,) float64: mean of the weights in each bin
    counts: np.ndarray  # (d,) int64
    edges: np.ndarray  # (d,) float64: lower edge; weight w lies in bin searchsorted(edges, w, side="right") - 1
    cost: float  # summed squared error of the weights against the values
    indices: np.ndarray | None  # shape of the weights, smallest unsigned type; None for bins of SortedWeights


def uniform_bins(weights: np.ndarray | SortedWeights, k: int, *, full_width: bool = False) -> UniformBins:
    """Replace weights by the means of k uniform bins, dropping the empty bins.

    weights: any shape, finite; an array costs O(N), SortedWeights O(k log N) and gives no indices, for searches over k.
    As in the paper's code, k - 1 bins cover the range and the k-th holds the maximum alone; `full_width` makes k bins
    of full width, with the maximum in the last. A weight on an edge belongs to the upper bin.
    Raises ValueError for k < 1, empty input, NaN or infinities. Source: arXiv 2501.03095, section on uniform bins.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    if isinstance(weights, SortedWeights):
        edges = _lower_edges(weights.values[0], weights.values[-1], k, full_width)
        borders = np.append(np.searchsorted(weights.values, edges), len(weights))
        filled = np.flatnonzero(np.diff(borders))
        counts, values, cost = weights.intervals(np.append(borders[filled], len(weights)))
        return UniformBins(values, counts, edges[filled], float(cost.sum()), None)
    weights = checked(weights, "weights")
    edges = _lower_edges(weights.min(), weights.max(), k, full_width)
    bins, counts, sums, squares = _fill(weights.reshape(-1), edges)
    filled = np.flatnonzero(counts)
    counts, edges, shift = counts[filled], edges[filled], sums[filled] / counts[filled]
    cost = np.maximum(squares[filled] - sums[filled] * shift, 0.0).sum()
    renumber = np.zeros(k, np.min_scalar_type(len(filled) - 1))
    renumber[filled] = np.arange(len(filled))
    return UniformBins(edges + shift, counts, edges, float(cost), renumber[bins].reshape(weights.shape))


def _lower_edges(low: float, high: float, k: int, full_width: bool) -> np.ndarray:
    """The lower edges of the bins, (k,) float64; a single bin where all weights are equal."""
    if low == high:
        return np.array([low], np.float64)
    return np.linspace(np.float64(low), np.float64(high), k + full_width)[:k]


@nb.njit(cache=True, nogil=True)
def _fill(weights, edges):
    """Bin of each weight, and per bin the count, sum and sum of squares of (weight - lower edge)."""
    k = len(edges)
    counts, sums, squares = np.zeros(k, np.int64), np.zeros(k), np.zeros(k)
    bins = np.empty(len(weights), np.int32)
    per_width = 0.0 if k == 1 else (k - 1) / (edges[-1] - edges[0])
    for n in range(len(weights)):
        w = np.float64(weights[n])
        b = min(max(np.int64((w - edges[0]) * per_width), 0), k - 1)
        # The product may round to the neighbouring bin: the edges decide, so that every path gives the same bins.
        while b + 1 < k and w >= edges[b + 1]:
            b += 1
        while w < edges[b]:
            b -= 1
        bins[n] = b
        counts[b] += 1
        sums[b] += w - edges[b]
        squares[b] += (w - edges[b]) ** 2
    return bins, counts, sums, squares
