"""Candidates of the search over real bytes: whole numbers, the codes that they stand for, and what they cost.

Of the whole network: the step of the grid, what a bit may cost when weights are rounded, and how precisely batch norms
and biases are stored. Of each layer: how far its step lies off the network's, so that what suits a layer can be passed
on to candidates of other sizes. What each gene brings is measured in ARCHITECTURE.md.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self, cast

import numpy as np
from torch import Tensor, nn

from bitbook import training
from bitbook.codes import Coded, Compressed, ScalarCode
from bitbook.compression import assemble, factored
from bitbook.compression._baseline import on_grid
from bitbook.compression._compensate import Factors, compensate
from bitbook.compression._sequential import round_in_turn, watchable
from bitbook.search._fast_divergence import FastDivergence

NETWORK = 3  # genes of the whole network; then one of each layer
RATE_WEIGHTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)  # of a bit where weights are rounded, see `compensate`
MANTISSAS = (10, 8, 7, 6, 5, 4)  # bits that stored float16 numbers keep
OFF = 6  # places that a layer's step may lie off the network's, either way
OCTAVE = 8  # steps tried to a factor of two

Key = tuple[int, int, int]


@dataclass(frozen=True)
class Genes:
    """The genes of a network and their meaning.

    tensors: weights by name. factors: of the layers' inputs, see `factored`; a layer without is
    rounded to the nearest values. steps: (s,) float16, ascending, absolute.
    """

    tensors: Mapping[str, np.ndarray]
    factors: Mapping[str, Factors]
    steps: np.ndarray

    @classmethod
    def of(
        cls,
        tensors: Mapping[str, np.ndarray],
        factors: Mapping[str, Factors],
        *,
        finest: float = 0.25,
        coarsest: float = 2.0,
    ) -> Self:
        """Return the genes for steps from the finest to the coarsest, in standard deviations of all weights."""
        if not 0 < finest < coarsest < np.inf:
            raise ValueError(f"steps are 0 < finest < coarsest, not finest = {finest} and coarsest = {coarsest}")
        theta = np.concatenate([tensor.ravel() for tensor in tensors.values()])  # (N,)
        deviation = float(theta.std(dtype=np.float64))
        if not deviation:
            raise ValueError("all weights are equal: there is nothing to search")
        number = int(np.ceil(OCTAVE * np.log2(coarsest / finest))) + 1
        return cls(tensors, factors, (deviation * np.geomspace(finest, coarsest, number)).astype(np.float16))

    @property
    def layers(self) -> list[str]:
        """The layers, in the order of their genes."""
        return list(self.tensors)

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and the greatest value of each gene."""
        high = [len(self.steps), len(RATE_WEIGHTS), len(MANTISSAS)] + [2 * OFF + 1] * len(self.tensors)
        return np.zeros(len(high), np.int64), np.array(high) - 1

    def uniform(self, step: int, *, rate_weight: int = 2, mantissa: int = 0) -> np.ndarray:
        """Return the genes that give all layers the same step: a plain sweep's candidate."""
        return np.array([step, rate_weight, mantissa] + [OFF] * len(self.tensors), np.int64)

    def keys(self, genes: Iterable[int]) -> list[Key]:
        """Return all that each layer's levels depend on, as numbers: layer, rate_weight, step."""
        step, rate_weight, _, *own = (int(gene) for gene in genes)
        return [(i, rate_weight, min(max(step + off - OFF, 0), len(self.steps) - 1)) for i, off in enumerate(own)]

    def mantissa(self, genes: Iterable[int]) -> int:
        """Return the bits that stored numbers keep."""
        return MANTISSAS[int(list(genes)[2])]

    def levels(self, key: Key, *, tensor: np.ndarray | None = None, factors: Factors | None = None) -> np.ndarray:
        """Return a layer's weights in whole steps, int16 in the shape of its tensor.

        tensor, factors: instead of the layer's own.
        """
        layer, rate_weight, step = key
        name, scale = self.layers[layer], self.steps[step]
        tensor = self.tensors[name] if tensor is None else tensor
        factors = self.factors.get(name) if factors is None else factors
        levels = np.rint(tensor.astype(np.float64) / float(scale)).astype(np.int16)
        if factors is None:
            return levels
        largest = int(np.abs(levels).max())
        book = {"levels": np.arange(-largest, largest + 1)}
        coded = Coded({name: ScalarCode(levels + largest, "levels", scale)}, book)
        found = compensate({name: tensor}, coded, {name: factors}, rate_weight=RATE_WEIGHTS[rate_weight])
        return cast(ScalarCode, found.codes[name]).indices.astype(np.int16) - np.int16(largest)

    def coded(self, keys: Sequence[Key], levels: Sequence[np.ndarray]) -> Coded:
        """Return the codes of layers with these keys and levels, with one codebook."""
        scales = {self.layers[key[0]]: self.steps[key[2]] for key in keys}
        found = on_grid(dict(zip(scales, levels, strict=True)), 1.0)
        codes = {name: replace(cast(ScalarCode, code), scales=scales[name]) for name, code in found.codes.items()}
        return replace(found, codes=codes)


@dataclass(frozen=True)
class Point:
    """A candidate: its genes, the bytes of its real file, its temperature-scaled divergence, and its latency."""

    genes: tuple[int, ...]
    file_bytes: int
    divergence: float
    latency: float | None = None

    @property
    def costs(self) -> tuple[float, ...]:
        """What the search minimises."""
        costs = self.file_bytes, self.divergence
        return costs if self.latency is None else (*costs, self.latency)


class GeneCost:
    """What candidates cost; picklable, for workers, each of which keeps the layers that it has rounded."""

    def __init__(
        self, genes: Genes, divergence: FastDivergence, latency: Callable[[Compressed], float] | None = None
    ) -> None:
        self.genes, self.divergence, self.latency = genes, divergence, latency
        self._known: dict[Key, np.ndarray] = {}

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_known": {}}

    def coded(self, genes: Sequence[int]) -> Coded:
        """Return the codes of a candidate."""
        keys = self.genes.keys(genes)
        for key in keys:
            if key not in self._known:
                self._known[key] = self.genes.levels(key)
        return self.genes.coded(keys, [self._known[key] for key in keys])

    def candidate(self, genes: tuple[int, ...]) -> Point:
        """Evaluate a candidate."""
        coded, mantissa = self.coded(genes), self.genes.mantissa(genes)
        divergence = self.divergence(coded.decode(), mantissa=mantissa)
        file = assemble(self.divergence.module, coded, mantissa=mantissa)
        return Point(genes, len(file.to_bytes()), divergence, self.latency(file) if self.latency else None)


def round_again(genes: Genes, candidate: Sequence[int], network: nn.Module, images: Tensor) -> Coded:
    """Return a candidate's codes with levels chosen for what comes in once earlier layers are rounded.

    network: the float one. images: (N, C, H, W), all in memory at once; see `round_in_turn`. Biases stay as they are.
    """
    keys, levels = dict(zip(genes.layers, genes.keys(candidate), strict=True)), {}
    images, biases = training.inputs(network, images), dict(network.named_parameters())

    def round_layer(name: str, weights: np.ndarray, moments: np.ndarray) -> np.ndarray:
        levels[name] = genes.levels(keys[name], tensor=weights, factors=factored(moments, damping=0.0))
        return levels[name] * float(genes.steps[keys[name][-1]])

    layers = {
        name: free and name.removesuffix("weight") + "bias" not in biases
        for name, free in watchable(network, images).items()
        if name in keys
    }
    round_in_turn(network, images, layers, round_layer)
    found = [levels[name] if name in levels else genes.levels(key) for name, key in keys.items()]
    return genes.coded(list(keys.values()), found)
