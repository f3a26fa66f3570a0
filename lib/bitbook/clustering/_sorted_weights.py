"""Weights sorted once, with prefix sums: what every 1-D clustering here starts from."""

from dataclasses import dataclass

import numba as nb
import numpy as np

LARGEST = 1e18  # of a weight: the squares of float32 overflow soon after


@dataclass(frozen=True)
class SortedWeights:
    """Distinct weights in ascending order, with prefix sums: any interval's count, mean and squared error in O(1).

    The sums are taken about `centre` (the middle weight), which keeps float64 accurate far from zero.
    """

    values: np.ndarray  # (m,) float64, distinct, ascending
    counts: np.ndarray  # (m + 1,) int64: how many weights lie before each value
    mass: np.ndarray  # (m + 1,) float64: their importance, summed; the counts themselves where there is no other
    first: np.ndarray  # (m + 1,) float64: sums of importance * (value - centre)
    second: np.ndarray  # (m + 1,) float64: sums of importance * (value - centre)**2
    centre: float

    def __len__(self) -> int:
        return len(self.values)

    def intervals(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Counts, means and squared errors of the g intervals between `positions`, (g + 1,) ascending."""
        counts, mass, first, second = (np.diff(s[positions]) for s in (self.counts, self.mass, self.first, self.second))
        shift = first / mass  # (g,)
        # Differences of sums are rounded: a mean must not leave its interval.
        means = np.clip(self.centre + shift, self.values[positions[:-1]], self.values[positions[1:] - 1])
        return counts, means, np.maximum(second - first * shift, 0.0)

    def coarse(self, number: int) -> np.ndarray:
        """About `number` ascending positions, first and last included: half at equal ranks, half at equal steps.

        Equal ranks follow the bulk of the weights, equal steps tell their tails apart.
        """
        ranks = np.linspace(0, len(self), max(number // 2, 2)).astype(np.int64)
        steps = np.linspace(self.values[0], self.values[-1], number // 2)
        return np.union1d(ranks, np.searchsorted(self.values, steps))


def sort_weights(
    weights: np.ndarray, *, counts: np.ndarray | None = None, importance: np.ndarray | None = None
) -> SortedWeights:
    """Sort weights, join equal ones, and take their prefix sums.

    weights: any shape, finite. counts: same shape, positive integers: how many coded weights each entry stands for
    (bins instead of weights). importance: same shape, finite and positive: what an entry's squared error is worth, all
    its counts together; by default its count.
    Raises ValueError for empty input, NaN, infinities, or counts and importances that do not fit.
    """
    if counts is not None and np.asarray(counts).dtype.kind not in "iu":
        raise ValueError(f"counts must be integers, not {np.asarray(counts).dtype}")
    x = checked(weights, "weights").reshape(-1)
    plain = counts is None and importance is None
    if plain:
        x, number, mass = np.sort(x), np.ones(1, np.int64), np.ones(1)
    else:
        order = np.argsort(x, kind="stable")
        number = np.ones(x.size, np.int64) if counts is None else _positive(counts, x, "counts").astype(np.int64)[order]
        mass = (number if importance is None else _positive(importance, x, "importance")[order]).astype(np.float64)
        x = x[order].astype(np.float64)
    centre, distinct = float(x[len(x) // 2]), 1 + np.count_nonzero(x[1:] != x[:-1])
    values, number, mass, first, second = _accumulate(x, number, mass, centre, distinct, plain)
    return SortedWeights(values, number, number if plain else mass, first, second, centre)


def prepared(
    x: np.ndarray | SortedWeights, *, counts: np.ndarray | None = None, importance: np.ndarray | None = None
) -> tuple[SortedWeights, np.ndarray | None]:
    """Sorted weights, and the weights as an array where they came as one, to be labelled."""
    if not isinstance(x, SortedWeights):
        x = checked(x, "weights")
        return sort_weights(x, counts=counts, importance=importance), x
    if counts is not None or importance is not None:
        raise ValueError("counts and importance are part of SortedWeights: give them to sort_weights")
    return x, None


def checked(weights: np.ndarray, name: str) -> np.ndarray:
    """The array as float32 or float64, once it is known to be neither empty nor unfit for squares."""
    weights = np.asarray(weights)
    if weights.size == 0:
        raise ValueError(f"{name} is empty: there is nothing to cluster")
    if weights.dtype.kind not in "biuf":
        raise ValueError(f"{name} are {weights.dtype}: only real numbers can be clustered")
    if weights.dtype not in (np.float32, np.float64):
        weights = weights.astype(np.float64)
    fit = np.abs(weights) <= LARGEST  # false for NaN
    if not fit.all():
        raise ValueError(f"{name} holds NaN, infinity or beyond {LARGEST:g}: {fit.size - fit.sum()} of {fit.size}")
    return weights


def _positive(values: np.ndarray, weights: np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(values).reshape(-1)
    if len(values) != len(weights):
        raise ValueError(f"{name} has {len(values)} entries for {len(weights)} weights")
    if not (np.isfinite(values).all() and values.min() > 0):
        raise ValueError(f"{name} must be finite and above zero: leave such entries out, or give them a small value")
    return values


@nb.njit(cache=True, nogil=True)
def _accumulate(x, number, mass, centre, distinct, plain):
    """Distinct values of sorted x, and prefix sums of number, mass, mass * offset and mass * offset**2.

    plain: every number and mass is 1, and the sums of mass, which are those of number, are left empty to save memory.
    """
    values, counts = np.empty(distinct), np.zeros(distinct + 1, np.int64)
    masses, first, second = np.zeros(0 if plain else distinct + 1), np.zeros(distinct + 1), np.zeros(distinct + 1)
    total, lost = np.zeros(3), np.zeros(3)
    m = -1
    for n in range(len(x)):
        if n == 0 or x[n] != x[n - 1]:
            m += 1
            values[m] = x[n]
            counts[m + 1] = counts[m]
        counts[m + 1] += 1 if plain else number[n]
        term = 1.0 if plain else mass[n]
        for power in range(3):
            # Kahan: the error stays at one rounding, a plain sum's would grow with the number of weights.
            step = term - lost[power]
            new = total[power] + step
            lost[power] = (new - total[power]) - step
            total[power] = new
            term *= x[n] - centre
        if not plain:
            masses[m + 1] = total[0]
        first[m + 1], second[m + 1] = total[1], total[2]
    return values, counts, masses, first, second
