"""Self-compression as a scheme of the training engine: the size is a term of the loss, and channels leave."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from bitbook import training
from bitbook.codes import Coded
from bitbook.compression import weight_tensors
from bitbook.methods.self_compression._quantiser import LearnedDepth
from bitbook.methods.self_compression._removal import empty_channels, leaving, shrink_biases
from bitbook.methods.self_compression._size import CHARGES, size
from bitbook.networks import bake, channel_graph

_GRAPHS: WeakKeyDictionary[nn.Module, channel_graph.ChannelGraph] = WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True)
class SelfCompression(training.Scheme):
    """Minimises L0 + gamma Q over weights, bit depths and exponents (equation 3), for an Adam recipe.

    gamma: the weight of the size, in the loss's units per bit and weight. charge: "depth", "depth and inputs" or
    "entropy", see `size`. depth: bits of every weight at the start. learning_rate, epsilon: of depths and exponents, in
    Adam; a high epsilon makes their steps follow the gradients' size, so that channels are not forgotten at once.
    weight_epsilon: of all else. push: how far biases behind empty channels move towards zero in a step; at least the
    recipe's learning rate, or Adam undoes it. every: epochs between two removals; 0 for none. union: see `leaving`.
    whole_from: share of the training after which exponents are whole numbers, which the file needs. fixed_exponents:
    whether they then stay as they are, while the weights learn to live with them; otherwise a step of a layer may still
    double or halve. whole_depths: whether bit depths are whole all along.

    learning_rate, epsilon and weight_epsilon are the paper's; every, push, depth, whole_from and fixed_exponents are
    our choice.
    """

    gamma: float
    charge: str = "depth"
    depth: float = 8.0
    learning_rate: float = 0.5
    epsilon: float = 1e-3
    weight_epsilon: float = 1e-5
    push: float = 2e-3
    every: int = 1
    union: bool = True
    whole_from: float = 0.5
    fixed_exponents: bool = True
    whole_depths: bool = False

    def __post_init__(self) -> None:
        rates = dict.fromkeys(("learning_rate", "epsilon", "weight_epsilon", "push"), (0, 1e3))
        training.require_ranges(self, gamma=(0, 1e9), depth=(1, 16), every=(0, 1e6), whole_from=(0, 0.999), **rates)

    def check(self, recipe: training.Recipe) -> None:
        """Raise ValueError for another optimiser than Adam, another charge, and for a push that is too small."""
        if recipe.optimiser != "adam":
            raise ValueError("recipe: self-compression needs optimiser adam, whose epsilon it sets")
        if self.charge not in CHARGES:
            raise ValueError(f"charge: {self.charge!r} is none of {', '.join(CHARGES)}")
        if self.every and self.push < recipe.learning_rate:
            raise ValueError(f"push: {self.push} is below the learning rate {recipe.learning_rate}, which undoes it")

    def prepare(self, network: nn.Module) -> None:
        learned, whole = self.charge != "entropy", self.whole_depths
        for name in weight_tensors(network):
            weight = training.original(network, name)
            layer = LearnedDepth(weight, depth=self.depth, whole_depths=whole, learned=learned)
            training.attach(network, name, layer.to(weight.device))
        if self.every or self.charge == "depth and inputs":
            _graph(network)  # a network that cannot be traced is refused now, not after the first epoch

    def parameters(self, network: nn.Module) -> list[dict[str, Any]]:
        layers = training.attached(network, LearnedDepth)
        weights = [training.original(network, name) for name in layers]
        learned = [value for layer in layers.values() for value in layer.parameters() if value.requires_grad]
        known = {id(value) for value in weights + [v for layer in layers.values() for v in layer.parameters()]}
        others = [value for value in network.parameters() if id(value) not in known]
        return [
            {"params": weights, "eps": self.weight_epsilon},
            {"params": others, "eps": self.weight_epsilon, "weight_decay": 0.0},
            {"params": learned, "eps": self.epsilon, "lr": self.learning_rate, "weight_decay": 0.0},
        ]

    def objective(self, network: nn.Module, base: training.Objective) -> training.Objective:
        graph = _graph(network) if self.charge == "depth and inputs" else None

        def charged(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            return base(model, images, labels) + self.gamma * size(network, self.charge, graph)

        return charged

    @torch.no_grad()
    def after_step(self, network: nn.Module, step: int, steps: int) -> None:
        """Keep depths at or above zero and every layer alive, and bring biases behind empty channels to zero."""
        for name, layer in training.attached(network, LearnedDepth).items():
            layer.whole.fill_(step >= self.whole_from * steps)
            if self.fixed_exponents and layer.whole:
                layer.exponents.round_()  # where they stood: what momentum is left moves them by less than a half
            if layer.depths.requires_grad:
                layer.depths.clamp_min_(0)
                strongest = layer.depths.argmax()
                layer.depths[strongest] = layer.depths[strongest].clamp_min(1)
            largest, strongest = training.original(network, name).flatten(1).abs().amax(1).max(0)
            limit = torch.log2(largest.clamp_min(2.0**-40)).floor()  # at 2^e or more a weight is not rounded to zero
            layer.exponents[strongest] = torch.minimum(layer.exponents[strongest], limit)
        if self.every:
            shrink_biases(network, _graph(network), empty_channels(network), self.push)

    def after_epoch(self, network: nn.Module, epoch: int, epochs: int) -> Mapping[str, Sequence[int] | np.ndarray]:
        if not self.every or (epoch % self.every and epoch < epochs):
            return {}
        return leaving(network, _graph(network), union=self.union)

    def finish(self, network: nn.Module) -> Coded:
        layers = training.attached(network, LearnedDepth)
        codes = {name: layer.code(training.entering(network, name, layer)) for name, layer in layers.items()}
        bake(network)
        return Coded(codes, {})


def _graph(network: nn.Module) -> channel_graph.ChannelGraph:
    """The channel graph of a network, traced once."""
    if network not in _GRAPHS:
        _GRAPHS[network] = channel_graph.trace(network)
    return _GRAPHS[network]
