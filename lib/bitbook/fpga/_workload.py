"""What a compressed network asks of the hardware: one matrix for each layer, and how often it is multiplied."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitbook.codes import Code, Compressed, GridCode, SparseCode, VectorCode


@dataclass(frozen=True, eq=False)
class Layer:
    """A matrix of a network.

    rows, columns: its shape, of one group of a convolution. groups: matrices of that shape, each with vectors of its
    own. vectors: output positions. codewords: K, 0 where weights are no codes. dimension: d, weights of a code. left:
    (groups * rows, columns / d) bool, which codes are not zero. depths: (groups * rows,) bits of a grid code's rows.
    """

    name: str
    rows: int
    columns: int
    groups: int
    vectors: int
    codewords: int
    dimension: int
    left: np.ndarray
    depths: np.ndarray | None = None

    @property
    def multiplications(self) -> int:
        """Multiplications of the dense product."""
        return self.groups * self.rows * self.columns * self.vectors

    @property
    def saves(self) -> bool:
        """Whether accumulating takes fewer multiplications than the dense product: K * d below the columns."""
        return 0 < self.codewords * self.dimension < self.columns


def _parts(code: Code, compressed: Compressed) -> tuple[int, int, np.ndarray, np.ndarray | None]:
    """Return the codewords in use, dimension, which codes are not zero, and depths."""
    # A codebook that layers share counts with what this layer uses of it: the unit loads it anew for each.
    outer = code.shape[0]
    if isinstance(code, VectorCode):
        book, used = compressed.codebooks[code.codebook], len(np.unique(code.indices))
        return used, book.shape[1], (book != 0).any(axis=1)[code.indices].reshape(outer, -1), None
    left = (code.decode(compressed.codebooks) != 0).reshape(outer, -1)
    if isinstance(code, SparseCode) and isinstance(code.inner, VectorCode):
        return 0, 1, left, None  # its vectors straddle the gaps: weights as they are
    inner: Any = code.inner if isinstance(code, SparseCode) else code
    if isinstance(inner, GridCode):
        return 0, 1, left, inner.depths.astype(int) if inner is code else None
    return max(1, len(np.unique(inner.indices))), 1, left, None


def layers(compressed: Compressed, positions: Mapping[str, tuple[int, int]]) -> list[Layer]:
    """Return the layers of a compressed network.

    Args:
        compressed: What a file holds.
        positions: Output positions and groups of each layer by the name of its weight; `networks.output_positions`
            finds them. Only these layers are taken.

    Raises:
        ValueError: The positions of a coded matrix are not given.
    """
    matrices = [name for name, code in compressed.codes.items() if len(code.shape) > 1]  # biases may have codes, too
    if missing := [name for name in matrices if name not in positions]:
        raise ValueError(f"{', '.join(missing)}: output positions unknown; give them for these layers too")
    found = []
    for name, (vectors, groups) in positions.items():
        if name in compressed.codes:
            shape = compressed.codes[name].shape
            codewords, dimension, left, depths = _parts(compressed.codes[name], compressed)
        else:
            values = compressed.dense[name]
            shape, codewords, dimension, depths = values.shape, 0, 1, None
            left = (values != 0).reshape(shape[0], -1)
        size = shape[0] // groups, math.prod(shape[1:])
        found.append(Layer(name, *size, groups, vectors, codewords, dimension, left, depths))
    return found
