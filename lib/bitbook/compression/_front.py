"""Fronts of size against quality: which files no other file beats, and what a front needs at a given quality."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def nondominated(costs: ArrayLike) -> np.ndarray:
    """Return the indices of the rows that no other row matches or beats in every cost, sorted by the first cost.

    costs: (n, m), each column to be minimised. Of equal rows the first is kept.
    """
    costs = np.asarray(costs, np.float64)
    if not np.isfinite(costs).all():
        raise ValueError("costs must be finite")
    kept: list[int] = []
    for i in np.lexsort(costs.T[::-1]):
        if not any((costs[j] <= costs[i]).all() for j in kept):
            kept.append(int(i))
    return np.array(kept, dtype=np.int64)


def front(candidates: Sequence) -> list:
    """Return the candidates that no other beats in file_bytes and divergence, by size."""
    return [candidates[i] for i in nondominated([(c.file_bytes, c.divergence) for c in candidates])]


def pick(candidates: Sequence, most_bytes: float):
    """Return the candidate of least divergence among those of at most so many file_bytes, or None where none is."""
    small = [c for c in candidates if c.file_bytes <= most_bytes]
    return min(small, key=lambda c: (c.divergence, c.file_bytes), default=None)


def bytes_at(bytes_: np.ndarray, values: np.ndarray, target: float) -> float | None:
    """Return the bytes at which a front reaches a metric value, or None for a value outside of the front.

    bytes_: (n,) file sizes. values: (n,) the metric of each file, larger is better. Test noise makes a measured front
    wiggle, so the values are first made non-decreasing in the bytes by isotonic regression, which averages neighbours
    and favours none, then interpolated linearly in the logarithm of the bytes.
    """
    from sklearn.isotonic import IsotonicRegression

    order = np.argsort(bytes_)
    sizes, values = np.log(np.asarray(bytes_, np.float64)[order]), np.asarray(values, np.float64)[order]
    smooth = IsotonicRegression().fit_transform(sizes, values)
    if target > smooth[-1] or target < smooth[0]:
        return None
    right = int(np.searchsorted(smooth, target))
    if right == 0 or smooth[right] == target:
        return float(np.exp(sizes[right]))
    share = (target - smooth[right - 1]) / (smooth[right] - smooth[right - 1])
    return float(np.exp(sizes[right - 1] + share * (sizes[right] - sizes[right - 1])))
