"""One option for each layer: least total cost within a budget of bytes."""

import numpy as np


def allocate(costs: np.ndarray, sizes: np.ndarray, budget: float) -> np.ndarray:
    """Return the option of each layer, (layers,), so that the sizes keep the budget and the costs are low.

    costs, sizes: (layers, options), finite. Every layer starts at its smallest option; then, again and again, the step
    that lowers the costs most for each byte is taken, as long as one fits. Each layer moves along its lower convex
    hull, so every choice on the way is the optimum for the bytes that it takes (Shoham and Gersho 1988, which is the
    Lagrangian relaxation of the multiple-choice knapsack); what is left of the budget is less than the next step.
    Raises ValueError where even the smallest options exceed the budget.
    """
    costs, sizes = np.asarray(costs, np.float64), np.asarray(sizes, np.float64)
    if costs.shape != sizes.shape or costs.ndim != 2 or not (np.isfinite(costs).all() and np.isfinite(sizes).all()):
        raise ValueError(f"costs and sizes are finite (layers, options), not {costs.shape} and {sizes.shape}")
    hulls = [_lower_hull(cost, size) for cost, size in zip(costs, sizes, strict=True)]
    at = np.zeros(len(hulls), np.int64)  # place of each layer on its hull
    left = budget - sum(size[hull[0]] for size, hull in zip(sizes, hulls, strict=True))
    if left < 0:
        raise ValueError(f"the smallest options take {budget - left:.0f} bytes, more than the budget of {budget:.0f}")
    while True:
        best, best_gain = None, 0.0
        for layer, hull in enumerate(hulls):
            if at[layer] + 1 < len(hull):
                now, then = hull[at[layer]], hull[at[layer] + 1]
                more = sizes[layer, then] - sizes[layer, now]
                gain = (costs[layer, now] - costs[layer, then]) / more
                if gain > best_gain and more <= left:
                    best, best_gain = layer, gain
        if best is None:
            return np.array([hull[place] for hull, place in zip(hulls, at, strict=True)])
        left -= sizes[best, hulls[best][at[best] + 1]] - sizes[best, hulls[best][at[best]]]
        at[best] += 1


def _lower_hull(cost: np.ndarray, size: np.ndarray) -> list[int]:
    """Options on the lower convex hull of cost over size, from the smallest size to the least cost."""
    hull: list[int] = []
    for option in np.lexsort((cost, size)):
        if hull and cost[option] >= cost[hull[-1]]:
            continue  # larger and no better
        while len(hull) > 1:
            a, b = hull[-2], hull[-1]
            if (cost[a] - cost[b]) * (size[option] - size[b]) > (cost[b] - cost[option]) * (size[b] - size[a]):
                break
            hull.pop()
        hull.append(int(option))
    return hull
