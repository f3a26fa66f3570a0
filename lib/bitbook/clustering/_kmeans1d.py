"""Exact 1-D k-means in time that does not grow with k: search for the penalty of a cluster; also with zeros pinned."""

from collections.abc import Mapping
from functools import cache
from itertools import count

import numpy as np

from ._clusters import Clusters, clusters_at
from ._contiguous import last_borders, trace
from ._sorted_weights import SortedWeights, prepared, sort_weights
from ._threads import Workers

ALONE = 1 << 25  # a layer of more weights is clustered alone: it takes some 30 bytes for each
COARSE = 8192  # positions of the coarse problem that finds the penalty; the clusters do not depend on it


def kmeans1d(x: np.ndarray | SortedWeights, k: int, *, weights: np.ndarray | None = None) -> Clusters:
    """Cluster numbers into k groups with the least possible squared error.

    x: any shape, finite; or SortedWeights, then the result has no labels. weights: shape of x, finite and positive:
    what each number's squared error is worth. Fewer than k distinct numbers give that many clusters, of zero cost.
    Raises ValueError for k < 1, empty input, NaN, infinities, or weights that do not fit.
    Exact up to rounding, which can cost about k * 1e-15 times the sum of squares about the middle number: nothing up to
    some thousand clusters, too much when clusters by the hundred thousand share a wide range.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    points, numbers = prepared(x, importance=weights)
    positions = _cheapest_positions(points, k)
    return clusters_at(points, positions, points.intervals(positions)[1], 0.0, numbers)


def kmeans1d_layers(
    layers: Mapping[str, np.ndarray], k: int | Mapping[str, int], *, threads: int | None = None
) -> dict[str, Clusters]:
    """Cluster each of many layers by itself, on several threads: the result does not depend on their number.

    layers: name -> weights of any shape; k: one number of clusters, or one by name. Raises ValueError naming the layer.
    """

    def cluster(name: str) -> Clusters:
        try:
            return kmeans1d(layers[name], k[name] if isinstance(k, Mapping) else k)
        except ValueError as error:
            raise ValueError(f"layer {name}: {error}") from error

    largest_first = sorted(layers, key=lambda name: -np.size(layers[name]))
    alone = sum(np.size(weights) > ALONE for weights in layers.values())
    clusters = {name: cluster(name) for name in largest_first[:alone]}
    with Workers(threads) as workers:
        clusters |= zip(largest_first[alone:], workers.each(cluster, largest_first[alone:]), strict=True)
    return {name: clusters[name] for name in layers}


def clusters_beside_zero(x: np.ndarray, k: int) -> Clusters:
    """Cluster numbers into the zeros, whose value is 0, and k groups of the others with the least squared error.

    x: any shape, finite. No group holds numbers of both signs, so each sign that occurs has one at least, and k = 1
    with both signs gives two. Without zeros there is no value 0; fewer distinct numbers give fewer groups. Raises
    ValueError as `kmeans1d` does.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    points, x = prepared(np.asarray(x))
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


def _cheapest_positions(points: SortedWeights, k: int) -> np.ndarray:
    """Borders of the best k clusters as positions in the sorted values, (k + 1,)."""
    n = len(points)
    if k >= n:
        return np.arange(n + 1)
    penalty = 5.4 * points.second[-1] / k**3  # what a cluster saves at the optimum, for a Gaussian
    if n > 8 * COARSE and k < COARSE // 8:
        coarse = points.coarse(COARSE)
        _, penalty = _search_penalty(points.mass[coarse], points.first[coarse], k, penalty)
    return _search_penalty(points.mass, points.first, k, penalty)[0]


def _search_penalty(mass: np.ndarray, first: np.ndarray, k: int, penalty: float) -> tuple[np.ndarray, float]:  # type: ignore[return]
    """Borders of the best k clusters, (k + 1,), and a penalty at which they are the best of any number of clusters.

    The least squared error f(k) is convex in k, because the squared error is concave Monge; so some penalty per cluster
    makes k clusters the cheapest, and the cheapest clusters at a penalty do not need to know k. f falls about as k**-2,
    the penalty as k**-3: a few guesses do. Where several k are cheapest at one penalty, the recurrence may never give
    the k asked for: the chord between the nearest smaller and larger k then has that penalty, and the two are spliced.
    Source: Aggarwal, Schieber and Tokuyama, 1994.
    """
    n = len(mass) - 1
    fewer, more = np.array([0, n]), np.arange(n + 1)
    low, high = 0.0, np.inf  # penalties known to give more, and fewer
    scratch = np.zeros(n + 1), *np.empty((3, n + 1), np.int32 if n < 2**31 - 1 else np.int64)

    def cost(positions: np.ndarray) -> float:
        return -float((np.diff(first[positions]) ** 2 / np.diff(mass[positions])).sum())

    for attempt in count():  # which never ends
        chord = attempt > 6 or not low < penalty < high
        if chord:
            penalty = (cost(fewer) - cost(more)) / (len(more) - len(fewer))
        target, parent, queue, begins = scratch
        last_borders(mass, first, target, penalty, target, parent, queue, begins)
        found = trace(parent)
        if len(found) == k + 1:
            return found, penalty
        if chord:
            on_chord = cost(fewer) + penalty * len(fewer)
            gain = on_chord - cost(found) - penalty * len(found)
            if gain <= 4 * np.finfo(np.float64).eps * abs(on_chord) or not len(fewer) < len(found) < len(more):
                return _splice(fewer, more, k), penalty
        if len(found) <= k:
            fewer, high = found, penalty
        else:
            more, low = found, penalty
        penalty *= ((len(found) - 1) / k) ** 3


def _splice(fewer: np.ndarray, more: np.ndarray, k: int) -> np.ndarray:
    """Borders of exactly k clusters, as cheap as the two given ones, which are cheapest at the same penalty.

    Somewhere a cluster of `more` lies inside one of `fewer` with k - len(fewer) + 1 more clusters before it: following
    `more` up to its start and `fewer` after it gives k clusters, and by the Monge property costs no more.
    """
    p = len(fewer) - 1
    ahead = k - p
    inside = (fewer[:-1] <= more[ahead : ahead + p]) & (more[ahead + 1 : ahead + p + 1] <= fewer[1:])
    i = np.flatnonzero(inside)[0]
    return np.concatenate([more[: i + ahead + 1], fewer[i + 1 :]])
