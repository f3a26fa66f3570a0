"""DPR: training with a penalty on each weight's distance from its layer's optimal clustering."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from bitbook import training
from bitbook.methods.dpnet._quantised import cluster_means

# Of strength times learning rate. Nesterov's steps with momentum 0.9 grow on a parabola where the product of its
# curvature, lambda, and the rate is over 2 (1 + 0.9) / (1 + 2 * 0.9) = 1.36; while lambda rises as `ramping` has it and
# the rate falls along a cosine, their product comes to 0.29 of that of their largest values.
LARGEST_PRODUCT = 1.36 / 0.29


class Drawn(training.Quantiser):
    """A parametrisation that leaves the weights as they are and knows the clusters that they are drawn to.

    Borders stay between refreshes, values are at any time the means of the weights between them. Were the values held
    as well, a strong penalty would hold all weights with them, and keep the loss from moving a cluster as a whole.
    """

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self.register_buffer("strength", torch.zeros((), dtype=self.values.dtype))  # lambda; a checkpoint keeps it

    def forward(self, weights: Tensor) -> Tensor:
        return weights

    @torch.no_grad()
    def quantised(self, weights: Tensor) -> Tensor:
        """The mean of each weight's cluster, shape of the weights, without a gradient."""
        indices = self.indices(weights)
        return cluster_means(weights, indices, len(self.values)).to(weights.dtype).take(indices)


def regularised(base: training.Objective, network: nn.Module, drawn: Mapping[str, Drawn]) -> training.Objective:
    """An objective for `fit`: base + lambda / 2 sum_l ||W_l - C_l(W_l)||^2, its assignments fixed between refreshes.

    Its gradient is that of the base plus lambda (w - c(w)) for each weight w, c(w) the mean of its cluster: the sum of
    squares is least there, so c needs no gradient. drawn: the Drawn parametrisations of the network, by parameter name.
    Source: arXiv 2003.09615 says only that a term of the loss rewards networks that cluster well, and that it is exact;
    the form is our choice.
    """
    layers = [(training.original(network, name), module) for name, module in drawn.items()]

    def objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        distance = sum(module.strength * (w - module.quantised(w)).square().sum() for w, module in layers)
        return base(model, images, labels) + distance / 2

    return objective


def ramping(drawn: Mapping[str, Drawn], *, strength: float, until: float = 2 / 3) -> Callable[[int, int], None]:
    """An `after_step` for `fit`: lambda rises with the square of the steps to `strength` after a share `until` of them.

    It begins at zero, so that weights first settle where the loss wants them.
    """

    def after_step(step: int, steps: int) -> None:
        for module in drawn.values():
            module.strength.fill_(strength * min(step / (until * steps), 1.0) ** 2)

    return after_step
