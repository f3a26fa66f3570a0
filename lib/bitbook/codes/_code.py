"""What every code can do, and what codes with a codebook share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol

import numpy as np

from ._sections import Reader, Writer

Codebooks = Mapping[str, np.ndarray]


class Code(Protocol):
    """A compressed tensor: pure data, decoded with the codebooks of the Compressed that it belongs to."""

    kind: ClassVar[str]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""

    def check(self, codebooks: Codebooks) -> None:
        """Raise ValueError unless the codebooks have what the code refers to."""

    def decode(self, codebooks: Codebooks) -> np.ndarray:
        """Return the weights as float32 in the shape of the tensor."""

    def counts(self, codebooks: Codebooks) -> dict[str, np.ndarray]:
        """Return how often each symbol is used, (k,), by the name of its codebook, or of a table with a space in it."""

    def renumbered(self, numbers: Mapping[str, np.ndarray]) -> Code:
        """Return the code with index i of a codebook replaced by numbers[codebook][i]."""

    def describe(self) -> str:
        """Return what the header says of it beside kind and shape, in words without spaces."""

    def write(self, writer: Writer, codebooks: Codebooks, mask: np.ndarray | None = None) -> None:
        """Write everything else; mask: where in a sparse tensor the weights stand."""

    @classmethod
    def read(
        cls,
        words: list[str],
        shape: tuple[int, ...],
        reader: Reader,
        codebooks: Codebooks,
        mask: np.ndarray | None = None,
    ) -> Code:
        """Return what was written; words are those of `describe`."""


def check_codebook(indices: np.ndarray, name: str, codebooks: Codebooks, *, axes: int) -> None:
    """Raise ValueError unless the codebook is there, has that many axes and an entry for every index."""
    if name not in codebooks:
        raise ValueError(f"there is no codebook {name!r}, only {', '.join(sorted(codebooks)) or 'none'}")
    book = codebooks[name]
    if book.ndim != axes:
        raise ValueError(f"codebook {name!r} has shape {book.shape}, not {('(k,)', '(k, d)')[axes - 1]}")
    if indices.size and int(indices.max()) >= len(book):
        raise ValueError(f"index {indices.max()} is outside codebook {name!r} of {len(book)} entries")
