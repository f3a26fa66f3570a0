"""VectorCode: every run of d weights is an index into a list of codewords."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ._arrays import frozen_indices
from ._code import Codebooks, check_codebook
from ._entropy import Alphabet
from ._model import exact
from ._sections import Reader, Writer


@dataclass(frozen=True, eq=False)
class VectorCode:
    """One index per subvector of d weights into a codebook of k codewords.

    The weights of an output channel, read row-major over (in, kh, kw), are cut into subvectors of d (Permute, Quantize,
    Fine-tune, section 2). indices: whole numbers >= 0, (out, in * kh * kw / d), or (n / d,) for a vector of n weights.
    codebook: name of a (k, d) codebook of the same Compressed. shape: that of the tensor.
    """

    indices: np.ndarray
    codebook: str
    shape: tuple[int, ...]
    kind: ClassVar[str] = "vector"

    def __post_init__(self) -> None:
        object.__setattr__(self, "indices", frozen_indices(self.indices, "indices"))
        object.__setattr__(self, "shape", tuple(map(int, self.shape)))
        if not self.shape:
            raise ValueError("shape: a code needs an axis; store a single number dense")

    def check(self, codebooks: Codebooks) -> None:
        """Raise ValueError unless the codebook has a codeword for every index and they fill the tensor."""
        check_codebook(self.indices, self.codebook, codebooks, axes=2)
        expected = index_shape(self.shape, codebooks[self.codebook].shape[1])
        if self.indices.shape != expected:
            raise ValueError(f"indices have shape {self.indices.shape}, but {self.shape} needs {expected}")

    def decode(self, codebooks: Codebooks) -> np.ndarray:
        """Return the weights as float32 in the shape of the tensor."""
        return codebooks[self.codebook].astype(np.float32).take(self.indices, axis=0, mode="clip").reshape(self.shape)

    def counts(self, codebooks: Codebooks) -> dict[str, np.ndarray]:
        """Return how often each entry of the codebook is used, (k,)."""
        return {self.codebook: np.bincount(self.indices.ravel(), minlength=len(codebooks[self.codebook]))}

    def renumbered(self, numbers: Mapping[str, np.ndarray]) -> VectorCode:
        """Return the code with index i replaced by numbers[codebook][i]."""
        return replace(self, indices=numbers[self.codebook][self.indices])

    def describe(self) -> str:
        """Return the name of the codebook."""
        return self.codebook

    def write(self, writer: Writer, codebooks: Codebooks, mask: np.ndarray | None = None) -> None:
        """Write the indices."""
        writer.symbols("codes", self.indices, self._alphabet(self.codebook, codebooks))

    @classmethod
    def read(
        cls,
        words: list[str],
        shape: tuple[int, ...],
        reader: Reader,
        codebooks: Codebooks,
        mask: np.ndarray | None = None,
    ) -> VectorCode:
        """Return what was written."""
        (name,) = words
        alphabet = cls._alphabet(name, codebooks)
        return cls(reader.symbols("codes", index_shape(shape, codebooks[name].shape[1]), alphabet), name, shape)

    @staticmethod
    def _alphabet(name: str, codebooks: Codebooks) -> Alphabet:
        return Alphabet(len(codebooks[name]), ("codebook", name), np.abs(exact(codebooks[name])).sum(1))  # sizes


def index_shape(shape: tuple[int, ...], d: int) -> tuple[int, ...]:
    """Return the shape of the indices of a tensor cut into subvectors of d; ValueError where d divides no row."""
    *rows, width = (*shape[:1], math.prod(shape[1:])) if len(shape) > 1 else shape
    if width % d:
        raise ValueError(f"a row of {width} weights cannot be cut into subvectors of {d}")
    return (*rows, width // d)
