"""What a candidate of the search over genes costs: softened divergence, and the bytes of its file."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitbook.codes import Coded, entropy_bits
from bitbook.compression._assemble import assemble
from bitbook.files import read_checked, write_checked
from bitbook.search._fast_divergence import FastDivergence
from bitbook.search._genes import Genes, Key

CLEARLY = 0.98  # of a candidate's size: the entropy of its layers says this well what a file takes beside another's
MARGIN = 1.02  # a candidate that is this much worse on the first images than one of fewer bytes is given up


@dataclass(frozen=True)
class Point:
    """What the search knows of a candidate.

    genes: of `Genes`. size: bytes of its layers' indices by their entropy, layer by layer. first: softened divergence
    on the first images. divergence: softened, on all images; None where it was given up after the first ones.
    file_bytes: of its real file; None where another candidate clearly beats it.
    """

    genes: tuple[int, ...]
    size: float
    first: float
    file_bytes: int | None
    divergence: float | None


class GeneCost:
    """What candidates cost; picklable, for workers. folder: keeps each layer's indices, by all that they depend on."""

    def __init__(self, genes: Genes, divergence: FastDivergence, folder: Path) -> None:
        self.genes, self.divergence, self.folder = genes, divergence, folder.resolve()
        self._known: dict[Key, np.ndarray] = {}

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_known": {}}

    def layer(self, key: Key) -> float:
        """Find and keep the indices of a layer; return the bytes that they take by their entropy."""
        indices = self._indices(key)
        return entropy_bits(np.bincount(indices.ravel())) / 8

    def _indices(self, key: Key) -> np.ndarray:
        """Return the indices of a layer as they were kept, else find and keep them."""
        if key not in self._known:
            path = self.folder / f"{'-'.join(map(str, key))}.npy"
            if (kept := read_checked(path)) is not None:
                self._known[key] = np.load(io.BytesIO(kept))
            else:
                self._known[key], written = self.genes.indices(key), io.BytesIO()
                np.save(written, self._known[key])
                write_checked(path, written.getvalue())
        return self._known[key]

    def codes(self, genes: Iterable[int]) -> Coded:
        """Return the codes of a candidate."""
        keys = self.genes.keys(genes)
        return self.genes.codes(keys, [self._indices(key) for key in keys])

    def candidate(self, item: tuple[tuple[int, ...], float, list[tuple[float, float, float]]]) -> Point:
        """Evaluate (genes, size, rivals); rivals: size and divergences, on the first images and on all, of others.

        Only what no rival clearly beats is evaluated on all images, and only what no rival clearly beats there is coded
        into a file: coding takes a seventh of a pass over 1,000 images.
        """
        genes, size, rivals = item
        coded = self.codes(genes)
        mantissa = self.genes.mantissa(genes)
        least = min((first for bytes_, first, _ in rivals if bytes_ <= size), default=np.inf)
        hopeless = lambda first: first > MARGIN * least  # noqa: E731
        first, divergence = self.divergence(coded.decode(), mantissa=mantissa, hopeless=hopeless)
        beaten = any(bytes_ <= CLEARLY * size and other <= divergence for bytes_, _, other in rivals if divergence)
        if divergence is None or beaten:
            return Point(genes, size, first, None, divergence)
        return Point(genes, size, first, self.file_bytes(coded, mantissa), divergence)

    def file_bytes(self, coded: Coded, mantissa: int) -> int:
        """Return the bytes of the file with the batch norms of the candidate evaluated last."""
        file = assemble(self.divergence.module, coded, mantissa=mantissa)
        return len(file.to_bytes())
