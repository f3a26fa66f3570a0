"""The order in which a tensor's symbols are coded, and what is known about each before it is coded.

Kernels are coded place by place: all channels' first weights, then all second ones, and so on. The expected magnitude
of a weight comes from what its output channel, its input channel and its own kernel held so far; its predicted value
from its neighbours in the kernel. All in whole numbers.
"""

import itertools
import math
from collections.abc import Iterator

import numpy as np

from ._model import FINE, FLAT, LEVEL_OF, MEANS, STEP, bucket
from ._prediction import FRACTION, factors, factors_work

MAX_KERNEL = 49  # places of a kernel; a larger one is read as more input channels
BLOCK = 1 << 16  # symbols coded at once: bounds the memory on top of the symbols themselves
CHANNEL_PRIOR = 6  # symbols that the tensor's mean magnitude counts for in that of a channel
KERNEL_PRIOR = 12  # symbols that the channels' mean magnitude counts for in that of a kernel
LARGEST = 1 << 22  # magnitude expected from the channels; keeps what follows within 32 bits

Block = tuple[int, slice, slice]


def layout(shape: tuple[int, ...]) -> tuple[int, int, tuple[int, int]]:
    """Return (out, in, (kh, kw)) for any shape of tensor: a vector is one row; axes that are no kernel join `in`."""
    if len(shape) == 4 and 0 < shape[2] * shape[3] <= MAX_KERNEL:
        return shape[0], shape[1], (shape[2], shape[3])
    if len(shape) < 2:
        return 1, math.prod(shape), (1, 1)
    return shape[0], math.prod(shape[1:]), (1, 1)


def doubling(size: int, first: int, largest: int) -> Iterator[slice]:
    """Cut 0..size into slices, each as long as all before it together, at most `largest`."""
    start, end = 0, min(first, largest)
    while start < size:
        yield slice(start, min(end, size))
        start, end = end, end + min(end, largest)


def flat_blocks(count: int) -> Iterator[slice]:
    """Cut 0..count into the blocks in which symbols without contexts are coded."""
    return doubling(count, 64, BLOCK)


class Field:
    """One tensor on its way through the coder: whole values in planes (kh * kw, out, in), filled block by block.

    correlation: of neighbours in a kernel, or None for no prediction. mask: bool, in the shape of the tensor, where
    symbols are coded; the other values are 0. work: of making it, in the units of `Coder.work`.
    """

    def __init__(
        self, shape: tuple[int, ...], *, correlation: tuple[int, ...] | None = None, mask: np.ndarray | None = None
    ) -> None:
        self.out, self.inputs, self.kernel = layout(shape)
        self.places = self.kernel[0] * self.kernel[1]
        self.mask = None if mask is None else self.planes(mask)
        self._factors = None if correlation is None else factors(correlation, self.kernel)
        self.work = 0 if correlation is None else factors_work(self.kernel)
        self._planes = np.zeros((self.places if correlation else 0, self.out, self.inputs), np.int32)
        self._rows = np.zeros((2, self.out), np.int64)  # sum of magnitudes and count, of each output channel
        self._columns = np.zeros((2, self.inputs), np.int64)  # of each input channel
        kernels = (self.out, self.inputs) if self.places > 1 else (0, 0)  # of one place there is nothing to learn
        self._kernels = np.zeros(kernels, np.int32)  # sum of magnitudes of each kernel
        self._kernel_counts = np.zeros(kernels, np.int32) if mask is not None else None
        self._mean = np.zeros((), np.int32)

    def planes(self, array: np.ndarray) -> np.ndarray:
        """Return a tensor as planes (kh * kw, out, in)."""
        return np.ascontiguousarray(array.reshape(self.out, self.inputs, self.places).transpose(2, 0, 1))

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks in coding order; the first plane in small ones, to learn about channels early."""
        for place in range(self.places):
            parts = (8 if self.places == 1 else 4) if place == 0 else 1
            wide = min(self.inputs, BLOCK)
            rows = doubling(self.out, -(-self.out // parts), max(1, BLOCK // max(wide, 1)))
            columns = list(doubling(self.inputs, -(-self.inputs // parts), BLOCK))
            for row, column in itertools.product(rows, columns):
                yield place, row, column

    def contexts(self, block: Block) -> np.ndarray:
        """Return the contexts of the block's symbols, flat."""
        place, rows, columns = block
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        mask = None if self.mask is None else self.mask[block]
        self._mean = self._predict(block, shape)
        seen, count = self._rows.sum(1)
        if not count:
            contexts = np.full(shape, FLAT, np.int16)
        else:
            overall = max(1, (seen * FINE + STEP * FINE // 2) // (count + 1))
            row, column = (
                (sums[0, part] * FINE + CHANNEL_PRIOR * overall) // (sums[1, part] + CHANNEL_PRIOR)
                for sums, part in ((self._rows, rows), (self._columns, columns))
            )
            expected = np.minimum(row[:, None] * column // overall, LARGEST).astype(np.int32)  # (rows, columns)
            if place:
                counts = place if mask is None else self._kernel_counts[rows, columns]
                expected = (self._kernels[rows, columns] * FINE + KERNEL_PRIOR * expected) // (counts + KERNEL_PRIOR)
            level = LEVEL_OF.take(expected, mode="clip")
            contexts = 1 + MEANS // 2 + MEANS * level
            if self._factors is not None and place:
                contexts += bucket(self._mean, level)
        return contexts.ravel() if mask is None else contexts[mask]

    def _predict(self, block: Block, shape: tuple[int, int]) -> np.ndarray:
        place, rows, columns = block
        total = np.zeros(shape, np.int32)
        if self._factors is not None:
            for earlier, factor in self._factors[place]:
                total += factor * self._planes[earlier, rows, columns]
        return total >> FRACTION

    def learn(self, block: Block, found: np.ndarray) -> None:
        """Take in the whole values of the block's symbols, flat, right after `contexts` of the same block."""
        _, rows, columns = block
        values: np.ndarray = np.zeros(self._mean.shape, np.int32)
        if self.mask is None:
            values.ravel()[:] = found
            magnitude = np.abs(values - self._mean)
            across, down = values.shape[1], values.shape[0]
        else:
            mask = self.mask[block]
            values[mask] = found
            magnitude = np.abs(values - self._mean) * mask
            across, down = mask.sum(1), mask.sum(0)
            if self.places > 1:
                self._kernel_counts[rows, columns] += mask
        if self._factors is not None:
            self._planes[block] = values
        if self.places > 1:
            self._kernels[rows, columns] += magnitude
        self._rows[0, rows] += magnitude.sum(1)
        self._rows[1, rows] += across
        self._columns[0, columns] += magnitude.sum(0)
        self._columns[1, columns] += down
