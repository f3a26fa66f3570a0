"""GridCode: whole numbers times a power of two, with a bit depth of its own for each output channel."""

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from ._arrays import frozen
from ._code import Code, Shape, needs_axis
from ._entropy import Alphabet
from ._sections import Codebooks, Reader, Writer

MAX_DEPTH = 16
LOWEST, HIGHEST = -64, 63  # exponents
LIMITS = np.array([(-(1 << d >> 1), max((1 << d >> 1) - 1, 0)) for d in range(MAX_DEPTH + 1)], np.int16).T  # by depth
DEPTHS = Alphabet(MAX_DEPTH + 1, "depths")
EXPONENTS = Alphabet(HIGHEST - LOWEST + 1, "exponents")


@dataclass(frozen=True, eq=False)
class GridCode(Code):
    """Weights 2**exponent * value, with value in -2**(depth-1)..2**(depth-1)-1 (Self-Compressing Networks, equation 1).

    values: whole numbers in the shape of the tensor, (out, ...). depths: (out,) bits of each output channel, 0..16; a
    channel of no bits is zero and takes no space. exponents: (out,) from -64 to 63; 0 where the depth is 0.
    """

    values: np.ndarray
    depths: np.ndarray
    exponents: np.ndarray
    kind: ClassVar[str] = "grid"

    def __post_init__(self) -> None:
        needs_axis(np.shape(self.values), "values")
        limits = {"depths": (0, MAX_DEPTH), "exponents": (LOWEST, HIGHEST), "values": (-(2**15), 2**15 - 1)}
        for name, (low, high) in limits.items():
            array = np.asarray(getattr(self, name))
            if array.dtype.kind not in "iu" or (array.size and not low <= array.min() <= array.max() <= high):
                raise ValueError(f"{name}: must be whole numbers in {low}..{high}")
            object.__setattr__(self, name, frozen(array, np.int16 if name == "values" else np.int8))
        if not self.values.shape[:1] == self.depths.shape == self.exponents.shape:
            raise ValueError("depths and exponents must have one entry for each output channel of the values")
        low, high = (limits.take(self.depths)[:, None] for limits in LIMITS)  # (out, 1)
        rows = self.values.reshape(len(low), math.prod(self.shape[1:]))
        if (rows < low).any() or (rows > high).any():
            raise ValueError("values: some channel holds a value that its depth has no room for")
        if self.exponents[self.depths == 0].any():
            raise ValueError("exponents: must be 0 where the depth is 0")

    @property
    def shape(self) -> Shape:  # type: ignore[override]  # of other codes it is a field
        """Shape of the tensor."""
        return self.values.shape

    def decode(self, codebooks: Codebooks) -> np.ndarray:
        exponents = self.exponents.reshape(-1, *[1] * (len(self.shape) - 1)).astype(np.int32)
        return np.ldexp(self.values.astype(np.float32), exponents)

    def counts(self, codebooks: Codebooks) -> dict[str, np.ndarray]:
        """Return how often each whole number of a depth is used, (2**depth,) ascending, by depth."""
        depths = np.unique(self.depths[self.depths > 0]).tolist()
        values = {depth: self.values[self.depths == depth].ravel().astype(np.int32) for depth in depths}
        return {f"depth {d}": np.bincount(v + (1 << d - 1), minlength=1 << d) for d, v in values.items()}

    def write(self, writer: Writer, mask: np.ndarray | None = None) -> None:
        """Write depths, exponents, and the values of all channels of equal depth together."""
        writer.symbols("scales", self.depths, DEPTHS)
        writer.symbols("scales", self.exponents[self.depths > 0] - LOWEST, EXPONENTS)
        for depth in np.unique(self.depths[self.depths > 0]).tolist():
            alphabet = _values(depth)
            writer.symbols("codes", self.values[self.depths == depth].astype(np.int32) + alphabet.size // 2, alphabet)

    @classmethod
    def read(cls, words: list[str], shape: Shape, reader: Reader, mask: np.ndarray | None = None) -> Self:
        depths = reader.symbols("scales", reader.claim(shape[:1]), DEPTHS)
        exponents = np.zeros(len(depths), np.int8)
        used = reader.claim((int((depths > 0).sum()),))
        exponents[depths > 0] = reader.symbols("scales", used, EXPONENTS).astype(np.int16) + LOWEST
        values = np.zeros(shape, np.int16)
        for depth in np.unique(depths[depths > 0]).tolist():
            alphabet, chosen = _values(depth), depths == depth
            symbols = reader.symbols("codes", (int(chosen.sum()), *shape[1:]), alphabet)
            values[chosen] = symbols.astype(np.int32) - alphabet.size // 2
        return cls(values, depths, exponents)


def _values(depth: int) -> Alphabet:
    size = 1 << depth
    return Alphabet(size, ("grid", depth), np.arange(size) - size // 2)
