"""Entropy-constrained clustering in one dimension: least squared error plus weighted bits."""

import numba as nb
import numpy as np

from ._clusters import Clusters, clusters_at
from ._contiguous import trace
from ._sorted_weights import SortedWeights, prepared

FINER = 33  # positions tried around each border when borders are refined


def entropy_constrained(
    x: np.ndarray | SortedWeights,
    rate_weight: float,
    *,
    counts: np.ndarray | None = None,
    importance: np.ndarray | None = None,
    zero: bool = False,
    resolution: int | None = 4096,
) -> Clusters:
    """Cluster numbers so that squared error + rate_weight * bits is least, for bits the entropy of the labels.

    x: any shape, finite; or SortedWeights, then the result has no labels. rate_weight: squared error that
    one bit is worth; a uniform quantiser of step s trades them at about s**2 * log(2) / 6. counts,
    importance: shape of x, as in `sort_weights`; to merge neighbouring bins, give their means and counts. zero: one
    value is exactly 0, its cluster holds the zeros and what is cheapest there. resolution: up to so many distinct
    numbers (None: any number) the result is the best of all contiguous clusters, in time that grows with their square;
    above, borders are chosen among so many positions, then refined around the best ones down to single numbers. Raises
    ValueError for a weight that is not above zero, and as `sort_weights` does.

    The code lengths are part of what is optimised: -log2(share) are the best ones for given clusters, so the result is
    a fixed point of choosing clusters and code lengths in turn, and the best of them.
    Source: entropy-constrained scalar quantisation; merged bins as in the code that followed arXiv 2501.03095.
    """
    if not 0 < rate_weight < np.inf:
        raise ValueError(f"rate_weight must be finite and above zero, not {rate_weight}")
    points, numbers = prepared(x, counts=counts, importance=importance)
    solve = _cheapest_around_zero if zero else _cheapest
    exact = resolution is None or len(points) <= resolution
    candidates = np.arange(len(points) + 1) if exact else points.coarse(resolution)
    cost, positions, pinned = solve(points, candidates, rate_weight)
    while not exact:
        at = np.searchsorted(candidates, positions[1:-1])
        left, right = candidates[np.maximum(at - 1, 0)], candidates[np.minimum(at + 1, len(candidates) - 1)]
        candidates = np.union1d(positions, np.linspace(left, right, FINER).astype(np.int64))
        finer_cost, finer, finer_pinned = solve(points, candidates, rate_weight)
        if finer_cost < cost:
            cost, positions, pinned = finer_cost, finer, finer_pinned
        else:
            exact = (right - left).max(initial=0) < FINER
    total, values, _ = points.intervals(positions)
    if pinned is not None:
        values[pinned] = 0.0
    # Where error plus weighted length is equal for both neighbours, for a weight of mean importance.
    bit = rate_weight * points.counts[-1] / points.mass[-1]
    shift = bit * np.log2(total[:-1] / total[1:]) / (2 * np.diff(values))
    return clusters_at(points, positions, values, shift, numbers)


def _cheapest(points: SortedWeights, candidates: np.ndarray, rate_weight: float) -> tuple[float, np.ndarray, None]:
    """Cost and borders, (g + 1,), of the cheapest clusters cut at some of the candidates."""
    counts, mass, first, second = (s[candidates] for s in (points.counts, points.mass, points.first, points.second))
    cost, parent = _last_borders(counts, mass, first, second, rate_weight, counts[-1])
    return cost[-1], candidates[trace(parent)], None


def _cheapest_around_zero(
    points: SortedWeights, candidates: np.ndarray, rate_weight: float
) -> tuple[float, np.ndarray, int | None]:
    """Cost, borders, (g + 1,), and index of the zero cluster, where all zeros and what is near share the value 0.

    The zero cluster is None when it is best left empty, which needs weights without zeros.
    """
    zeros = np.searchsorted(points.values, 0.0, "left"), np.searchsorted(points.values, 0.0, "right")
    candidates = np.union1d(candidates, zeros)
    sums = [s[candidates] for s in (points.counts, points.mass, points.first, points.second)]
    counts, mass, first, second = sums
    below, above = np.searchsorted(candidates, zeros)
    # Clusters below zero are found from the left, those above zero from the right, over reversed prefix sums.
    left_cost, left_parent = _last_borders(*(s[: below + 1] for s in sums), rate_weight, counts[-1])
    right_cost, right_parent = _last_borders(*((s[-1] - s[above:])[::-1] for s in sums), rate_weight, counts[-1])
    squares = second + 2 * points.centre * first + points.centre**2 * mass  # about zero
    cost, start, end = _around_zero(counts, squares, left_cost, right_cost[::-1], above, rate_weight)
    left = trace(left_parent[: start + 1])
    right = (len(candidates) - 1 - trace(right_parent[: len(candidates) - end]))[::-1]
    if start == end:
        return cost, candidates[np.concatenate([left, right[1:]])], None
    return cost, candidates[np.concatenate([left, right])], len(left) - 1


@nb.njit(nogil=True, inline="always")
def _rate(count, total):
    """Bits that `count` equal labels among `total` cost under their best code."""
    return count * np.log2(total / count)


@nb.njit(cache=True, nogil=True)
def _last_borders(counts, mass, first, second, rate_weight, total):
    """Least cost of the points before each end, and where its last cluster starts: (n + 1,) float64, (n + 1,) int64.

    counts, mass, first, second: (n + 1,) prefix sums at the candidate borders; total: count of all points, of which
    these may be a part. The rate is concave in a cluster's count, so the cost is not Monge, and all starts have to be
    tried that may still be best: of two starts i < s, the squared error favours s the more the further the end, and the
    rate favours i at most by what it does with the cluster that ends at the last point of all. So i is dropped as soon
    as it costs no less than s with both rates taken there. The starts left span little more than a cluster.
    """
    n = len(counts) - 1
    cost, parent = np.zeros(n + 1), np.zeros(n + 1, np.int64)
    farthest = np.empty(n + 1)  # rate_weight * rate of the cluster from each start to the last point of all
    starts, size = np.empty(n + 1, np.int64), 0
    for end in range(1, n + 1):
        starts[size] = end - 1
        farthest[end - 1] = rate_weight * _rate(total - counts[end - 1], total)
        best, least, kept = np.inf, np.inf, size + 1
        for a in range(size, -1, -1):
            start = starts[a]
            moment = first[end] - first[start]
            error = second[end] - second[start] - moment * moment / (mass[end] - mass[start])
            partial = cost[start] + max(error, 0.0)
            if partial < best:
                whole = partial + rate_weight * _rate(counts[end] - counts[start], total)
                if whole < best:
                    best, parent[end] = whole, start
            if partial + farthest[start] < least:
                least = partial + farthest[start]
                kept -= 1
                starts[kept] = start
        cost[end] = best
        for a in range(kept, size + 1):
            starts[a - kept] = starts[a]
        size += 1 - kept
    return cost, parent


@nb.njit(cache=True, nogil=True)
def _around_zero(counts, squares, left_cost, right_cost, above, rate_weight):
    """Least cost with a zero cluster from some start below zero to some end from `above` on, and these two borders."""
    best, best_start, best_end = np.inf, 0, 0
    for start in range(len(left_cost)):
        for end in range(above, len(counts)):
            partial = left_cost[start] + right_cost[end - above] + squares[end] - squares[start]
            if partial < best:
                count = counts[end] - counts[start]
                whole = partial + (rate_weight * _rate(count, counts[-1]) if count > 0 else 0.0)
                if whole < best:
                    best, best_start, best_end = whole, start, end
    return best, best_start, best_end
