"""SparseCode: positions of the weights that are left, and any other code for these.

Positions are a bitmap, distances or run lengths, whichever is smallest once coded. The bitmap's model has learnt from
the tensors before; where these were much fuller, one of its own is better.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from ._arrays import frozen, read_shape, spell_shape
from ._code import Code, Shape, needs_axis
from ._entropy import Alphabet
from ._grid import GridCode
from ._indexed import ScalarCode, VectorCode
from ._sections import Codebooks, Reader, Writer

MORE = 255  # the symbol of lengths that says: 255 more, and it goes on
BITMAP = Alphabet(2, "bitmap", np.arange(2))


def write_positions(positions: np.ndarray, writer: Writer) -> None:
    """Write a bool tensor in the smallest of the four forms."""
    flat = positions.ravel()
    distances = np.diff(np.flatnonzero(flat), prepend=-1) - 1  # zeros before each position (Han et al. 2016)
    edges = np.flatnonzero(np.diff(flat, prepend=False, append=not flat[-1:].any()))
    runs = np.diff(edges, prepend=0)  # of zeros, of ones, of zeros, ...
    writer.choose(
        [
            lambda fork: fork.symbols("positions", positions.view(np.uint8), BITMAP),
            lambda fork: _write_lengths(distances, "distances", fork),
            lambda fork: (_write_lengths(runs[::2], "zeros", fork), _write_lengths(runs[1::2], "ones", fork)),
            lambda fork: fork.symbols("positions", positions.view(np.uint8), _own_bitmap(fork.section)),
        ]
    )


def read_positions(shape: tuple[int, ...], reader: Reader) -> np.ndarray:
    """Return the bool tensor that was written."""
    size, form = math.prod(shape), reader.choice()
    if form in (0, 3):
        return reader.symbols("positions", shape, _own_bitmap(reader.section) if form else BITMAP).view(np.bool_)
    if form == 1:
        steps = _read_lengths("distances", size, reader)
        steps += 1
        reader.require(steps.sum(dtype=np.int64) <= size, "its positions lie outside the tensor")
        flat = np.zeros(size, np.bool_)
        flat[np.cumsum(steps, out=steps) - 1] = True
        return flat.reshape(shape)
    reader.require(form == 2, f"form {form} of positions is unknown")
    zeros, ones = _read_lengths("zeros", size + 1, reader), _read_lengths("ones", size + 1, reader)
    reader.require(len(zeros) - len(ones) in (0, 1), "its runs do not alternate")
    reader.require(len(zeros) + len(ones) <= size + 1, "has more runs than weights")
    runs, kinds = np.zeros(len(zeros) + len(ones), zeros.dtype), np.zeros(len(zeros) + len(ones), np.bool_)
    runs[::2], runs[1::2], kinds[1::2] = zeros, ones, True
    reader.require(runs.sum(dtype=np.int64) == size, "its runs do not fill the tensor")
    return np.repeat(kinds, runs).reshape(shape)


def _own_bitmap(section: str) -> Alphabet:
    return Alphabet(2, ("bitmap", section), np.arange(2))


def _write_lengths(lengths: np.ndarray, model: str, writer: Writer) -> None:
    symbols = np.full(int((lengths // MORE + 1).sum()), MORE, np.uint8)
    symbols[np.cumsum(lengths // MORE + 1) - 1] = lengths % MORE
    writer.number("positions", len(symbols))
    writer.symbols("positions", symbols, Alphabet(MORE + 1, model))


def _read_lengths(model: str, limit: int, reader: Reader) -> np.ndarray:
    count = reader.number("positions")
    reader.require(count <= limit, "holds more runs or distances than weights")
    symbols = reader.symbols("positions", (count,), Alphabet(MORE + 1, model))
    reader.require(not count or symbols[-1] != MORE, "its last length is cut off")
    reader.require(int(symbols.sum(dtype=np.int64)) <= limit, "its lengths go beyond the tensor")
    ends = np.cumsum(symbols, dtype=np.int32 if limit < 2**31 else np.int64)[symbols != MORE]
    ends[1:] -= ends[:-1].copy()
    return ends


INNER: dict[str, type[Code]] = {code.kind: code for code in (ScalarCode, VectorCode, GridCode)}


@dataclass(frozen=True, eq=False)
class SparseCode(Code):
    """A tensor of zeros but for some positions, whose weights, in row-major order, another code holds.

    positions: bool in the shape of the tensor. inner: a code, in any shape, of as many weights as there are positions;
    none of them may be zero.
    """

    positions: np.ndarray
    inner: Code
    kind: ClassVar[str] = "sparse"

    def __post_init__(self) -> None:
        object.__setattr__(self, "positions", frozen(np.asarray(self.positions), np.bool_))
        needs_axis(self.positions.shape, "positions")
        if type(self.inner) not in INNER.values():
            raise ValueError(f"the inner code must be one of {', '.join(INNER)}, not {type(self.inner).__name__}")
        if math.prod(self.inner.shape) != self.positions.sum():
            raise ValueError(f"{self.positions.sum()} positions, but the inner code has shape {self.inner.shape}")

    @property
    def shape(self) -> Shape:  # type: ignore[override]  # of other codes it is a field
        """Shape of the tensor."""
        return self.positions.shape

    def check(self, codebooks: Codebooks) -> None:
        self.inner.check(codebooks)
        if not self.inner.decode(codebooks).all():
            raise ValueError("the inner code holds a weight of zero; leave it out of the positions")

    def decode(self, codebooks: Codebooks) -> np.ndarray:
        weights = np.zeros(self.shape, np.float32)
        weights[self.positions] = self.inner.decode(codebooks).ravel()
        return weights

    def counts(self, codebooks: Codebooks) -> dict[str, np.ndarray]:
        """Return the counts of the inner code, and how many weights are zero and how many not, (2,)."""
        left = int(self.positions.sum())
        return self.inner.counts(codebooks) | {"positions left": np.array([self.positions.size - left, left])}

    def renumbered(self, numbers: Mapping[str, np.ndarray]) -> Self:
        return replace(self, inner=self.inner.renumbered(numbers))

    def describe(self) -> str:
        """Return kind, shape (* for a flat one) and words of the inner code."""
        shape = "*" if len(self.inner.shape) == 1 else spell_shape(self.inner.shape)
        return f"{self.inner.kind} {shape} {self.inner.describe()}".rstrip()

    def write(self, writer: Writer, mask: np.ndarray | None = None) -> None:
        write_positions(self.positions, writer)
        self.inner.write(writer, self.positions)

    @classmethod
    def read(cls, words: list[str], shape: Shape, reader: Reader, mask: np.ndarray | None = None) -> Self:
        positions = read_positions(shape, reader)
        kind, inner, *words = words
        inner_shape = (int(positions.sum()),) if inner == "*" else read_shape(inner)
        reader.require(math.prod(inner_shape) == positions.sum(), "its positions and its inner code differ in number")
        return cls(positions, INNER[kind].read(words, inner_shape, reader, positions))
