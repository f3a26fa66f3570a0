"""Zero and K optimal values: the exact clustering of pruned weights."""

from __future__ import annotations

from functools import cache

import numpy as np

from ._clusters import Clusters, clusters_at
from ._kmeans1d import kmeans1d
from ._sorted_weights import prepared, sort_weights


def clusters_beside_zero(x: np.ndarray, k: int) -> Clusters:
    """Cluster numbers into the zeros, whose value is 0, and k groups of the others with the least squared error.

    x: any shape, finite. No group holds numbers of both signs, so each sign that occurs has one at least, and k = 1
    with both signs gives two. Without zeros there is no value 0; fewer distinct numbers give fewer groups. Raises
    ValueError as `kmeans1d` does.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    x = np.asarray(x)
    points, _ = prepared(x)
    zeros = int(np.count_nonzero(x == 0))
    sides = [sort_weights(signed) if signed.size else None for signed in (x[x < 0], x[x > 0])]

    @cache
    def side(which: int, groups: int) -> Clusters | None:
        return kmeans1d(sides[which], groups) if sides[which] and groups else None

    def cost(below: int) -> float:
        found = side(0, below), side(1, k - below)
        return sum(clusters.cost for clusters in found if clusters)

    # The least squared error of a side is convex in its groups, and so is the sum: bisect on its slope.
    low, high = (1 if sides[0] else 0), (max(k - 1, 1) if sides[1] else k)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if cost(middle) <= cost(middle + 1) else (middle + 1, high)
    below, above = side(0, low), side(1, max(k - low, 1))
    ends, values = [0], []
    if below:
        ends += np.cumsum(below.counts).tolist()
        values += below.values.tolist()
    if zeros:
        ends.append(ends[-1] + zeros)
        values.append(0.0)
    if above:
        ends += (ends[-1] + np.cumsum(above.counts)).tolist()
        values += above.values.tolist()
    positions = np.searchsorted(points.counts, ends)  # of distinct numbers
    return clusters_at(points, positions, np.array(values), 0.0, x)
