"""Codes whose indices point into a named codebook: of values (ScalarCode) or of codewords (VectorCode)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from ._arrays import FLOATS, LARGEST, frozen_indices, frozen_numbers
from ._code import Code, Shape, needs_axis
from ._sections import Codebooks, Reader, Writer


@dataclass(frozen=True, eq=False)
class IndexedCode(Code):
    """What codes with a codebook share; form: the shape of the codebook."""

    indices: np.ndarray
    codebook: str
    form: ClassVar[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "indices", frozen_indices(self.indices, "indices"))

    def check(self, codebooks: Codebooks) -> None:
        name, largest = self.codebook, int(self.indices.max(initial=0))
        if name not in codebooks:
            raise ValueError(f"there is no codebook {name!r}, only {', '.join(sorted(codebooks)) or 'none'}")
        book = codebooks[name]
        if book.ndim != len(self.form.split()):
            raise ValueError(f"codebook {name!r} has shape {book.shape}, not {self.form}")
        if largest >= len(book):
            raise ValueError(f"index {largest} is outside codebook {name!r} of {len(book)} entries")

    def decode(self, codebooks: Codebooks) -> np.ndarray:
        book, indices = codebooks[self.codebook], self.indices
        if len(book) <= indices.size:  # else of a large codebook only what is used is converted
            book = book.astype(np.float32)
        # "clip" is twice as fast as "raise"; indices are checked elsewhere
        return np.asarray(book.take(indices, axis=0, mode="clip"), np.float32).reshape(self.shape)

    def counts(self, codebooks: Codebooks) -> dict[str, np.ndarray]:
        return {self.codebook: np.bincount(self.indices.ravel(), minlength=len(codebooks[self.codebook]))}

    def renumbered(self, numbers: Mapping[str, np.ndarray]) -> Self:
        return replace(self, indices=numbers[self.codebook][self.indices])

    def describe(self) -> str:
        return self.codebook


@dataclass(frozen=True, eq=False)
class ScalarCode(IndexedCode):
    """One index per weight into a codebook of k values, times an optional scale.

    indices: whole numbers >= 0 in the shape of the tensor. codebook: name of a (k,) codebook of the same Compressed.
    scales: float16 or float32, shape () for the whole layer or (out,) for one scale per output channel.
    """

    scales: np.ndarray | None = None
    kind: ClassVar[str] = "scalar"
    form: ClassVar[str] = "(k,)"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scales is not None:
            object.__setattr__(self, "scales", frozen_numbers(self.scales, "scales"))
            if self.scales.shape not in ((), self.shape[:1]):
                raise ValueError(f"scales: shape {self.scales.shape} is neither () nor {self.shape[:1]}")

    @property
    def shape(self) -> Shape:  # type: ignore[override]  # of other codes it is a field
        """Shape of the tensor."""
        return self.indices.shape

    def check(self, codebooks: Codebooks) -> None:
        super().check(codebooks)
        if self.scales is not None:
            value, scale = (float(np.abs(n).max(initial=0)) for n in (codebooks[self.codebook], self.scales))
            if value * scale > LARGEST:
                raise ValueError(f"codebook {self.codebook!r} times scales goes beyond float32: scale down")

    def decode(self, codebooks: Codebooks) -> np.ndarray:
        weights = super().decode(codebooks)
        if self.scales is not None:
            weights *= self.scales.astype(np.float32).reshape((*self.scales.shape, *[1] * (len(self.shape) - 1)))
        return weights

    def describe(self) -> str:
        """Return the name of the codebook, then the type of the scales, with a star if there is one per channel."""
        if self.scales is None:
            return self.codebook
        return f"{self.codebook} f{self.scales.itemsize}{'*' if self.scales.ndim else ''}"

    def write(self, writer: Writer, mask: np.ndarray | None = None) -> None:
        indices = self.indices
        if mask is not None:
            indices = np.zeros(mask.shape, self.indices.dtype)
            indices[mask] = self.indices.ravel()
        writer.symbols("codes", indices, writer.alphabet(self.codebook), mask)
        if self.scales is not None:
            writer.numbers("scales", self.scales)

    @classmethod
    def read(cls, words: list[str], shape: Shape, reader: Reader, mask: np.ndarray | None = None) -> Self:
        book, *scales = words
        where = shape if mask is None else mask.shape
        indices = reader.symbols("codes", where, reader.alphabet(book), mask).reshape(shape)
        if not scales:
            return cls(indices, book)
        dtype, star, _ = scales[0].partition("*")
        return cls(indices, book, reader.numbers("scales", FLOATS[dtype], reader.claim(shape[:1] if star else ())))


@dataclass(frozen=True, eq=False)
class VectorCode(IndexedCode):
    """One index per subvector of d weights into a codebook of k codewords.

    The weights of an output channel, read row-major over (in, kh, kw), are cut into subvectors of d (Permute, Quantize,
    Fine-tune, section 2). indices: whole numbers >= 0, (out, in * kh * kw / d), or (n / d,) for a vector of n weights.
    codebook: name of a (k, d) codebook of the same Compressed. shape: that of the tensor.
    """

    shape: Shape
    kind: ClassVar[str] = "vector"
    form: ClassVar[str] = "(k, d)"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "shape", tuple(map(int, self.shape)))
        needs_axis(self.shape, "shape")

    def check(self, codebooks: Codebooks) -> None:
        super().check(codebooks)
        expected = _index_shape(self.shape, codebooks[self.codebook].shape[1])
        if self.indices.shape != expected:
            raise ValueError(f"indices have shape {self.indices.shape}, but {self.shape} needs {expected}")

    def write(self, writer: Writer, mask: np.ndarray | None = None) -> None:
        writer.symbols("codes", self.indices, writer.alphabet(self.codebook))

    @classmethod
    def read(cls, words: list[str], shape: Shape, reader: Reader, mask: np.ndarray | None = None) -> Self:
        (name,) = words
        alphabet, d = reader.alphabet(name), reader.codebooks[name].shape[1]
        return cls(reader.symbols("codes", _index_shape(shape, d), alphabet), name, shape)


def _index_shape(shape: Shape, d: int) -> Shape:
    """Return the shape of the indices of a tensor cut into subvectors of d; ValueError where d divides no row."""
    *rows, width = (*shape[:1], math.prod(shape[1:])) if len(shape) > 1 else shape
    if width % d:
        raise ValueError(f"a row of {width} weights cannot be cut into subvectors of {d}")
    return (*rows, width // d)
