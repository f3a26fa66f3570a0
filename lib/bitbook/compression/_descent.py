"""Levels of a uniform grid improved one by one, until no change of a single weight lowers error plus rate."""

import numba as nb
import numpy as np


def descend(
    levels: np.ndarray,
    weights: np.ndarray,
    moments: np.ndarray,
    *,
    code_lengths: np.ndarray,
    rate_weight: float,
    sweeps: int = 3,
) -> np.ndarray:
    """Return levels (outputs, inputs) whose sum of e^T moments e + rate_weight * bits over the rows is no higher.

    levels: (outputs, inputs) whole numbers, where to start; |level| <= k. weights: (outputs, inputs) in grid steps; a
    row's error e is its levels minus its weights. moments: (inputs, inputs), symmetric and positive definite.
    code_lengths: (2 k + 1,) bits of the levels -k..k. Each sweep visits every weight once and gives it the best level
    while all others stay (coordinate descent); it ends when a sweep changes nothing.
    """
    levels = np.array(levels, np.int32, order="C")
    errors = levels - np.asarray(weights, np.float64)
    gradients = np.ascontiguousarray(errors @ moments)  # (outputs, inputs) half the gradient
    lengths = rate_weight * np.asarray(code_lengths, np.float64)
    _descend(levels, gradients, np.ascontiguousarray(moments, np.float64), lengths, sweeps)
    return levels


@nb.njit(cache=True, nogil=True)
def _descend(levels, gradients, moments, costs, sweeps):
    outputs, inputs = levels.shape
    largest = len(costs) // 2
    for row in range(outputs):
        gradient = gradients[row]
        for _ in range(sweeps):
            changed = False
            for j in range(inputs):
                now = levels[row, j]
                best, best_gain = now, -1e-9  # a tie or rounding noise changes nothing
                centre = int(np.floor(now - gradient[j] / moments[j, j]))
                for place in range(5):  # two levels on either side of the continuous optimum, and zero
                    level = centre - 1 + place if place < 4 else 0
                    move = level - now
                    if move == 0 or abs(level) > largest:
                        continue
                    cost = move * (2 * gradient[j] + move * moments[j, j])
                    cost += costs[level + largest] - costs[now + largest]
                    if cost < best_gain:
                        best, best_gain = level, cost
                if best != now:
                    levels[row, j] = best
                    changed = True
                    move = best - now
                    for other in range(inputs):
                        gradient[other] += move * moments[j, other]
            if not changed:
                break
