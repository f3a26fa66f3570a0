"""Outputs whose codes are of one form, with their kernels: what a layer is made of."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import _many, _single
from ._threads import in_parts
from ._tiles import OUTPUTS, filled, pack, table
from ._weights import STEPS


@dataclass(frozen=True)
class Geometry:
    """Where each product finds its inputs and leaves its outputs in flat arrays: y[starts[p] + stride * o].

    offsets: (n,) of the inputs of a product. bases: (positions,) added to them. starts: (positions,) of the outputs.
    """

    offsets: np.ndarray
    bases: np.ndarray
    starts: np.ndarray
    stride: int


class Band(ABC):
    """Some outputs of a layer: `outputs` says which. Each kind has a kernel for one input vector and a decoder.

    alone: up to how many input vectors that kernel, called for each, is faster than decoding tiles (measured by
    bench/kernels.py).
    """

    alone: int = 1
    d: int = 1  # inputs of a group, which share a code
    per_tile: int = 1  # units of the single kernel in a tile

    def __init__(self, outputs: np.ndarray, inputs: int, codes: np.ndarray, values: np.ndarray) -> None:
        self.inputs, self.codes, self.values = inputs, codes, values
        self.tiles = -(-len(outputs) // OUTPUTS)
        self.outputs = np.full(self.tiles * OUTPUTS, -1, np.int32)
        self.outputs[: len(outputs)] = outputs
        self.count = len(outputs)
        whole = np.array_equal(outputs, np.arange(len(outputs)))
        self.order = slice(len(outputs)) if whole else self.outputs[: len(outputs)]

    @property
    def nbytes(self) -> int:
        """Bytes of codes and values."""
        return self.codes.nbytes + self.values.nbytes

    @abstractmethod
    def kernel(self) -> tuple[Callable, Callable[[np.ndarray], tuple]]:
        """Return the kernel of one input vector, and what makes its arguments of that."""

    @abstractmethod
    def decoder(self):
        """Return the compiled decoder of a tile."""

    def single(self, x: np.ndarray, y: np.ndarray, threads: int) -> None:
        """Write the products with one input vector (n,) to y (m,)."""
        kernel, prepared = self.kernel()
        arguments, out = prepared(x), np.empty(self.tiles * OUTPUTS, np.float32)
        units = self.tiles * self.per_tile
        in_parts(lambda *part: kernel(*arguments, out, *part), units, self.count * self.inputs, threads)
        y[self.order] = out[: self.count]

    def many(self, x: np.ndarray, geometry: Geometry, y: np.ndarray, threads: int) -> None:
        """Write the products with all input vectors, by decoding tiles."""
        address, values = self.decoder().address, self.values.view(np.uint8)
        parts = -(-len(geometry.bases) // _many.POSITIONS)
        g = geometry

        def part(*ranges: int) -> None:
            fixed = (address, self.codes.view(np.uint8), values, self.d)
            _many.multiply(*fixed, x, g.offsets, g.bases, y, g.starts, g.stride, self.outputs, ranges)

        work = self.count * self.inputs * len(g.bases)
        if parts >= threads:
            in_parts(lambda *cut: part(0, self.tiles, *cut), parts, work, threads)
        else:
            in_parts(lambda *cut: part(*cut, 0, parts), self.tiles, work, threads)

    def decoded(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the outputs of the tiles first to last, and their weights (outputs, n) float32."""
        blocks = -(-self.inputs // (STEPS * self.d))
        weights = np.empty((last - first, blocks * STEPS * self.d, OUTPUTS), np.float32)
        _many.decode(
            self.decoder().address, self.codes.view(np.uint8), self.values.view(np.uint8), blocks, first, weights
        )
        kept = self.outputs[first * OUTPUTS : last * OUTPUTS] >= 0
        flat = weights.transpose(0, 2, 1).reshape(len(kept), -1)[kept, : self.inputs]
        return self.outputs[first * OUTPUTS : last * OUTPUTS][kept], flat


class Table(Band):
    """Codes into at most 64 values, or into at most 16 codewords for groups of d inputs."""

    def __init__(self, outputs: np.ndarray, inputs: int, codes: np.ndarray, book: np.ndarray, form: str) -> None:
        """codes: (outputs, inputs / d) below k. book: (k, d) float32."""
        k, self.d = book.shape
        self.bits = max(1, (k - 1).bit_length())
        self.segments, self.form = -(-(1 << self.bits) // 16), form
        entries = np.zeros((self.d, 16 * self.segments), np.float32)
        entries[:, :k] = book.T
        values, self.low = table(entries, form)
        order = "avx2" if form == "avx2" else "words" if self.bits == 4 else "outputs"
        super().__init__(outputs, inputs, pack(codes, self.bits, order), values)
        self.entries = entries.ravel()
        self.alone = 3 if self.d == 1 else 16

    def kernel(self):
        if self.d == 1:
            kernel = _single.scalar(self.bits, self.segments, self.low, self.form)
            return kernel, lambda x: (self.codes, self.values, filled(x, STEPS))
        return _single.grouped(self.bits, self.form), self._products

    def _products(self, x):
        x = filled(x, STEPS * self.d)
        tables = np.empty(len(x) // self.d * 64, np.uint8)
        _single.group_tables(self.form)(self.entries, x, tables)
        return self.codes, tables, x

    def decoder(self):
        return _many.scalar_decoder(self.bits, self.segments, self.low, self.form, self.d)


class Integers(Band):
    """Whole numbers from -2**(bits - 1) on, of at most 8 bits."""

    alone = 3

    def __init__(self, outputs: np.ndarray, inputs: int, numbers: np.ndarray, bits: int) -> None:
        """numbers: (outputs, inputs)."""
        self.bits = bits
        codes = (numbers + (1 << bits - 1)).astype(np.uint8)
        super().__init__(outputs, inputs, pack(codes, bits, "outputs"), np.zeros(1, np.uint8))

    def kernel(self):
        kernel = _single.scalar(self.bits, 1, 0, "whole")
        return kernel, lambda x: (self.codes, self.values, filled(x, STEPS))

    def decoder(self):
        return _many.scalar_decoder(self.bits, 1, 0, "whole", 1)


class Rows(Band):
    """Codes of a byte or two into codewords of d numbers, each a row of the codebook."""

    per_tile = OUTPUTS // 8

    def __init__(self, outputs: np.ndarray, inputs: int, codes: np.ndarray, book: np.ndarray) -> None:
        """codes: (outputs, inputs / d) below k. book: (k, d) float32."""
        self.d, self.lanes = book.shape[1], 1 << (book.shape[1] - 1).bit_length()
        entries = np.zeros((len(book), self.lanes), np.float32)
        entries[:, : self.d] = book
        tiles, groups = -(-len(codes) // OUTPUTS), -(-codes.shape[1] // STEPS) * STEPS
        full = np.zeros((tiles * OUTPUTS, groups), np.min_scalar_type(max(255, len(book) - 1)))
        full[: len(codes), : codes.shape[1]] = codes
        eights = full.reshape(-1, 8, groups).transpose(0, 2, 1)  # (tiles * 4, groups, 8)
        super().__init__(outputs, inputs, eights.ravel(), entries.ravel())
        self.alone = 8 if self.d > 4 else 3

    def kernel(self):
        kernel = _single.rows(self.lanes, 8 * self.codes.itemsize)
        return kernel, lambda x: (self.codes.view(np.uint64), self.values, self._groups(x))

    def _groups(self, x):
        x = filled(x, STEPS * self.d)
        if self.lanes == self.d:
            return x
        wide = np.zeros((len(x) // self.d, self.lanes), np.float32)
        wide[:, : self.d] = x.reshape(-1, self.d)
        return wide.ravel()

    def decoder(self):
        return _many.rows_decoder(self.lanes, self.d, self.codes.itemsize == 2)
