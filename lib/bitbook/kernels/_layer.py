"""A layer's weights in the form that the kernels read."""

import math
from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np

from bitbook.codes import Code, GridCode, ScalarCode, SparseCode, VectorCode
from bitbook.simd import instruction_set

from . import _eight_bit
from ._bands import Band, Geometry, Integers, Rows, Table
from ._threads import in_parts
from ._tiles import OUTPUTS, pack
from ._weights import STEPS

Window = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]  # size, stride and dilation of a convolution
PANEL = 256  # outputs that are decoded at a time for the matrix library


class Lookup:
    """The weights (m, n) of a layer as codes, multiplied without being decoded as a whole.

    Args:
        code: of any family, of a tensor (out, ...), which is taken as a matrix.
        codebooks: those that the code refers to.
        form: the instructions to use, of bitbook.simd.INSTRUCTION_SETS; by default the processor's best.

    Raises:
        ValueError: where code and codebooks do not fit. All indices are checked here, and no kernel checks one again.
    """

    def __init__(self, code: Code, codebooks: Mapping[str, np.ndarray], *, form: str | None = None) -> None:
        code.check(codebooks)
        form = form or instruction_set()
        self.shape = (code.shape[0], math.prod(code.shape[1:]))
        self.scale = None  # (m,)
        if isinstance(code, ScalarCode):
            book = codebooks[code.codebook].astype(np.float32)[:, None]
            if code.scales is not None and code.scales.ndim == 0:
                book = book * code.scales.astype(np.float32)
            elif code.scales is not None:
                self.scale = code.scales.astype(np.float32)
            self.bands = [_table(code.indices.reshape(self.shape), book, self.shape, form)]
        elif isinstance(code, VectorCode):
            indices = code.indices.reshape(self.shape[0], -1)
            self.bands = [_table(indices, codebooks[code.codebook].astype(np.float32), self.shape, form)]
        elif isinstance(code, GridCode):
            self.bands = list(_grid(code, self.shape, form))
            self.scale = np.ldexp(np.float32(1), code.exponents.astype(np.int32))
        elif isinstance(code, SparseCode):
            # With zero as one of the values: four times the memory of positions and codes at a tenth of the weights,
            # but no kernel that skips zeros was half as fast on AVX2 (bench/kernels.py).
            values, codes = np.unique(code.inner.decode(codebooks), return_inverse=True)
            full = np.zeros(code.shape, np.uint32)
            full[code.positions] = 1 + codes.ravel()
            book = np.concatenate([[0], values]).astype(np.float32)[:, None]
            self.bands = [_table(full.reshape(self.shape), book, self.shape, form)]
        else:
            raise ValueError(f"there is no kernel for {type(code).__name__}")

    @property
    def nbytes(self) -> int:
        """Bytes that the weights take in memory."""
        return sum(band.nbytes for band in self.bands) + (0 if self.scale is None else self.scale.nbytes)

    def multiply(self, x: np.ndarray, *, bias: np.ndarray | None = None, threads: int = 1) -> np.ndarray:
        """Return x @ w.T + bias, (b, m), for x (b, n), all float32; any number of threads gives the same bits."""
        count, (m, n) = len(x), self.shape
        x, y = np.ascontiguousarray(x, np.float32), np.zeros((count, m), np.float32)
        for band in self.bands:
            if count <= band.alone:
                for row, out in zip(x, y, strict=True):
                    band.single(row, out, threads)
            else:
                band.many(x.reshape(-1), _rows(count, m, n), y.reshape(-1), threads)
        return self._finished(y, bias, ())

    def convolve(
        self, x: np.ndarray, window: Window, *, bias: np.ndarray | None = None, threads: int = 1
    ) -> np.ndarray:
        """Return the convolution (b, m, h, w) of padded images (b, c, H, W), float32, as torch's conv2d computes it."""
        geometry, (h, w) = positions(x.shape, self.shape[0], window)
        x, y = np.ascontiguousarray(x, np.float32), np.zeros((len(x), self.shape[0], h, w), np.float32)
        for band in self.bands:
            band.many(x.reshape(-1), geometry, y.reshape(-1), threads)
        return self._finished(y, bias, (1, 1))

    def _finished(self, y: np.ndarray, bias: np.ndarray | None, after: tuple[int, ...]) -> np.ndarray:
        if self.scale is not None:
            y *= self.scale.reshape(-1, *after)
        if bias is not None:
            y += bias.reshape(-1, *after)
        return y

    def panels(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Decode the weights piece by piece: yields the numbers of at most 256 outputs and their weights (o, n)."""
        for band in self.bands:
            for first in range(0, band.tiles, PANEL // OUTPUTS):
                outputs, weights = band.decoded(first, min(first + PANEL // OUTPUTS, band.tiles))
                yield outputs, weights if self.scale is None else weights * self.scale[outputs, None]


class EightBitLookup:
    """A ScalarCode's weights for 8-bit activations: a codebook of whole numbers, activations with a scale per row.

    Sums are exact whole numbers, so only the rounding of codebook and activations to 8 bits separates the result from
    `Lookup`'s. Raises ValueError where code and codebooks do not fit.
    """

    def __init__(self, code: ScalarCode, codebooks: Mapping[str, np.ndarray], *, form: str | None = None) -> None:
        code.check(codebooks)
        self.form = form or instruction_set()
        self.shape = (code.shape[0], math.prod(code.shape[1:]))
        codes, book = _used(code.indices.reshape(self.shape), codebooks[code.codebook].astype(np.float32))
        if len(book) > 256:
            raise ValueError(f"{len(book)} values are more than the 256 of this kernel")
        self.bits = max(1, (len(book) - 1).bit_length())
        self.values = np.zeros(max(16, 1 << self.bits), np.int8)
        self.scale, self.channels = _eight_bit.quantise(book, self.values), None  # (), (m,)
        if code.scales is not None and code.scales.ndim:
            self.channels = code.scales.astype(np.float32)
        elif code.scales is not None:
            self.scale *= float(code.scales)
        self.codes = pack(codes, self.bits, "fours")

    @property
    def nbytes(self) -> int:
        """Bytes that the weights take in memory."""
        return self.codes.nbytes + self.values.nbytes + 4 + (0 if self.channels is None else self.channels.nbytes)

    def multiply(self, x: np.ndarray, *, threads: int = 1) -> np.ndarray:
        """Return x @ w.T, (b, m), for x (b, n), both float32, with x rounded to 8 bits and a scale for each row."""
        (m, n), tiles = self.shape, -(-self.shape[0] // OUTPUTS)
        x, rounded = np.ascontiguousarray(x, np.float32), np.zeros((len(x), -(-n // STEPS) * STEPS), np.int8)
        y = np.empty((len(x), tiles * OUTPUTS), np.float32)
        kernel = _eight_bit.kernel(self.bits, len(self.values) // 16, self.form)
        for row, whole, out in zip(x, rounded, y, strict=True):
            scale = np.float32(_eight_bit.quantise(row, whole) * self.scale)
            fixed = (self.codes, self.values, whole.view(np.int32), scale, out)
            in_parts(lambda *part, fixed=fixed: kernel(*fixed, *part), -(-tiles // 2), m * n, threads)
        return y[:, :m] if self.channels is None else y[:, :m] * self.channels


def _used(indices: np.ndarray, book: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return codes and codebook without the entries that this layer does not use."""
    used = np.bincount(indices.ravel(), minlength=len(book)) > 0
    if not used.any():
        used[:1] = True
    return (np.cumsum(used) - 1)[indices], book[used]


def _table(indices: np.ndarray, book: np.ndarray, shape: tuple[int, int], form: str) -> Band:
    codes, book = _used(indices, book)
    outputs = np.arange(shape[0])
    if len(book) <= (64 if book.shape[1] == 1 else 16):
        return Table(outputs, shape[1], codes, book, form)
    return Rows(outputs, shape[1], codes, book)


def _grid(code: GridCode, shape: tuple[int, int], form: str) -> Iterator[Band]:
    """Yield bands of equal depth: channels from the deepest on, and what fills up a tile at the depth of its first."""
    values, order = code.values.reshape(shape), np.argsort(-code.depths, kind="stable")
    order = order[code.depths[order] > 0]
    tiles = [order[start : start + OUTPUTS] for start in range(0, len(order), OUTPUTS)]
    depths = [int(code.depths[tile[0]]) for tile in tiles]
    for depth in dict.fromkeys(depths):
        outputs = np.concatenate([tile for tile, own in zip(tiles, depths, strict=True) if own == depth])
        if depth <= 8:
            yield Integers(outputs, shape[1], values[outputs], depth)
        else:
            book, codes = np.unique(values[outputs], return_inverse=True)
            yield Rows(outputs, shape[1], codes.reshape(len(outputs), -1), book.astype(np.float32)[:, None])


@lru_cache(maxsize=64)
def _rows(count: int, m: int, n: int) -> Geometry:
    rows = np.arange(count, dtype=np.int64)
    return Geometry(np.arange(n, dtype=np.int64), rows * n, rows * m, 1)


@lru_cache(maxsize=64)
def positions(shape: tuple[int, ...], m: int, window: Window) -> tuple[Geometry, tuple[int, int]]:
    """Return the geometry of a convolution of images of a shape, and the height and width of its outputs."""
    (b, c, height, width), (kernel, stride, dilation) = shape, window
    at = np.arange(c * height * width).reshape(c, height, width)
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    offsets = at[:, : reach[0] : dilation[0], : reach[1] : dilation[1]].ravel()
    corners = at[0, : height - reach[0] + 1 : stride[0], : width - reach[1] + 1 : stride[1]]
    images = np.arange(b)[:, None]
    bases, starts = images * at.size + corners.ravel(), images * m * corners.size + np.arange(corners.size)
    return Geometry(offsets, bases.ravel(), starts.ravel(), corners.size), corners.shape
