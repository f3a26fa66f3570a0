"""What a candidate of the search over real bytes is made of: whole numbers, and the codes that they stand for.

Of the whole network: the step of the bins, how far neighbouring bins are merged, what a bit may cost when weights are
rounded, and how precisely batch norms and biases are stored. Of each layer: how far its step lies off the network's, so
that what suits a layer can be passed on to candidates of other sizes, the offset of its bins from zero, and where they
are clipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bitbook.clustering import InputFactor, entropy_constrained, uniform_bins
from bitbook.codes import Coded, ScalarCode
from bitbook.compression._compensate import compensate

NETWORK, LAYER = 4, 3  # genes of the whole network, and of each layer
MERGES = (0.0, 0.25, 0.5, 1.0)  # steps whose price of a bit merges bins, in standard deviations; 0 merges none
PRICES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)  # of a bit where weights are rounded, see `compensate`
MANTISSAS = (10, 8, 7, 6, 5, 4)  # bits that stored float16 numbers keep
OFFSETS = (-0.25, 0.0, 0.25)  # of a layer's bins, in steps
CLIPS = (0.6, 0.8, 1.0)  # largest magnitude kept, as a share of the layer's largest
OFF = 6  # notches that a layer's step may lie off the network's, either way
OCTAVE = 8  # steps tried to a factor of two
FINE_BINS = 1024  # uniform bins that are merged

Key = tuple[int, int, int, int, int, int]


@dataclass(frozen=True)
class Genes:
    """The genes of a network and their meaning.

    tensors: weights by name. factors: of the layers' inputs, one `input_factor` for each group; a layer without is
    rounded to the nearest values. steps: (s,) float16, ascending, absolute. shapes: of each merge, ascending values in
    units of the step around zero.
    """

    tensors: Mapping[str, np.ndarray]
    factors: Mapping[str, Sequence[InputFactor]]
    steps: np.ndarray
    shapes: tuple[np.ndarray, ...]

    @classmethod
    def of(
        cls,
        tensors: Mapping[str, np.ndarray],
        factors: Mapping[str, Sequence[InputFactor]],
        *,
        finest: float = 0.25,
        coarsest: float = 2.0,
    ) -> Genes:
        """Return the genes for steps from the finest to the coarsest, in standard deviations of all weights."""
        if not 0 < finest < coarsest < np.inf:
            raise ValueError(f"steps are 0 < finest < coarsest, not finest = {finest} and coarsest = {coarsest}")
        theta = np.concatenate([tensor.ravel() for tensor in tensors.values()])  # (N,)
        deviation = float(theta.std(dtype=np.float64))
        if not deviation:
            raise ValueError("all weights are equal: there is nothing to search")
        number = int(np.ceil(OCTAVE * np.log2(coarsest / finest))) + 1
        steps = (deviation * np.geomspace(finest, coarsest, number)).astype(np.float16)
        most = np.abs(theta).max() / float(steps[0])  # the largest magnitude in finest steps
        return cls(tensors, factors, steps, tuple(merged_shape(theta, merge * deviation, most) for merge in MERGES))

    @property
    def layers(self) -> list[str]:
        """The layers, in the order of their genes."""
        return list(self.tensors)

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and the greatest value of each gene."""
        high = [len(self.steps), len(MERGES), len(PRICES), len(MANTISSAS)]
        high += [2 * OFF + 1, len(OFFSETS), len(CLIPS)] * len(self.tensors)
        return np.zeros(len(high), np.int64), np.array(high) - 1

    def uniform(self, step: int, *, merge: int = 0, price: int = 2, mantissa: int = 0) -> np.ndarray:
        """Return the genes that give all layers the same step, no offset and no clipping: a plain sweep's candidate."""
        layer = [OFF, OFFSETS.index(0.0), CLIPS.index(1.0)]
        return np.array([step, merge, price, mantissa] + layer * len(self.tensors), np.int64)

    def keys(self, genes: Iterable[int]) -> list[Key]:
        """Return all that each layer's indices depend on, as numbers: layer, merge, price, step, offset, clipping."""
        step, merge, price, _, *rest = (int(gene) for gene in genes)
        last = len(self.steps) - 1
        own = zip(*[iter(rest)] * LAYER, strict=True)
        return [
            (layer, merge, price, min(max(step + off - OFF, 0), last), offset, clip)
            for layer, (off, offset, clip) in enumerate(own)
        ]

    def mantissa(self, genes: Iterable[int]) -> int:
        """Return the bits that stored numbers keep."""
        return MANTISSAS[int(list(genes)[3])]

    def book(self, merge: int, offset: int) -> np.ndarray:
        """Return the values that layers of this merge and offset may take, in steps: float16, ascending."""
        return np.unique((self.shapes[merge] + OFFSETS[offset]).astype(np.float16))

    def indices(
        self,
        key: Key,
        *,
        tensor: np.ndarray | None = None,
        factors: Sequence[InputFactor] | None = None,
    ) -> np.ndarray:
        """Return a layer's indices into the whole of its book, in the shape of its tensor.

        tensor, factors: instead of the layer's own.
        """
        layer, merge, price, step, offset, clip = key
        name = self.layers[layer]
        tensor = self.tensors[name] if tensor is None else tensor
        factors = self.factors.get(name) if factors is None else factors
        book, scale = self.book(merge, offset), self.steps[step]
        most = CLIPS[clip] * np.abs(tensor).max() / float(scale)
        inside = np.flatnonzero(np.abs(book) <= max(most, np.abs(book).min()) + 0.5)  # and the value next to the end
        values = book[inside].astype(np.float64)
        borders = (values[1:] + values[:-1]) / 2
        nearest = np.searchsorted(borders, tensor.astype(np.float64) / float(scale)).astype(np.uint16)
        code = ScalarCode(nearest, "book", scale)
        if factors is not None:
            coded = Coded({name: code}, {"book": book[inside]})
            code = compensate({name: tensor}, coded, {name: factors}, price=PRICES[price]).codes[name]
        found = code.indices.astype(np.int64) + inside[0]
        return found.astype(np.min_scalar_type(len(book) - 1))

    def codes(self, keys: Sequence[Key], indices: Sequence[np.ndarray]) -> Coded:
        """Return the codes of layers with these keys and indices: one codebook for all of the same offset.

        Of each book only the part in use is kept.
        """
        codes, books = {}, {}
        for offset in sorted({key[4] for key in keys}):
            members = [(key, found) for key, found in zip(keys, indices, strict=True) if key[4] == offset]
            low = min(int(found.min()) for _, found in members)
            high = max(int(found.max()) for _, found in members)
            name = "bins" + ("-", "", "+")[offset]
            books[name] = self.book(members[0][0][1], offset)[low : high + 1]
            for key, found in members:
                own = (found - found.dtype.type(low)).astype(np.min_scalar_type(high - low))
                codes[self.layers[key[0]]] = ScalarCode(own, name, self.steps[key[3]])
        return Coded(codes, books)


def merged_shape(theta: np.ndarray, step: float, most: float) -> np.ndarray:
    """Return the values of merged bins in units of their distance around zero, ascending, one of them exactly zero.

    theta: (N,) weights, in uniform bins of full width. step: that of a uniform quantiser which trades squared error for
    bits at the price at which neighbouring bins are merged, exactly (`clustering.entropy_constrained`); 0 gives evenly
    spaced values. most: the largest magnitude wanted; beyond the merged values follow evenly spaced ones.
    """
    shape = np.array([-1.0, 0.0, 1.0])
    if step:
        bins = uniform_bins(theta, FINE_BINS, full_width=True)
        merged = entropy_constrained(bins.values, step**2 * np.log(2) / 6, counts=bins.counts, zero=True).values
        zero = int(np.argmin(np.abs(merged)))
        if 0 < zero < len(merged) - 1:
            shape = merged / ((merged[zero + 1] - merged[zero - 1]) / 2)
    below = shape[0] - np.arange(int(max(np.ceil(most + shape[0]), 0)), 0, -1)
    above = shape[-1] + np.arange(1, int(max(np.ceil(most - shape[-1]), 0)) + 1)
    return np.concatenate([below, shape, above])
