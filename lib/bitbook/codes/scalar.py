"""ScalarCode: every weight is an index into a list of values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .arrays import FLOATS, float_name, frozen_floats, frozen_indices
from .sections import Reader, Writer


@dataclass(frozen=True, eq=False)
class ScalarCode:
    """One index per weight into a codebook of k values, times an optional scale.

    indices: whole numbers >= 0 in the shape of the tensor. codebook: name of a (k,) codebook of the same Compressed.
    scales: float16 or float32, shape () for the whole layer or (out,) for one scale per output channel.
    """

    indices: np.ndarray
    codebook: str
    scales: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "indices", frozen_indices(self.indices, "indices"))
        if self.scales is not None:
            object.__setattr__(self, "scales", frozen_floats(self.scales, "scales"))
            if self.scales.shape not in ((), self.shape[:1]):
                raise ValueError(f"scales: shape {self.scales.shape} is neither () nor {self.shape[:1]}")

    @property
    def shape(self) -> tuple[int, ...]:
        return self.indices.shape

    def check(self, codebooks: Mapping[str, np.ndarray]) -> None:
        """Raise ValueError unless the codebook is there, is a list of values and has a value for every index."""
        if self.codebook not in codebooks:
            raise ValueError(f"no codebook is named {self.codebook!r}; there are {sorted(codebooks)}")
        if codebooks[self.codebook].ndim != 1:
            raise ValueError(f"codebook {self.codebook!r} has shape {codebooks[self.codebook].shape}, not (k,)")
        if self.indices.size and int(self.indices.max()) >= len(codebooks[self.codebook]):
            raise ValueError(
                f"index {self.indices.max()} is outside {self.codebook!r}, which has "
                f"{len(codebooks[self.codebook])} values"
            )

    def decode(self, codebooks: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the weights as float32 in the shape of the tensor."""
        values = codebooks[self.codebook].astype(np.float32).take(self.indices, mode="clip")
        if self.scales is None:
            return values
        return values * self.scales.astype(np.float32).reshape(-1, *[1] * (len(self.shape) - 1))

    def describe(self) -> str:
        """Return the words that the header keeps: codebook, then type and count of the scales."""
        scales = "" if self.scales is None else f" {float_name(self.scales.dtype)}{'*' if self.scales.ndim else ''}"
        return self.codebook + scales

    def write(self, writer: Writer, codebooks: Mapping[str, np.ndarray]) -> None:
        """Hand indices and scales to the writer."""
        writer.symbols("codes", self.indices, len(codebooks[self.codebook]))
        if self.scales is not None:
            writer.floats("scales", self.scales)

    @classmethod
    def read(
        cls, words: list[str], shape: tuple[int, ...], reader: Reader, codebooks: Mapping[str, np.ndarray]
    ) -> ScalarCode:
        """Take back what `write` handed over."""
        indices = reader.symbols(shape, len(codebooks[words[0]]))
        scales = None
        if len(words) > 1:
            scales = reader.floats(FLOATS[words[1].rstrip("*")], shape[:1] if words[1].endswith("*") else ())
        return cls(indices, words[0], scales)
