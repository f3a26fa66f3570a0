"""SparseCode: positions of the weights that are left, and any other code for these."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from ._arrays import frozen, read_shape, spell_shape
from ._code import Code, Shape, needs_axis
from ._grid import GridCode
from ._indexed import ScalarCode, VectorCode
from ._positions import read_positions, write_positions
from ._sections import Codebooks, Reader, Writer

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
