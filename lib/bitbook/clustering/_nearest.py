"""Nearest codeword of every row, with explicit vectors."""

from functools import lru_cache

import numba as nb
import numpy as np

from bitbook.simd import add, fma, host_lanes, less, load, select, splat, store

from ._sorted_weights import checked
from ._threads import Workers

TOGETHER = 4  # codewords at a time: as many independent sums keep the multipliers busy


def nearest_codewords(rows: np.ndarray, codebook: np.ndarray, *, threads: int | None = None) -> np.ndarray:
    """Index of the codeword nearest to every row; of equally near ones the first.

    rows: (n, d) float; codebook: (k, d) float. Returns (n,) of the smallest unsigned type. Computed in float32, with
    the same result for any number of threads and on any processor. Raises ValueError for arrays that are empty, not
    finite, or do not fit each other.
    """
    rows, codebook = checked(rows, "rows"), checked(codebook, "codebook")
    if rows.ndim != 2 or codebook.ndim != 2 or rows.shape[1] != codebook.shape[1]:
        raise ValueError(f"rows (n, d) and codebook (k, d) do not fit: their shapes are {rows.shape}, {codebook.shape}")
    centre = codebook.mean(0, dtype=np.float64)
    with Workers(threads) as workers:
        labels = assign(pack(rows, centre), (codebook - centre).astype(np.float32), workers)
    return labels[: len(rows)].astype(np.min_scalar_type(len(codebook) - 1))


def pack(rows: np.ndarray, centre: np.ndarray, lanes: int | None = None) -> np.ndarray:
    """Rows about a centre, side by side in vectors: (tiles, d, lanes) float32, the last tile filled up with zeros.

    rows: (n, d) float; centre: (d,) float64, about which float32 loses least; lanes: by default the host's.
    """
    lanes = lanes or host_lanes()
    tiles = np.zeros((-(-len(rows) // lanes), rows.shape[1], lanes), np.float32)
    _fill(np.ascontiguousarray(rows), centre, tiles)
    return tiles


@nb.njit(cache=True, nogil=True)
def _fill(rows, centre, tiles):
    lanes = tiles.shape[2]
    for n in range(len(rows)):
        for j in range(len(centre)):
            tiles[n // lanes, j, n % lanes] = rows[n, j] - centre[j]


def assign(tiles: np.ndarray, codebook: np.ndarray, workers: Workers) -> np.ndarray:
    """Index of the nearest codeword of every packed row, (tiles * lanes,) int32; codebook: (k, d) float32."""
    (number, d, lanes), k = tiles.shape, len(codebook)
    blocks = -(-k // TOGETHER)
    negative = np.zeros((blocks, TOGETHER, d), np.float32)
    negative.reshape(-1, d)[:k] = -codebook
    exact = codebook.astype(np.float64)
    paired = 2 * _pairs(d)
    constant = np.full((blocks, TOGETHER), np.inf, np.float32)  # what fills up the last block is never nearest
    constant.reshape(-1)[:k] = np.square(exact).sum(1) / 2 - (exact[:, :paired:2] * exact[:, 1:paired:2]).sum(1)
    labels = np.empty(number * lanes, np.int32)
    numbers = np.arange(blocks * TOGETHER, dtype=np.int32).reshape(blocks, TOGETHER)
    negative = np.ascontiguousarray(negative.transpose(0, 2, 1))
    kernel = _kernel(d, lanes)
    workers.ranges(lambda start, stop: kernel(tiles, negative, constant, numbers, labels, start, stop), number)
    return labels


def _pairs(d: int) -> int:
    """Pairs of dimensions that share a multiplication: with a third of d, multipliers and adders are equally busy."""
    return d // 3


@lru_cache
def _kernel(d: int, lanes: int):
    """Assignment of the tiles start to stop, compiled for d dimensions and so many lanes.

    The nearest codeword c of a row x has the least |c|**2 / 2 - x . c. Multiplications limit the speed, so for some
    pairs of dimensions x1 c1 + x2 c2 = (x1 + c2) (x2 + c1) - x1 x2 - c1 c2 saves one (Winograd, 1968): x1 x2 is the
    same for all codewords, and c1 c2 is part of the codeword's constant.
    """
    paired = 2 * _pairs(d)

    @nb.njit(cache=True, nogil=True)
    def assign_tiles(tiles, negative, constant, numbers, labels, start, stop):
        for t in range(start, stop):
            best, label = splat(np.float32(np.inf), lanes), splat(np.int32(0), lanes)
            for b in range(len(constant)):
                s0, s1 = splat(constant[b, 0], lanes), splat(constant[b, 1], lanes)
                s2, s3 = splat(constant[b, 2], lanes), splat(constant[b, 3], lanes)
                for j in range(0, paired, 2):
                    x, y = load(tiles, (t * d + j) * lanes, lanes), load(tiles, (t * d + j + 1) * lanes, lanes)
                    s0 = fma(add(x, splat(negative[b, j + 1, 0], lanes)), add(y, splat(negative[b, j, 0], lanes)), s0)
                    s1 = fma(add(x, splat(negative[b, j + 1, 1], lanes)), add(y, splat(negative[b, j, 1], lanes)), s1)
                    s2 = fma(add(x, splat(negative[b, j + 1, 2], lanes)), add(y, splat(negative[b, j, 2], lanes)), s2)
                    s3 = fma(add(x, splat(negative[b, j + 1, 3], lanes)), add(y, splat(negative[b, j, 3], lanes)), s3)
                for j in range(paired, d):
                    x = load(tiles, (t * d + j) * lanes, lanes)
                    s0, s1 = fma(x, splat(negative[b, j, 0], lanes), s0), fma(x, splat(negative[b, j, 1], lanes), s1)
                    s2, s3 = fma(x, splat(negative[b, j, 2], lanes), s2), fma(x, splat(negative[b, j, 3], lanes), s3)
                nearer = less(s0, best)
                best, label = select(nearer, s0, best), select(nearer, splat(numbers[b, 0], lanes), label)
                nearer = less(s1, best)
                best, label = select(nearer, s1, best), select(nearer, splat(numbers[b, 1], lanes), label)
                nearer = less(s2, best)
                best, label = select(nearer, s2, best), select(nearer, splat(numbers[b, 2], lanes), label)
                nearer = less(s3, best)
                best, label = select(nearer, s3, best), select(nearer, splat(numbers[b, 3], lanes), label)
            store(labels, t * lanes, label)

    return assign_tiles
