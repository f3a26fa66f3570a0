"""Exact 1-D k-means in time that does not grow with k: search for the price of a cluster."""

from collections.abc import Mapping
from itertools import count

import numpy as np

from ._clusters import Clusters, clusters_at
from ._contiguous import last_borders, trace
from ._sorted_weights import SortedWeights, prepared
from ._threads import Workers

ALONE = 1 << 25  # a layer of more weights is clustered alone: it takes some 30 bytes for each
COARSE = 8192  # positions of the coarse problem that finds the price; the clusters do not depend on it


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


def _cheapest_positions(points: SortedWeights, k: int) -> np.ndarray:
    """Borders of the best k clusters as positions in the sorted values, (k + 1,)."""
    n = len(points)
    if k >= n:
        return np.arange(n + 1)
    price = 5.4 * points.second[-1] / k**3  # what a cluster saves at the optimum, for a Gaussian
    if n > 8 * COARSE and k < COARSE // 8:
        coarse = points.coarse(COARSE)
        _, price = _search_price(points.mass[coarse], points.first[coarse], k, price)
    return _search_price(points.mass, points.first, k, price)[0]


def _search_price(mass: np.ndarray, first: np.ndarray, k: int, price: float) -> tuple[np.ndarray, float]:
    """Borders of the best k clusters, (k + 1,), and a price at which they are also the best of any number of clusters.

    The least squared error f(k) is convex in k, because the squared error is concave Monge; so some price per cluster
    makes k clusters the cheapest, and the cheapest clusters at a price do not need to know k. f falls about as k**-2,
    the price as k**-3: a few guesses do. Where several k are cheapest at one price, the recurrence may never give the k
    asked for: the chord between the nearest smaller and larger k then has that price, and the two are spliced.
    Source: Aggarwal, Schieber and Tokuyama, 1994.
    """
    n = len(mass) - 1
    fewer, more = np.array([0, n]), np.arange(n + 1)
    low, high = 0.0, np.inf  # prices known to give more, and fewer
    scratch = np.zeros(n + 1), *np.empty((3, n + 1), np.int32 if n < 2**31 - 1 else np.int64)

    def cost(positions: np.ndarray) -> float:
        return -float((np.diff(first[positions]) ** 2 / np.diff(mass[positions])).sum())

    for attempt in count():
        chord = attempt > 6 or not low < price < high
        if chord:
            price = (cost(fewer) - cost(more)) / (len(more) - len(fewer))
        target, parent, queue, begins = scratch
        last_borders(mass, first, target, price, target, parent, queue, begins)
        found = trace(parent)
        if len(found) == k + 1:
            return found, price
        if chord:
            on_chord = cost(fewer) + price * len(fewer)
            gain = on_chord - cost(found) - price * len(found)
            if gain <= 4 * np.finfo(np.float64).eps * abs(on_chord) or not len(fewer) < len(found) < len(more):
                return _splice(fewer, more, k), price
        if len(found) <= k:
            fewer, high = found, price
        else:
            more, low = found, price
        price *= ((len(found) - 1) / k) ** 3


def _splice(fewer: np.ndarray, more: np.ndarray, k: int) -> np.ndarray:
    """Borders of exactly k clusters, as cheap as the two given ones, which are cheapest at the same price.

    Somewhere a cluster of `more` lies inside one of `fewer` with k - len(fewer) + 1 more clusters before it: following
    `more` up to its start and `fewer` after it gives k clusters, and by the Monge property costs no more.
    """
    p = len(fewer) - 1
    ahead = k - p
    inside = (fewer[:-1] <= more[ahead : ahead + p]) & (more[ahead + 1 : ahead + p + 1] <= fewer[1:])
    i = np.flatnonzero(inside)[0]
    return np.concatenate([more[: i + ahead + 1], fewer[i + 1 :]])
