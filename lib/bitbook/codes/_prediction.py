"""Prediction of a kernel's weight from its neighbours that are already known."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

OFFSETS = ((0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2))  # (|dy|, |dx|) with a correlation each
ONE = 32  # a correlation of 1
FRACTION = 6  # bits behind the point of a prediction's factors


def correlations(planes: np.ndarray, kernel: tuple[int, int]) -> tuple[int, ...]:
    """Return the mean correlation at each of OFFSETS, in units of 1/ONE.

    planes: (kh * kw, out, in) whole numbers, one plane for each place in the kernel.
    """
    height, width = kernel
    whole = planes.reshape(height, width, -1).astype(np.int64)
    power = int(np.square(whole).sum())

    def correlation(dy: int, dx: int) -> int:
        if dy >= height or dx >= width or not power:
            return 0
        low, high = whole[: height - dy], whole[dy:]
        total = int((low[:, : width - dx] * high[:, dx:]).sum()) + int((low[:, dx:] * high[:, : width - dx]).sum())
        pairs = 2 * (height - dy) * (width - dx)
        return max(-ONE, min(ONE, (2 * ONE * total * height * width // (pairs * power) + 1) >> 1))

    return tuple(correlation(*offset) for offset in OFFSETS)


@lru_cache(maxsize=256)
def factors(correlation: tuple[int, ...], kernel: tuple[int, int]) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Return, for each place in the kernel in row-major order, (earlier place, factor) pairs of its best prediction.

    Solves the normal equations of a stationary process in whole numbers; factors are in units of 2**-FRACTION.
    """
    known = {(0, 0): ONE + 2, **dict(zip(OFFSETS, correlation, strict=True))}  # + 2: some noise keeps it solvable
    rules = []
    for place, near in enumerate(_neighbours(kernel)):
        matrix = [[known.get(_offset(a, b, kernel), 0) for b in near] for a in near]
        solved = solve(matrix, [known[_offset(earlier, place, kernel)] for earlier in near])
        rules.append(tuple((p, factor) for p, factor in zip(near, solved, strict=True) if factor))
    return tuple(rules)


def factors_work(kernel: tuple[int, int]) -> int:
    """Return about what `factors` takes, in units of some 30 ns: a file may name other correlations in each section."""
    return 8 * sum(len(near) ** 3 for near in _neighbours(kernel))


@lru_cache
def _neighbours(kernel: tuple[int, int]) -> list[list[int]]:
    """The earlier places that are near each place, in row-major order."""
    places = range(kernel[0] * kernel[1])
    return [[earlier for earlier in range(place) if _offset(earlier, place, kernel) in OFFSETS] for place in places]


def _offset(a: int, b: int, kernel: tuple[int, int]) -> tuple[int, int]:
    return abs(a // kernel[1] - b // kernel[1]), abs(a % kernel[1] - b % kernel[1])


def solve(matrix: Sequence[Sequence[int]], right: Sequence[int]) -> list[int]:
    """Return x of matrix x = right, in units of 2**-FRACTION and within +-2; zeros where there is no one solution.

    Fraction-free elimination (Bareiss) in whole numbers of any size: no rounding before the last division.
    """
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    size, before = len(rows), 1
    for i in range(size):
        if rows[i][i] == 0:
            return [0] * size
        for j in range(size):
            if j != i:
                rows[j] = [(rows[i][i] * b - rows[j][i] * a) // before for a, b in zip(rows[i], rows[j], strict=True)]
        before = rows[i][i]
    limit = 2 << FRACTION
    return [max(-limit, min(limit, ((row[-1] << FRACTION + 1) // row[i] + 1) >> 1)) for i, row in enumerate(rows)]
