"""Contiguous clusters of weights: the result of every exact 1-D clustering here."""

from dataclasses import dataclass

import numba as nb
import numpy as np

from ._sorted_weights import SortedWeights


@dataclass(frozen=True)
class Clusters:
    """Contiguous clusters of weights, in ascending order."""

    values: np.ndarray  # (k,) float64: the centroids
    counts: np.ndarray  # (k,) int64: weights per cluster
    borders: np.ndarray  # (k - 1,) float64: weight w belongs to cluster searchsorted(borders, w, side="right")
    cost: float  # summed squared error, times importance where there is one
    labels: np.ndarray | None  # shape of the weights, smallest unsigned type; None for clusters of SortedWeights

    @property
    def bits(self) -> float:
        """Ideal size of the entropy-coded labels, in bits."""
        return float(-(self.counts * np.log2(self.counts / self.counts.sum())).sum())


def clusters_at(
    points: SortedWeights, positions: np.ndarray, values: np.ndarray, shift: np.ndarray | float, x: np.ndarray | None
) -> Clusters:
    """The clusters cut at `positions`, (k + 1,), with `values`, (k,), and labels for x.

    A border lies halfway between its values plus `shift`, (k - 1,), but always in the gap between the two clusters: new
    weights go where they cost least, and the clustered ones keep their cluster whatever the rounding.
    """
    cuts = positions[1:-1]
    ideal = (values[1:] + values[:-1]) / 2 + shift
    borders = np.clip(ideal, np.nextafter(points.values[cuts - 1], np.inf), points.values[cuts])
    labels = None
    if x is not None:
        labels = np.empty(x.shape, np.min_scalar_type(len(cuts)))
        _assign(np.ascontiguousarray(x).reshape(-1), borders, labels.reshape(-1))
    cost = _squared_error(points.values, points.mass, positions, values)
    return Clusters(values, np.diff(points.counts[positions]), borders, cost, labels)


@nb.njit(cache=True, nogil=True)
def _assign(weights, borders, labels):
    """Binary search, begun in a table of equal steps that mostly leaves nothing to search."""
    if len(borders) == 0:
        labels[:] = 0
        return
    cells = 4 * len(borders)
    low = borders[0]
    per_step = (cells - 1) / max(borders[-1] - low, 1e-300)
    before = np.zeros(cells + 1, np.int64)  # borders in the cells before each cell
    for border in borders:
        before[np.int64((border - low) * per_step) + 1] += 1
    before = np.cumsum(before)
    for n in range(len(weights)):
        # Rounding is monotone and the same for borders and weights, so no border escapes its cell.
        cell = np.int64(min(max((weights[n] - low) * per_step, 0.0), cells - 1.0))
        first, last = before[cell], before[cell + 1]
        while first < last:
            middle = (first + last) >> 1
            if borders[middle] <= weights[n]:
                first = middle + 1
            else:
                last = middle
        labels[n] = first


@nb.njit(cache=True, nogil=True)
def _squared_error(x, mass, positions, values):
    """Squared error straight from the points: the difference of prefix sums is not accurate for many clusters."""
    total = 0.0
    for g in range(len(values)):
        error = 0.0
        for i in range(positions[g], positions[g + 1]):
            error += (mass[i + 1] - mass[i]) * (x[i] - values[g]) ** 2
        total += error
    return total
