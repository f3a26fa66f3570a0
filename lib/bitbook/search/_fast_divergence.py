"""A candidate's divergence for little more than one pass: batch-norm statistics are taken on the way."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bitbook import training
from bitbook.codes._arrays import rounded
from bitbook.tasks import Task

STATISTICS = 100  # images on which a candidate's batch norms are measured
FIRST = 200  # images after which a hopeless candidate may be given up, those for statistics included


class FastDivergence:
    """The divergence of `methods.Divergence`, on the same images, softened, for searches; picklable, for workers.

    Of 500 images a few, about which the network is in two minds, make up most of the divergence: a search that compares
    candidates by it learns which images it was given. Softened, both outputs divided by a temperature (and the
    divergence multiplied by its square, as in distillation), it says the same for other images.

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
        train = task.calibration_images().images
        policy = task.recipe.augmentation
        self.images = training.sample(train, images, policy=policy, seed=seed + 1_000_000)
        self.float_logits = training.logits(network, self.images)
        self.network = copy.deepcopy(network).eval()
        self._statistics: dict[str, tuple[Tensor, ...]] = {}  # own, re-estimated, and of the first images
        norms = self._norms(self.network)
        own = {name: (norm.running_mean.clone(), norm.running_var.clone()) for name, norm in norms.items()}
        training.reestimate_batch_norm(self.network, training.sample(train, training.IMAGES, policy=policy, seed=seed))
        for name, norm in norms.items():
            self._statistics[name] = (*own[name], norm.running_mean.clone(), norm.running_var.clone())
        with self._watching(self._note):
            training.logits(self.network, self.images[:STATISTICS], batch_size=STATISTICS)
        self._scratch: nn.Module | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_scratch": None}

    @property
    def first(self) -> int:
        """Images of the first part."""
        return min(FIRST, len(self.images))

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
        hopeless: Callable[[float], bool] = lambda first: False,
    ) -> tuple[float, float | None]:
        """Return the divergence on the first images and on all, in nats an image; no second one for hopeless ones.

        weights: float32 by name, in the network's shapes. reestimate: whether batch norms follow the weights, instead
        of keeping the network's own statistics. mantissa: bits that folded batch norms keep, see `assemble`. hopeless:
        decides by the divergence on the first images.
        """
        parameters = dict(self.module.named_parameters())
        with torch.no_grad():
            for name, values in weights.items():
                parameters[name].copy_(torch.from_numpy(values))
        norms, parts = self._norms(self.module), []
        for name, norm in norms.items():
            self.restore(name, norm)
        start = 0
        if norms and reestimate:
            with self._watching(self._follow):
                parts.append(training.logits(self.module, self.images[:STATISTICS], batch_size=STATISTICS))
            start = len(parts[0])
        for norm in norms.values():
            _fold(norm, mantissa)
        if start < self.first:
            parts.append(training.logits(self.module, self.images[start : self.first]))
        first = self.softened(torch.cat(parts))
        if hopeless(first):
            return first, None
        if self.first < len(self.images):
            parts.append(training.logits(self.module, self.images[self.first :]))
        return first, self.softened(torch.cat(parts))

    def softened(self, logits: Tensor) -> float:
        """Return the softened divergence of outputs (n, classes) for the first n images, in nats an image."""
        reference = self.float_logits[: len(logits)]
        return self.temperature**2 * training.kl_divergence(
            reference / self.temperature, logits / self.temperature, labels=self._labels
        )

    def restore(self, name: str, norm: _BatchNorm) -> None:
        """Make a batch norm of this name the network's own again."""
        norm.load_state_dict(self.network.get_submodule(name).state_dict())
        mean, var = self._statistics[name][:2]
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var)

    def moved_statistics(self, name: str, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of a batch norm for inputs y; x are the float network's on the same images."""
        before, after = _moments(x), _moments(y)
        _, _, mean, var, *_ = self._statistics[name]
        return _moved((mean, var), before, after)

    @staticmethod
    def _norms(network: nn.Module) -> dict[str, _BatchNorm]:
        modules = network.named_modules()
        return {name: m for name, m in modules if isinstance(m, _BatchNorm) and m.track_running_stats}

    @contextmanager
    def _watching(self, seen: Callable[[str, _BatchNorm, Tensor, Tensor], None]) -> Iterator[None]:
        """Call seen(name, norm, mean, variance) with each batch norm's batch statistics just before it normalises."""

        def hook(name: str) -> Callable:
            def measure(norm: _BatchNorm, arguments: tuple[Tensor, ...]) -> None:
                seen(name, norm, *_moments(arguments[0]))

            return measure

        network = self.network if seen == self._note else self.module
        handles = [norm.register_forward_pre_hook(hook(name)) for name, norm in self._norms(network).items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _note(self, name: str, norm: _BatchNorm, mean: Tensor, var: Tensor) -> None:
        self._statistics[name] = (*self._statistics[name], mean.clone(), var.clone())

    def _follow(self, name: str, norm: _BatchNorm, mean: Tensor, var: Tensor) -> None:
        *_, float_mean, float_var, first_mean, first_var = self._statistics[name]
        moved = _moved((float_mean, float_var), (first_mean, first_var), (mean, var))
        for buffer, value in zip((norm.running_mean, norm.running_var), moved, strict=True):
            buffer.copy_(value)


def _fold(norm: _BatchNorm, mantissa: int) -> None:
    """Leave a batch norm as a file gives it back: its scale and shift rounded, mean 0 and variance 1."""
    if not norm.affine:
        return
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    shift = norm.bias.double() - norm.running_mean.double() * scale
    with torch.no_grad():
        norm.weight.copy_(_stored(scale, mantissa) * math.sqrt(1 + norm.eps))
        norm.bias.copy_(_stored(shift, mantissa))
    norm.running_mean.zero_()
    norm.running_var.fill_(1.0)


def _stored(values: Tensor, mantissa: int) -> Tensor:
    return torch.from_numpy(rounded(values.detach().cpu().numpy(), mantissa).astype(np.float64))


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel; a batch norm takes them ten times as fast as `torch.var_mean`."""
    _, mean, inverse_deviation = torch.native_batch_norm(x, None, None, None, None, True, 0.0, 0.0)
    return mean, inverse_deviation**-2


def _moved(
    whole: tuple[Tensor, Tensor], before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Mean and variance over many images, `whole`, moved as those of a few images went from `before` to `after`."""
    ratio = torch.where(before[1] > 0, whole[1] / before[1], torch.ones_like(whole[1]))
    # A channel that is nearly dead on the few images says nothing about how its variance moves.
    return whole[0] + after[0] - before[0], ratio.clamp(0.5, 2.0) * after[1]
