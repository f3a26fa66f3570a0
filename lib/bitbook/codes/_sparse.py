"""SparseCode: positions of the weights that are left, and any other code for these."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ._arrays import frozen, read_shape, spell_shape
from ._code import Code, Codebooks
from ._grid import GridCode
from ._positions import read_positions, write_positions
from ._scalar import ScalarCode
from ._sections import Reader, Writer
from ._vector import VectorCode

INNER: dict[str, type[Code]] = {code.kind: code for code in (ScalarCode, VectorCode, GridCode)}


@dataclass(frozen=True, eq=False)
class SparseCode:
    """A tensor of zeros but for some positions, whose weights, in row-major order, another code holds.

    positions: bool in the shape of the tensor. inner: a code, in any shape, of as many weights as there are positions;
    none of them may be zero.
    """

    positions: np.ndarray
    inner: Code
    kind: ClassVar[str] = "sparse"

    def __post_init__(self) -> None:
        object.__setattr__(self, "positions", frozen(np.asarray(self.positions), np.bool_))
        if not self.positions.ndim:
            raise ValueError("positions: a code needs an axis; store a single number dense")
        if type(self.inner) not in INNER.values():
            raise ValueError(f"the inner code must be one of {', '.join(INNER)}, not {type(self.inner).__name__}")
        if math.prod(self.inner.shape) != self.positions.sum():
            raise ValueError(f"{self.positions.sum()} positions, but the inner code has shape {self.inner.shape}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return self.positions.shape

    def check(self, codebooks: Codebooks) -> None:
        """Raise ValueError unless the inner code fits the codebooks and holds no zero."""
        self.inner.check(codebooks)
        if not self.inner.decode(codebooks).all():
            raise ValueError("the inner code holds a weight of zero; leave it out of the positions")

    def decode(self, codebooks: Codebooks) -> np.ndarray:
        """Return the weights as float32 in the shape of the tensor."""
        weights = np.zeros(self.shape, np.float32)
        weights[self.positions] = self.inner.decode(codebooks).ravel()
        return weights

    def counts(self, codebooks: Codebooks) -> dict[str, np.ndarray]:
        """Return the counts of the inner code, and how many weights are zero and how many not, (2,)."""
        left = int(self.positions.sum())
        return self.inner.counts(codebooks) | {"positions left": np.array([self.positions.size - left, left])}

    def renumbered(self, numbers: Mapping[str, np.ndarray]) -> SparseCode:
        """Return the code with index i of a codebook replaced by numbers[codebook][i]."""
        return replace(self, inner=self.inner.renumbered(numbers))

    def describe(self) -> str:
        """Return kind, shape (* for a flat one) and words of the inner code."""
        shape = "*" if len(self.inner.shape) == 1 else spell_shape(self.inner.shape)
        return f"{self.inner.kind} {shape} {self.inner.describe()}".rstrip()

    def write(self, writer: Writer, codebooks: Codebooks, mask: np.ndarray | None = None) -> None:
        """Write the positions, then the inner code."""
        write_positions(self.positions, writer)
        self.inner.write(writer, codebooks, self.positions)

    @classmethod
    def read(
        cls,
        words: list[str],
        shape: tuple[int, ...],
        reader: Reader,
        codebooks: Codebooks,
        mask: np.ndarray | None = None,
    ) -> SparseCode:
        """Return what was written."""
        positions = read_positions(shape, reader)
        kind, inner, *words = words
        inner_shape = (int(positions.sum()),) if inner == "*" else read_shape(inner)
        reader.require(math.prod(inner_shape) == positions.sum(), "its positions and its inner code differ in number")
        return cls(positions, INNER[kind].read(words, inner_shape, reader, codebooks, positions))
