"""What every code can do."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from ._sections import Codebooks, Reader, Writer

Shape = tuple[int, ...]


class Code(ABC):
    """A compressed tensor: pure data, decoded with the codebooks of the Compressed that it belongs to.

    kind: the name of its family in a file. shape: that of the tensor.
    """

    kind: ClassVar[str]
    shape: Shape

    def check(self, codebooks: Codebooks) -> None:  # noqa: B027 - a code may need no codebook
        """Raise ValueError unless the codebooks have what the code refers to."""

    @abstractmethod
    def decode(self, codebooks: Codebooks) -> np.ndarray:
        """Return the weights as float32 in the shape of the tensor."""

    @abstractmethod
    def counts(self, codebooks: Codebooks) -> dict[str, np.ndarray]:
        """Return how often each symbol is used, (k,), by the name of its codebook, or of a table with a space in it."""

    def renumbered(self, numbers: Mapping[str, np.ndarray]) -> Self:
        """Return the code with index i of a codebook replaced by numbers[codebook][i]."""
        return self

    def describe(self) -> str:
        """Return what the header says of it next to kind and shape, in words without spaces."""
        return ""

    @abstractmethod
    def write(self, writer: Writer, mask: np.ndarray | None = None) -> None:
        """Write everything else; mask: where in a sparse tensor the weights stand."""

    @classmethod
    @abstractmethod
    def read(cls, words: list[str], shape: Shape, reader: Reader, mask: np.ndarray | None = None) -> Self:
        """Return what was written; words are those of `describe`."""


def needs_axis(shape: Shape, what: str) -> None:
    """Raise ValueError for a tensor without axes."""
    if not shape:
        raise ValueError(f"{what}: a code needs an axis; store a single number dense")
