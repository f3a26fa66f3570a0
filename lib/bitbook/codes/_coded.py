"""Coded: codes with the codebooks that they refer to."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self, cast

import numpy as np

from ._arrays import small_floats
from ._code import Code
from ._entropy import entropy_bits
from ._indexed import ScalarCode


@dataclass(frozen=True, eq=False)
class Coded:
    """Some of a network's tensors as codes, with their codebooks: what every method hands over for its file.

    codes: by parameter name, of any family. codebooks: float arrays by name, (k,) or (k, d), which several may share.
    """

    codes: Mapping[str, Code]
    codebooks: Mapping[str, np.ndarray]

    @classmethod
    def by_layer(cls, layers: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Self:
        """Return scalar codes with a codebook for each tensor, of the tensor's name, float16 where that holds it.

        Args:
            layers: by parameter name, indices in the shape of the tensor and their values (k,).

        Returns:
            The values in use, ascending, and the indices into these.
        """
        codes, codebooks = {}, {}
        for name, (indices, values) in layers.items():
            order = np.argsort(values, kind="stable")
            used = order[np.bincount(indices.ravel(), minlength=len(values))[order] > 0]
            number = np.zeros(len(values), np.min_scalar_type(len(used)))
            number[used] = np.arange(len(used))
            codes[name] = ScalarCode(number[indices], name)
            codebooks[name] = small_floats(values[used])
        return cls(codes, codebooks)

    def decode(self) -> dict[str, np.ndarray]:
        """Return the weights as float32 by parameter name."""
        return {name: code.decode(self.codebooks) for name, code in self.codes.items()}

    def counts(self) -> dict[str, np.ndarray]:
        """Return how often each symbol is used over all tensors, (k,), by codebook or by a table that a code names.

        A code that needs no codebook, or has positions as well, counts these in tables of its own (`Code.counts`).
        """
        tables: dict[str, np.ndarray] = {}
        for code in self.codes.values():
            for table, counts in code.counts(self.codebooks).items():
                tables[table] = tables.get(table, 0) + counts
        return tables

    def entropy(self) -> float:
        """Return the bits of all symbols by the zero-order entropy of their tables."""
        return sum(map(entropy_bits, self.counts().values()))

    def without_unused(self) -> Self:
        """Return the same weights without codebooks and codebook entries that nothing uses."""
        used = {name: counts > 0 for name, counts in self.counts().items() if name in self.codebooks}
        numbers = {name: np.cumsum(mask) - mask for name, mask in used.items()}
        codes = {name: code.renumbered(numbers) for name, code in self.codes.items()}
        return type(self)(codes, {name: self.codebooks[name][mask] for name, mask in used.items()})

    def with_indices(self, indices: Mapping[str, np.ndarray]) -> Self:
        """Return scalar codes with other indices, in the shape of each tensor, into the same codebooks."""
        codes = {name: replace(cast(ScalarCode, code), indices=indices[name]) for name, code in self.codes.items()}
        return replace(self, codes=codes)
