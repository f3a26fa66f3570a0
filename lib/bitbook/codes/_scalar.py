"""ScalarCode: every weight is an index into a list of values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ._arrays import FLOATS, LARGEST, frozen_indices, frozen_numbers
from ._code import Codebooks, check_codebook
from ._entropy import Alphabet
from ._model import exact
from ._sections import Reader, Writer


@dataclass(frozen=True, eq=False)
class ScalarCode:
    """One index per weight into a codebook of k values, times an optional scale.

    indices: whole numbers >= 0 in the shape of the tensor. codebook: name of a (k,) codebook of the same Compressed.
    scales: float16 or float32, shape () for the whole layer or (out,) for one scale per output channel.
    """

    indices: np.ndarray
    codebook: str
    scales: np.ndarray | None = None
    kind: ClassVar[str] = "scalar"

    def __post_init__(self) -> None:
        object.__setattr__(self, "indices", frozen_indices(self.indices, "indices"))
        if self.scales is not None:
            object.__setattr__(self, "scales", frozen_numbers(self.scales, "scales"))
            if self.scales.shape not in ((), self.shape[:1]):
                raise ValueError(f"scales: shape {self.scales.shape} is neither () nor {self.shape[:1]}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return self.indices.shape

    def check(self, codebooks: Codebooks) -> None:
        """Raise ValueError unless the codebook is a list of values with one for every index."""
        check_codebook(self.indices, self.codebook, codebooks, axes=1)
        if self.scales is not None:
            largest = [float(np.abs(numbers).max(initial=0)) for numbers in (codebooks[self.codebook], self.scales)]
            if largest[0] * largest[1] > LARGEST:
                raise ValueError(f"codebook {self.codebook!r} times scales goes beyond float32: scale down")

    def decode(self, codebooks: Codebooks) -> np.ndarray:
        """Return the weights as float32 in the shape of the tensor."""
        book = codebooks[self.codebook].astype(np.float32)
        # "clip" is twice as fast as "raise"; indices are checked elsewhere
        weights = np.asarray(book.take(self.indices, mode="clip"))
        if self.scales is not None:
            weights *= self.scales.astype(np.float32).reshape((*self.scales.shape, *[1] * (len(self.shape) - 1)))
        return weights

    def counts(self, codebooks: Codebooks) -> dict[str, np.ndarray]:
        """Return how often each entry of the codebook is used, (k,)."""
        return {self.codebook: np.bincount(self.indices.ravel(), minlength=len(codebooks[self.codebook]))}

    def renumbered(self, numbers: Mapping[str, np.ndarray]) -> ScalarCode:
        """Return the code with index i replaced by numbers[codebook][i]."""
        return replace(self, indices=numbers[self.codebook][self.indices])

    def describe(self) -> str:
        """Return the name of the codebook, then type of the scales, with a star if there is one per channel."""
        if self.scales is None:
            return self.codebook
        return f"{self.codebook} f{self.scales.itemsize}{'*' if self.scales.ndim else ''}"

    def write(self, writer: Writer, codebooks: Codebooks, mask: np.ndarray | None = None) -> None:
        """Write the indices and scales."""
        indices = self.indices
        if mask is not None:
            indices = np.zeros(mask.shape, self.indices.dtype)
            indices[mask] = self.indices.ravel()
        writer.symbols("codes", indices, self._alphabet(self.codebook, codebooks), mask)
        if self.scales is not None:
            writer.numbers("scales", self.scales)

    @classmethod
    def read(
        cls,
        words: list[str],
        shape: tuple[int, ...],
        reader: Reader,
        codebooks: Codebooks,
        mask: np.ndarray | None = None,
    ) -> ScalarCode:
        """Return what was written."""
        book, *scales = words
        where = shape if mask is None else mask.shape
        indices = reader.symbols("codes", where, cls._alphabet(book, codebooks), mask).reshape(shape)
        if not scales:
            return cls(indices, book)
        dtype, star, _ = scales[0].partition("*")
        return cls(indices, book, reader.numbers("scales", FLOATS[dtype], reader.claim(shape[:1] if star else ())))

    @staticmethod
    def _alphabet(name: str, codebooks: Codebooks) -> Alphabet:
        return Alphabet(len(codebooks[name]), ("codebook", name), exact(codebooks[name]))
