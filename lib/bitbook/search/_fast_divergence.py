"""A candidate's divergence for little more than one pass: batch-norm statistics are taken on the way."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bitbook import training
from bitbook.codes._arrays import rounded
from bitbook.networks import batch_norms
from bitbook.tasks import Task

STATISTICS = 100  # images on which a candidate's batch norms are measured

Statistics = tuple[Tensor, Tensor]  # mean and variance, (C,) each


class FastDivergence:
    """The divergence of `compression.Divergence`, on the same images, temperature-scaled; picklable, for workers.

    Of 500 images a few, about which the network is in two minds, make up most of the divergence: a search that compares
    candidates by it learns which images it was given. With both outputs divided by a temperature (and the divergence
    multiplied by its square, as in distillation), it says the same for other images.

    Batch norms are not re-estimated on 4,000 images for every candidate. How far a candidate's statistics lie from the
    float network's is measured on the first images, on which the float network's own are known: what the choice of
    images does to both cancels (control variates). The float network's statistics are those of the full re-estimation.
    """

    def __init__(
        self, network: nn.Module, task: Task, *, images: int = 500, temperature: float = 4.0, seed: int = 0
    ) -> None:
        if images < 1:
            raise ValueError(f"the search needs at least one image, not {images}")
        if not 0 < temperature < math.inf:
            raise ValueError(f"the temperature must be finite and above zero, not {temperature}")
        self.temperature, self._labels = temperature, task.labels
        train, policy = task.calibration_images().images, task.recipe.augmentation
        self.images = training.sample(train, images, policy=policy, seed=seed + 1_000_000)
        self.float_logits = training.logits(network, self.images)
        self.network = copy.deepcopy(network).eval()
        self._own, self._first = _statistics(self.network), dict[str, Any]()
        training.reestimate_batch_norm(self.network, training.sample(train, training.IMAGES, policy=policy, seed=seed))
        self._whole = _statistics(self.network)
        with _watching(self.network, lambda name, _, *found: self._first.update({name: found})):
            training.logits(self.network, self.images[:STATISTICS], batch_size=STATISTICS)
        self._scratch: nn.Module | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_scratch": None}

    @property
    def module(self) -> nn.Module:
        """The network with the weights and statistics of the candidate evaluated last."""
        if self._scratch is None:
            self._scratch = copy.deepcopy(self.network)
        return self._scratch

    def __call__(
        self,
        weights: Mapping[str, np.ndarray],
        *,
        reestimate: bool = True,
        mantissa: int = 10,
        images: int | None = None,
    ) -> float:
        """Return the divergence in nats an image.

        weights: float32 by name, in the network's shapes. reestimate: whether batch norms follow the weights, instead
        of keeping the network's own statistics. mantissa: bits that folded batch norms keep, see `assemble`. images:
        only so many, the first ones.
        """
        module, parameters, parts = self.module, dict(self.module.named_parameters()), []
        with torch.no_grad():
            for name, values in weights.items():
                parameters[name].copy_(torch.from_numpy(values))
        for name, norm in batch_norms(module).items():
            norm.load_state_dict(self.network.get_submodule(name).state_dict())
            if not reestimate:
                _fold(norm, *self._own[name], mantissa)

        def follow(name: str, norm: _BatchNorm, mean: Tensor, var: Tensor) -> None:
            _fold(norm, *_moved(self._whole[name], self._first[name], (mean, var)), mantissa)

        seen = self.images[:images]
        if reestimate and self._own:
            with _watching(module, follow):
                parts.append(training.logits(module, seen[:STATISTICS], batch_size=STATISTICS))
            seen = seen[STATISTICS:]
        outputs = torch.cat([*parts, *([training.logits(module, seen)] if len(seen) else [])])
        scaled = (x / self.temperature for x in (self.float_logits[: len(outputs)], outputs))
        return self.temperature**2 * training.kl_divergence(*scaled, labels=self._labels)


def _statistics(network: nn.Module) -> dict[str, Statistics]:
    return {name: (norm.running_mean.clone(), norm.running_var.clone()) for name, norm in batch_norms(network).items()}


@contextmanager
def _watching(network: nn.Module, seen: Callable[[str, _BatchNorm, Tensor, Tensor], object]) -> Iterator[None]:
    """Call seen(name, norm, mean, variance) with each batch norm's batch statistics just before it normalises."""

    def hook(name: str) -> Callable:
        def measure(norm: _BatchNorm, arguments: tuple[Tensor, ...]) -> None:
            seen(name, norm, *_moments(arguments[0]))

        return measure

    with ExitStack() as hooks:
        for name, norm in batch_norms(network).items():
            hooks.enter_context(norm.register_forward_pre_hook(hook(name)))
        yield


def _moments(x: Tensor) -> Statistics:
    """Mean and variance of each channel; a batch norm takes them ten times as fast as `torch.var_mean`."""
    _, mean, inverse_deviation = torch.native_batch_norm(x, None, None, None, None, True, 0.0, 0.0)
    return mean, inverse_deviation**-2


def _moved(whole: Statistics, before: Statistics, after: Statistics) -> Statistics:
    """Statistics over many images, `whole`, moved as those of a few images went from `before` to `after`."""
    ratio = torch.where(before[1] > 0, whole[1] / before[1], torch.ones_like(whole[1]))
    # A channel that is nearly dead on the few images says nothing about how its variance moves.
    return whole[0] + after[0] - before[0], ratio.clamp(0.5, 2.0) * after[1]


@torch.no_grad()
def _fold(norm: _BatchNorm, mean: Tensor, var: Tensor, mantissa: int) -> None:
    """Give a batch norm these statistics as a file gives it back: in scale and shift, rounded."""
    if norm.affine:
        scale = norm.weight.double() / (var.double() + norm.eps).sqrt()
        shift = norm.bias.double() - mean.double() * scale
        stored = [torch.from_numpy(rounded(x.cpu().numpy(), mantissa).astype(np.float64)) for x in (scale, shift)]
        norm.weight.copy_(stored[0] * math.sqrt(1 + norm.eps))
        norm.bias.copy_(stored[1])
        mean, var = torch.zeros_like(mean), torch.ones_like(var)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(var)
