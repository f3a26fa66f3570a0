"""Robust networks: trained on attacked images, and compressed while they are."""

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bitbook import training
from bitbook.codes import Compressed
from bitbook.compression import Retraining, retrain
from bitbook.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Attack:
    """Projected gradient descent (Madry et al., arXiv 1706.06083).

    epsilon: the largest change of a pixel, on the scale 0 to 1. steps: how many, each of 2.5 epsilon / steps, so that
    any corner of the box can be reached from any start.
    """

    epsilon: float
    steps: int

    def __post_init__(self) -> None:
        training.require_ranges(self, epsilon=(0, 1), steps=(1, 1e4))

    def __call__(self, network: nn.Module, images: Tensor, labels: Tensor, *, seed: int) -> Tensor:
        """Return images (N, C, H, W) as floats, attacked from random starts that the seed fixes."""
        generator = torch.Generator().manual_seed(seed)
        return training.pgd(network, images, labels, **self.options, generator=generator)

    @property
    def options(self) -> dict[str, Any]:
        """The attack in the terms of `training.pgd`."""
        return {"epsilon": self.epsilon, "step": 2.5 * self.epsilon / self.steps, "steps": self.steps}

    def objective(self, base: training.Objective | None = None) -> training.Objective:
        """Return an objective for `fit`: the base, else the cross-entropy, on attacked images."""
        return training.adversarial_training(**self.options, objective=base)


def train_robust(
    network: nn.Module,
    task: Task,
    *,
    attack: Attack,
    epochs: int,
    ramp: Sequence[float] = (),
    learning_rate: float | None = None,
    precision: str = "float32",
    seed: int = 0,
    folder: Path | None = None,
) -> nn.Module:
    """Return a network trained on attacked images; the given one, where it begins, is left as it is.

    ramp: shares of the attack's epsilon, of an epoch each, that come before the epochs with all of it: at full strength
    from the start, networks often learn nothing. The recipe is the task's, with this learning rate (None: its own) and
    this precision. A killed training resumes from the folder.
    """
    robust, data = copy.deepcopy(network), task.train()
    recipe = dataclasses.replace(task.recipe, learning_rate=learning_rate or task.recipe.learning_rate)
    recipe = dataclasses.replace(recipe, precision=precision)
    stages = [(share, dataclasses.replace(recipe, epochs=1, warmup=0.0, schedule="constant")) for share in ramp]
    stages.append((1.0, dataclasses.replace(recipe, epochs=epochs, warmup=0.0 if ramp else recipe.warmup)))
    for stage, (share, recipe) in enumerate(stages):
        weaker = dataclasses.replace(attack, epsilon=share * attack.epsilon)
        training.fit(
            robust,
            data.images,
            data.labels,
            recipe,
            seed=seed,
            folder=folder and folder / f"robust-{stage}",
            objective=weaker.objective(),
            name=f"{weaker}",
        )
    return robust.eval()


def compress_robust(
    network: nn.Module, task: Task, scheme: training.Scheme, options: Retraining, *, attack: Attack, **more: Any
) -> Compressed:
    """Compress a robust network by `compression.retrain`, on images that attack the quantised network.

    It learns from the robust network's outputs on the same attacked images, `options.distil` their share of the loss.
    Batch norms keep the statistics of the attacked images.
    """
    objective = attack.objective(training.distillation(copy.deepcopy(network), share=options.distil))
    name = f"{attack}, distillation {options.distil}"
    return retrain(network, task, scheme, options, objective=objective, name=name, reestimate=False, **more)


def accuracies(
    network: nn.Module, images: Tensor, labels: Tensor, *, attack: Attack, seed: int = 0, batch_size: int = 200
) -> dict[str, float]:
    """Return the share of images (N, C, H, W) with these labels (N,) that a network names rightly.

    "natural": as they are; "attacked": after the attack on this network.
    """
    parts = [slice(start, start + batch_size) for start in range(0, len(images), batch_size)]
    worst = [attack(network, images[part], labels[part], seed=seed + i) for i, part in enumerate(parts)]
    return {
        "natural": training.top1(training.logits(network, images), labels),
        "attacked": training.top1(training.logits(network, torch.cat(worst)), labels),
    }
