"""What a candidate of the search over genes costs: scaled divergence, and the bytes of its file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from bitbook import training
from bitbook.codes import Coded, Compressed
from bitbook.compression import assemble, factored
from bitbook.compression._sequential import round_in_turn, watchable
from bitbook.search._fast_divergence import FastDivergence
from bitbook.search._genes import Genes, Key


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
