"""Which channels share a block: orders of input channels under which blocks of weights quantise well."""

from dataclasses import dataclass

import numba as nb
import numpy as np

SMALLEST_GAIN = 1e-10  # of the log-determinant: less is rounding
STEPS, TRIES = 60, 200  # of the annealing: temperatures, and swaps for each channel in all
HOTTEST = 0.3  # temperature at first, in mean changes by a swap


@dataclass(frozen=True)
class ChannelOrder:
    """An order of input channels, and the log-determinants of the blocks' covariance without and with it."""

    order: np.ndarray  # (channels,) int64: channel order[i] goes to place i
    before: float
    after: float


def log_determinant(weights: np.ndarray, d: int) -> float:
    """Return the log-determinant of the covariance of all blocks of d weights, -inf where that is singular.

    weights: (outputs, channels, run), cut row by row. At a fixed rate the error of the best quantiser of a Gaussian
    source is proportional to exp(log-determinant / d): arXiv 2010.15703, section 3.
    """
    covariance = np.cov(weights.reshape(-1, d), rowvar=False, dtype=np.float64)
    return float(np.linalg.slogdet(covariance.reshape(d, d))[1])


def greedy_order(weights: np.ndarray, d: int, *, free: np.ndarray | None = None) -> np.ndarray:
    """Sort channels by their spread, cut them into as many parts as a block holds channels, and interleave the parts.

    weights: (outputs, channels, run), d a multiple of run. The first place of all blocks then holds the channels that
    vary most, the last one those that vary least. free: see search_order. Returns the order (channels,).
    """
    order = np.arange(weights.shape[1])
    free = order if free is None else np.sort(free)
    spread = np.array([log_determinant(weights[:, c], weights.shape[2]) for c in free])
    slots = np.argsort(free % (d // weights.shape[2]), kind="stable")
    order[free[slots]] = free[np.argsort(-spread, kind="stable")]
    return order


def search_order(
    weights: np.ndarray,
    d: int,
    *,
    method: str = "annealed",
    free: np.ndarray | None = None,
    swaps: int = 10_000,
    seed: int = 0,
) -> ChannelOrder:
    """Search the order of input channels whose blocks have the smallest log-determinant, from the greedy one.

    Args:
        weights: (outputs, channels, run) float; run: the weights of a channel in a row, such as a kernel's.
        d: weights of a block, which holds several whole channels.
        method: "greedy" stays at the start; "swaps" tries random swaps of two channels and keeps what lowers the
            determinant, as the paper does; "annealed" takes worse orders, too, while it is hot, and ends where no swap
            lowers it; "random" draws an order, to compare with.
        free: (n,) different places whose channels may be exchanged; by default all.
        swaps: of "swaps".
        seed: of what is drawn.

    Raises:
        ValueError: for blocks in which channels cannot be exchanged, and weights that are not finite.
    """
    _, channels, run = weights.shape
    if d % run or d == run or channels % (d // run):
        raise ValueError(f"blocks of {d} do not hold several of {channels} channels of {run} weights each")
    if method not in ("random", "greedy", "swaps", "annealed"):
        raise ValueError(f"method is 'random', 'greedy', 'swaps' or 'annealed', not {method!r}")
    if not np.isfinite(weights).all():
        raise ValueError("weights hold NaN or infinity")
    free, rng = np.arange(channels) if free is None else np.asarray(free), np.random.default_rng(seed)
    if method == "random":
        order = np.arange(channels)
        order[free] = rng.permutation(free)
    else:
        order = greedy_order(weights, d, free=free)
    if method in ("swaps", "annealed"):
        search = BlockCovariance(weights, d, order)
        if method == "swaps":
            search.swap(rng.choice(free, (swaps, 2)))
        else:
            search.anneal(free, rng)
        order = search.order
    return ChannelOrder(order, log_determinant(weights, d), log_determinant(weights[:, order], d))


class BlockCovariance:
    """An order of channels with the second moments of its blocks, which follow a swap in O(d^2)."""

    def __init__(self, weights: np.ndarray, d: int, order: np.ndarray) -> None:
        outputs, channels, run = weights.shape
        rows = weights.reshape(outputs, -1).astype(np.float64)
        products = (rows.T @ rows).reshape(channels, run, channels, run)
        self.products = np.ascontiguousarray(products.transpose(0, 2, 1, 3))  # (channels, channels, run, run)
        self.sums = rows.sum(0).reshape(channels, run)
        blocks = rows.reshape(outputs, channels, run)[:, order].reshape(-1, d)
        self.squares, self.total, self.n = blocks.T @ blocks, blocks.sum(0), len(blocks)  # (d, d), (d,)
        self.order = np.array(order)

    def swap(self, pairs: np.ndarray, worse: np.ndarray | None = None) -> np.ndarray:
        """Try to swap places (tries, 2), one after the other; return by how much each would change the log-determinant.

        worse: (tries,) by how much at most a swap may raise it; by default only what lowers it is done.
        """
        worse = np.full(len(pairs), -SMALLEST_GAIN) if worse is None else worse
        changes = np.zeros(len(pairs))
        _swap(self.products, self.sums, self.order, self.squares, self.total, self.n, pairs, worse, changes)
        return changes

    def anneal(self, free: np.ndarray, rng: np.random.Generator) -> None:
        """Swap channels of these places at falling temperatures, then any two until no swap gains."""
        tries = -(-TRIES * len(free) // STEPS)
        changes = np.abs(self.swap(rng.choice(free, (tries, 2)), np.full(tries, -np.inf)))
        for step in range(STEPS):
            heat = HOTTEST * changes.mean() * (1 - step / STEPS) ** 2
            self.swap(rng.choice(free, (tries, 2)), heat * rng.exponential(size=tries) - SMALLEST_GAIN)
        pairs = free[np.stack(np.triu_indices(len(free), 1), axis=1)]
        while (self.swap(rng.permutation(pairs)) < -SMALLEST_GAIN).any():
            pass


@nb.njit(cache=True, nogil=True)
def _swap(products, sums, order, squares, total, n, pairs, worse, changes):
    run, d = sums.shape[1], len(total)
    m = d // run
    trial, trial_total, factor = squares.copy(), total.copy(), np.empty((d, d))
    current = _log_determinant(squares, total, n, factor)
    for k in range(len(pairs)):
        p, q = pairs[k, 0], pairs[k, 1]
        together = p // m == q // m  # in one block: what the two share is counted once
        if p == q:
            continue
        for sign in (-1.0, 1.0):
            _add(products, order, trial, m, p, -1, sign)
            _add(products, order, trial, m, q, p if together else -1, sign)
            for i in range(run):
                trial_total[p % m * run + i] += sign * sums[order[p], i]
                trial_total[q % m * run + i] += sign * sums[order[q], i]
            if sign < 0:
                order[p], order[q] = order[q], order[p]
        changed = _log_determinant(trial, trial_total, n, factor)
        changes[k] = changed - current
        if changes[k] < worse[k]:
            current = changed
            squares[:], total[:] = trial, trial_total
        else:
            order[p], order[q] = order[q], order[p]
            trial[:], trial_total[:] = squares, total


@nb.njit(cache=True, nogil=True)
def _add(products, order, squares, m, place, without, sign):
    """Add the products of the channel at a place with all of its block but one to the lower triangle."""
    run = products.shape[2]
    slot, first = place % m, place - place % m
    for other in range(m):
        if first + other == without:
            continue
        low, high = min(slot, other), max(slot, other)
        pair = products[order[first + high], order[first + low]]
        for i in range(run):
            for j in range(run):
                squares[high * run + i, low * run + j] += sign * pair[i, j]


@nb.njit(cache=True, nogil=True)
def _log_determinant(squares, total, n, factor):
    """Of the covariance, by Cholesky factors of the lower triangle; -inf where it is not positive."""
    d, logarithm = len(total), 0.0
    for i in range(d):
        for j in range(i + 1):
            value = (squares[i, j] - total[i] * total[j] / n) / (n - 1)
            for k in range(j):
                value -= factor[i, k] * factor[j, k]
            if i > j:
                factor[i, j] = value / factor[j, j]
            elif value > 0:
                factor[i, i] = np.sqrt(value)
                logarithm += np.log(value)
            else:
                return -np.inf
    return logarithm
