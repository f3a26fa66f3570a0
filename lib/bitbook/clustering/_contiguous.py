"""Least-cost contiguous clusters: the one recurrence behind the exact 1-D clusterings."""

import numba as nb
import numpy as np


@nb.njit(nogil=True, inline="always")
def _cost(mass, first, source, start, end):
    """Cost up to `end` with a last cluster from `start`, less the sum of squares, which is the same for all starts."""
    moment = first[end] - first[start]
    return source[start] - moment * moment / (mass[end] - mass[start])


@nb.njit(cache=True, nogil=True)
def last_borders(mass, first, source, penalty, target, parent, queue, begins):
    """For every end j > 0: target[j] = penalty + min over i < j of source[i] + squared error of the cluster (i, j].

    mass, first: (n + 1,) prefix sums; source, target: (n + 1,) float64, both less the sum of squares up to their
    position; parent: (n + 1,) whole numbers, the minimising i; queue, begins: the same, scratch. source may be target:
    then the number of clusters is free and each costs its penalty.

    The squared error is concave Monge: of two starts, the later one, once cheaper, stays so. The queue holds the starts
    that are cheapest for some end still to come, each with the first such end. A new start takes over shortly after the
    one before it did, so its take-over is found by doubling steps from there: O(n log n) at worst, O(n) in practice.
    Source: Galil and Park, 1992 (queue of candidates).
    """
    n = len(mass) - 1
    head, size = 0, 1
    queue[0], begins[0] = 0, 1
    for j in range(1, n + 1):
        while head + 1 < size and begins[head + 1] <= j:
            head += 1
        parent[j] = queue[head]
        target[j] = penalty + _cost(mass, first, source, queue[head], j)
        low = j + 1
        while size > head:
            low = max(begins[size - 1], j + 1)
            if low > n or _cost(mass, first, source, j, low) >= _cost(mass, first, source, queue[size - 1], low):
                break
            size -= 1
        if size == head:
            queue[size], begins[size] = j, j + 1
            size += 1
            continue
        last, step = queue[size - 1], 1
        high = low + 1
        while high <= n and _cost(mass, first, source, j, high) >= _cost(mass, first, source, last, high):
            low, step = high, 2 * step
            high += step
        high = min(high, n + 1)
        while high - low > 1:
            middle = (low + high) >> 1
            if _cost(mass, first, source, j, middle) < _cost(mass, first, source, last, middle):
                high = middle
            else:
                low = middle
        if high <= n:
            queue[size], begins[size] = j, high
            size += 1


@nb.njit(cache=True, nogil=True)
def trace(parent):
    """Borders 0 = b_0 < ... < b_k = n of the clusters that `parent` leads back through, (k + 1,) int64."""
    k, j = 0, len(parent) - 1
    while j > 0:
        k, j = k + 1, parent[j]
    borders = np.zeros(k + 1, np.int64)
    j = len(parent) - 1
    while k > 0:
        borders[k] = j
        k, j = k - 1, parent[j]
    return borders
