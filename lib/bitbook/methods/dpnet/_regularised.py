"""DPR: training with a penalty on each weight's distance from its layer's optimal clustering."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitbook import training
from bitbook.codes import Coded
from bitbook.methods.dpnet._quantised import attach_clusters, cluster_means

# Of strength times learning rate. Nesterov's steps with momentum 0.9 grow on a parabola where the product of its
# curvature, lambda, and the rate is over 2 (1 + 0.9) / (1 + 2 * 0.9) = 1.36; while lambda rises as DPR has it and
# the rate falls along a cosine, their product comes to 0.29 of that of their largest values.
LARGEST_PRODUCT = 1.36 / 0.29


class Drawn(training.Clustered):
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


def regularised(base: training.Objective, network: nn.Module) -> training.Objective:
    """An objective for `fit`: base + lambda / 2 sum_l ||W_l - C_l(W_l)||^2, its assignments fixed between refreshes.

    Its gradient is that of the base plus lambda (w - c(w)) for each weight w, c(w) the mean of its cluster: the sum of
    squares is least there, so c needs no gradient. The layers are those of the network with a `Drawn` parametrisation.
    Source: arXiv 2003.09615 says only that a term of the loss rewards networks that cluster well, and that it is exact;
    the form is our choice.
    """
    layers = [(training.original(network, name), module) for name, module in training.attached(network, Drawn).items()]

    def objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        distance = sum(module.strength * (w - module.quantised(w)).square().sum() for w, module in layers)
        return base(model, images, labels) + distance / 2

    return objective


@dataclass(frozen=True, kw_only=True)
class DPR(training.Refreshing):
    """Trains weights that are drawn to the optimal clusters of their layer, which take their place in the end.

    k: values of each layer, one K for all or one by parameter name. strength: the lambda that it ends at; it begins at
    zero, so that weights first settle where the loss wants them, and rises with the square of the steps until a share
    `ramp` of them. every, until: of the clusterings.
    """

    k: int | Mapping[str, int]
    strength: float = 30.0
    ramp: float = 2 / 3
    until: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        training.require_ranges(self, k=(1, 65536), strength=(0, 1e9), ramp=(0, 1))

    def check(self, recipe: training.Recipe) -> None:
        """Raise ValueError where the strength is so large that training diverges."""
        if self.strength * recipe.learning_rate > LARGEST_PRODUCT:
            raise ValueError(
                f"DPR diverges at learning rate {recipe.learning_rate:g} and strength {self.strength:g}:"
                f" take at most {LARGEST_PRODUCT / recipe.learning_rate:.3g}"
            )

    def prepare(self, network: nn.Module) -> None:
        attach_clusters(network, self.k, Drawn)

    def objective(self, network: nn.Module, base: training.Objective) -> training.Objective:
        return regularised(base, network)

    def after_step(self, network: nn.Module, step: int, steps: int) -> None:
        """Raise the strength, and find the clusters anew when it is time."""
        for module in training.attached(network, Drawn).values():
            module.strength.fill_(self.strength * min(step / (self.ramp * steps), 1.0) ** 2)
        super().after_step(network, step, steps)

    def finish(self, network: nn.Module) -> Coded:
        """Cluster the weights as they are in the end."""
        training.refresh(network)
        return super().finish(network)
