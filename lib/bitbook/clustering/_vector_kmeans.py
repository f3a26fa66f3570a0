"""Vector k-means with annealing: codebooks for rows of weights."""

from dataclasses import dataclass

import numba as nb
import numpy as np

from ._nearest import assign, pack
from ._sorted_weights import checked
from ._threads import Workers

TEMPERATURE = {"SR-C": 2.0, "SR-D": 0.15, "none": 0.0}


@dataclass(frozen=True)
class VectorClusters:
    """A codebook and the nearest codeword of every row."""

    codebook: np.ndarray  # (k, d) float32
    labels: np.ndarray  # (n,) smallest unsigned type
    cost: float  # summed squared error over all rows and dimensions


def vector_kmeans(
    rows: np.ndarray,
    k: int,
    *,
    iterations: int = 100,
    annealing: str = "SR-C",
    seed: int = 0,
    threads: int | None = None,
) -> VectorClusters:
    """Find k codewords for rows by Lloyd's iterations under noise that fades.

    rows: (n, d) float, finite. annealing: "SR-C" adds noise of the rows' spread to the rows that are averaged, "SR-D"
    noise of the codewords' spread to the codewords, "none" nothing; times temperature * (1 - step / iterations). The
    published temperature is 1, with the root of what is in brackets; ours, 2 or 0.15, end lower. Starts like k-means++;
    a codeword that lost its rows moves to a badly served row. Fewer than k distinct rows give that many codewords.
    Memory is of the order of rows and codebook; the result depends on the seed, not on the threads or the order of the
    rows. Raises ValueError
    for k < 1, an unknown annealing, or rows that are no matrix, empty or not finite. Source: LSQ++ (Martinez et al.,
    2018) for SR-C and SR-D; arXiv 2010.15703 for their use on weights.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    if annealing not in TEMPERATURE:
        raise ValueError(f"annealing must be one of {', '.join(TEMPERATURE)}, not {annealing!r}")
    rows = checked(rows, "rows")
    if rows.ndim != 2:
        raise ValueError(f"rows must be a matrix (n, d), not of shape {rows.shape}: cut the weights into subvectors")
    generator = np.random.default_rng(seed)
    n, order = len(rows), np.lexsort(rows.T[::-1])
    rows = rows[order]
    centre = rows.mean(0, dtype=np.float64)
    spread = rows.std(0, dtype=np.float64)  # (d,)
    tiles = pack(rows, centre)
    with Workers(threads) as workers:
        codebook = _seed(tiles, n, k, generator, workers)
        labels = assign(tiles, codebook, workers)
        for step in range(1, iterations + 1):
            heat = TEMPERATURE[annealing] * (1 - step / iterations)
            means, counts = _means(tiles, labels, n, len(codebook), workers)
            empty = np.flatnonzero(counts == 0)
            if len(empty):
                means[empty] = codebook[empty]
                moved = _draw(_errors(tiles, codebook, labels, n, workers), len(empty), generator)
                means[empty[: len(moved)]] = _rows(tiles, moved)
            if annealing == "SR-C":
                # The mean of m rows with independent noise is their mean with that noise over the root of m.
                noise = spread / np.sqrt(np.maximum(counts, 1))[:, None]
                means += heat * noise * generator.standard_normal(means.shape)
            elif annealing == "SR-D":
                means += heat * means.std(0) * generator.standard_normal(means.shape)
            codebook = means.astype(np.float32)
            before, labels = labels, assign(tiles, codebook, workers)
            if annealing == "none" and np.array_equal(labels, before):
                break
        cost = float(_errors(tiles, codebook, labels, n, workers).sum())
    used = np.flatnonzero(np.bincount(labels[:n]))
    found = np.empty(n, np.min_scalar_type(len(used) - 1))
    found[order] = np.searchsorted(used, labels[:n])
    return VectorClusters((codebook[used] + centre).astype(np.float32), found, cost)


def _seed(tiles: np.ndarray, n: int, k: int, generator: np.random.Generator, workers: Workers) -> np.ndarray:
    """k rows as first codewords, (k, d) float32, or fewer if all rows are among them.

    As in k-means++ a row is drawn with the probability of its squared error; but in rounds that grow the codebook by a
    quarter, so that the number of passes over the rows grows with log(k).
    """
    codebook = _rows(tiles, generator.integers(n, size=1))
    while len(codebook) < k:
        errors = _errors(tiles, codebook, assign(tiles, codebook, workers), n, workers)
        drawn = _draw(errors, min(k - len(codebook), 1 + len(codebook) // 4), generator)
        if len(drawn) == 0:
            break
        codebook = np.concatenate([codebook, _rows(tiles, drawn)])
    return codebook


def _draw(errors: np.ndarray, number: int, generator: np.random.Generator) -> np.ndarray:
    """Up to `number` different rows, drawn with the probability of their squared error."""
    number = min(number, int(np.count_nonzero(errors)))
    return generator.choice(len(errors), number, replace=False, p=errors / errors.sum()) if number else np.empty(0, int)


def _rows(tiles: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Packed rows by index: (m, d) float32."""
    lanes = tiles.shape[2]
    return tiles[indices // lanes, :, indices % lanes]


def _means(tiles: np.ndarray, labels: np.ndarray, n: int, k: int, workers: Workers) -> tuple[np.ndarray, np.ndarray]:
    """Mean row of every codeword, (k, d) float64, zero without rows; and its number of rows, (k,) int64."""
    counts = np.bincount(labels[:n], minlength=k)
    sums = np.zeros((tiles.shape[1], k))
    workers.ranges(lambda start, stop: _add_up(tiles, labels, n, sums, start, stop), len(sums))
    return sums.T / np.maximum(counts, 1)[:, None], counts


@nb.njit(cache=True, nogil=True)
def _add_up(tiles, labels, n, sums, start, stop):
    """Sums per label of the dimensions start to stop: each thread has its own dimensions, all rows in order."""
    lanes = tiles.shape[2]
    for j in range(start, stop):
        for row in range(n):
            sums[j, labels[row]] += tiles[row // lanes, j, row % lanes]


def _errors(tiles: np.ndarray, codebook: np.ndarray, labels: np.ndarray, n: int, workers: Workers) -> np.ndarray:
    """Squared error of every row against its codeword, (n,) float64."""
    errors = np.empty(n)
    workers.ranges(lambda start, stop: _squared_errors(tiles, codebook, labels, errors, start, stop), n)
    return errors


@nb.njit(cache=True, nogil=True)
def _squared_errors(tiles, codebook, labels, errors, start, stop):
    lanes = tiles.shape[2]
    for row in range(start, stop):
        error = 0.0
        for j in range(tiles.shape[1]):
            error += np.float64(tiles[row // lanes, j, row % lanes] - codebook[labels[row], j]) ** 2
        errors[row] = error
