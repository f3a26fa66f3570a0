"""1 - macro F1 of a network whose weights are shared, on labelled augmented training images."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

import numpy as np
import torch
from torch import nn

from bitbook import training
from bitbook.clustering import uniform_bins
from bitbook.methods.moea_bins._bins import merged_values, split
from bitbook.tasks import Task


@dataclass(frozen=True)
class Solution:
    """k uniform bins, of which `shared` = d are not empty, and their loss 1 - macro F1."""

    k: int
    shared: int
    loss: float


def taking_part(
    network: nn.Module, *, parameters: str = "weights", without: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Return the tensors that share weights, by state-dict name, as float32.

    parameters: "weights" (of convolutions and linear layers) or "all" (biases and batch norms, too, as in the authors'
    first code). without: names or patterns such as "conv1.*" that keep their own values. Raises ValueError for another
    word, for a pattern that fits nothing, and where nothing is left.
    """
    if parameters not in ("weights", "all"):
        raise ValueError(f"parameters is 'weights' or 'all', not {parameters!r}")
    named = {name: value for name, value in network.named_parameters() if parameters == "all" or value.ndim > 1}
    for pattern in without:
        if not any(fnmatch(name, pattern) for name in named):
            raise ValueError(f"without: {pattern!r} fits none of the parameters that take part")
    kept = {name: v for name, v in named.items() if not any(fnmatch(name, pattern) for pattern in without)}
    if not any(value.ndim > 1 for value in kept.values()):
        raise ValueError("the network has no weights to share: give one with convolutions or linear layers")
    return {name: value.detach().float().cpu().numpy() for name, value in kept.items()}


class BinLoss:
    """The loss of bin counts and of merged bins, on augmented training images; picklable, for workers.

    tensors: those that take part. images: how many, other ones than for batch norms and divergences.
    """

    def __init__(
        self, network: nn.Module, task: Task, tensors: Mapping[str, np.ndarray], *, images: int, seed: int
    ) -> None:
        if images < 1:
            raise ValueError(f"the search needs at least one image, not {images}")
        train = task.calibration_images()
        generator = torch.Generator().manual_seed(seed + 2_000_000)
        rounds = [torch.randperm(len(train), generator=generator) for _ in range(-(-images // len(train)))]
        drawn = torch.cat(rounds)[:images]
        self.images = training.augment(train.images[drawn], policy=task.recipe.augmentation, generator=generator)
        self.network, self.tensors, self.labels = copy.deepcopy(network).eval(), tensors, train.labels[drawn]
        self.theta = np.concatenate([tensor.ravel() for tensor in tensors.values()])  # (N,) all weights
        self.reference = self._loss(self.theta)  # of the float network

    def solution(self, k: int) -> Solution:
        """Return the solution of k uniform bins."""
        shared = len(uniform_bins(self.theta, k).values)
        return Solution(k, shared, self.merged(k, np.arange(shared)))

    def merged(self, k: int, groups: np.ndarray) -> float:
        """Return the loss of k uniform bins, their non-empty ones joined into groups (d,)."""
        bins = uniform_bins(self.theta, k)
        values = merged_values(bins.values, bins.counts, groups)
        return self._loss(values.astype(np.float16).astype(np.float32)[groups][bins.indices])

    def _loss(self, flat: np.ndarray) -> float:
        parameters = dict(self.network.named_parameters())
        with torch.no_grad():
            for name, part in split(flat, self.tensors).items():
                parameters[name].copy_(torch.from_numpy(np.ascontiguousarray(part)))
        return 1 - training.macro_f1(training.logits(self.network, self.images), self.labels)
