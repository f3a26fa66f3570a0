"""One grid for the whole network, its step found such that the file takes the budget; each layer rounded by itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from torch import Tensor, nn
from tqdm import tqdm

from bitbook import training
from bitbook.codes import Coded, Compressed, entropy_bits
from bitbook.compression._assemble import assemble
from bitbook.compression._baseline import grid
from bitbook.compression._compensate import Moments, compensate

RATE = 0.1  # the rate-distortion weight at which a uniform quantiser trades squared error for bits
FILES = 6  # made and measured at most
CLOSE = 0.98  # of the budget: a file that takes as much is taken
BINS = 2**20  # of the histogram by which sizes are foreseen
LEVELS = 60_000  # of the finest grid: indices have 16 bits


def finest_grid(
    network: nn.Module,
    tensors: Mapping[str, np.ndarray],
    budget: int,
    *,
    moments: Mapping[str, Moments] | None = None,
    calibration: Tensor | Iterable[training.Batch] | None = None,
    progress: bool = True,
) -> Compressed:
    """Compress to about the finest grid whose file keeps the budget, with one grid step for all weights.

    The entropy of the rounded weights foresees a file's size up to a factor, which the files made on the way tell.

    Args:
        network: any module; left as it is.
        tensors: the weights to code, float32 by parameter name.
        budget: most bytes of the file.
        moments: of `input_moments`; layers that have some are rounded for their outputs (GPTQ) with a rate term, all
            others to the nearest value.
        calibration: for the batch norms, see `assemble`.
        progress: whether to show a progress bar.

    Raises:
        ValueError: for a budget that the coarsest grid exceeds.
    """

    def coded(step: float) -> Coded:
        found = grid(tensors, step)
        return compensate(tensors, found, moments, price=RATE) if moments else found

    entropy = _Entropy(tensors)
    low, high = math.log(entropy.largest * 2 / LEVELS), math.log(entropy.largest * 4)  # at the upper end all are zero
    rest = len(assemble(network, coded(math.exp(high))).to_bytes())
    if rest > budget:
        raise ValueError(
            f"the file takes {rest:,} bytes with all weights zero, more than the budget of {budget:,}: give a larger "
            "budget or a smaller ratio, or code more of the network (include=)"
        )
    best, factor = math.exp(high), 0.85 if moments else 1.0
    with tqdm(total=FILES, desc="grid step", unit="file", disable=not progress) as bar:
        for _ in range(FILES):
            step = entropy.step((budget - rest) / factor, low, high)
            size = len(assemble(network, coded(step)).to_bytes())
            bar.set_postfix(bytes=size)
            bar.update()
            if size <= budget:
                best, high = step, math.log(step)
            else:
                low = math.log(step)
            factor = max(size - rest, 1) / max(entropy.bytes(step), 1)
            if CLOSE * budget <= size <= budget or high - low < 1e-4:
                break
        bar.total = bar.n
    while True:
        file = assemble(network, coded(best), calibration=calibration)
        if len(file.to_bytes()) <= budget:
            return file
        best *= 1.01  # the batch norms as re-estimated took a few bytes more
        if best > 8 * entropy.largest:
            raise ValueError(f"no file of this network keeps the budget of {budget:,} bytes: give a larger one")


class _Entropy:
    """The entropy of all weights rounded to a grid, by a fine histogram of them."""

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        self.largest = max(float(np.abs(tensor).max()) for tensor in tensors.values()) or 1.0
        edges = (-self.largest, self.largest)
        self._counts = sum(np.histogram(tensor, BINS, edges)[0] for tensor in tensors.values())
        self._centres = (np.arange(BINS) + 0.5) * (2 * self.largest / BINS) - self.largest

    def bytes(self, step: float) -> float:
        """Bytes of all indices with one table."""
        levels = np.rint(self._centres / step).astype(np.int64)
        return entropy_bits(np.bincount(levels - levels[0], self._counts)) / 8

    def step(self, size: float, low: float, high: float) -> float:
        """The step between exp(low) and exp(high) whose indices take so many bytes; where none does, the middle one."""
        a, b = low, high
        while b - a > 1e-6:
            middle = (a + b) / 2
            a, b = (a, middle) if self.bytes(math.exp(middle)) <= size else (middle, b)
        return math.exp((low + high) / 2 if b == high or a == low else b)
