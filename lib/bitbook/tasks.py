"""Tasks by name: a data set, a network, the metrics that count and the recipe that trains it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from bitbook import datasets, networks
from bitbook.training import Recipe, macro_f1, sample, top1, top5

Metric = Callable[[Tensor, Tensor], float]  # logits (N, C), labels (N,)

FEW_CLASSES: Mapping[str, Metric] = {"top1": top1, "macro_f1": macro_f1}
MANY_CLASSES: Mapping[str, Metric] = {"top1": top1, "top5": top5, "macro_f1": macro_f1}


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task; `weights` names the given weights of its network, and the first of `metrics` is its headline."""

    name: str
    dataset: str
    specification: Mapping
    weights: str | None = None
    metrics: Mapping[str, Metric]
    recipe: Recipe
    calibration_dataset: str | None = None  # stands in for training images where the data set has none at hand

    @property
    def headline(self) -> str:
        """The name of the metric that is quoted first."""
        return next(iter(self.metrics))

    def network(self, *, seed: int | None = None) -> nn.Module:
        """The task's network with fresh weights, as `networks.build` makes it."""
        return networks.build(self.specification, seed=seed)

    def given_weights(self) -> dict[str, Tensor]:
        """The state dict of the task's given weights, verified; where missing, fetched from their source.

        Raises ValueError for a task without given weights, DownloadFailed and WeightsDamaged as their makers do.
        """
        if self.weights is None:
            raise ValueError(f"task {self.name} has no given weights: train its network")
        given = networks.GIVEN[self.weights]
        path = datasets.folder() / "weights" / f"{self.weights}.safetensors"
        if path.exists():
            return given.read(path)
        original = datasets.download(given.url, path.with_suffix(Path(given.url).suffix), known_hash=None)
        state = given.read(original)
        partial = path.with_suffix(".partial")
        save_file(state, partial)
        os.replace(partial, path)
        original.unlink()
        return state

    def test(self) -> datasets.Dataset:
        """The labelled images on which results are reported; each call counts as a read."""
        return datasets.load(self.dataset, split="test")

    def train(self) -> datasets.Dataset:
        """The training images, or those that stand in for them; the name of what is returned says which."""
        try:
            return datasets.load(self.dataset, split="train")
        except datasets.DatasetMissing:
            if self.calibration_dataset is None:
                raise
            return datasets.load(self.calibration_dataset, split="train")

    def calibration(self, count: int, *, seed: int) -> Tensor:
        """Augmented training images uint8 (count, C, H, W): all that searching, tuning and re-estimation may see."""
        return sample(self.train().images, count, policy=self.recipe.augmentation, seed=seed)


def _cifar(name: str, weights: str) -> Task:
    specification = networks.GIVEN[weights].specification
    many = specification["arguments"]["classes"] == 100
    return Task(
        name=name,
        dataset="cifar100" if many else "cifar10",
        calibration_dataset="cifar100-calib10k" if many else None,
        specification=specification,
        weights=weights,
        metrics=MANY_CLASSES if many else FEW_CLASSES,
        recipe=Recipe(epochs=60, learning_rate=0.2, warmup=0.2, augmentation="crop4+flip"),
    )


_TASKS = (
    Task(
        name="digits",
        dataset="digits",
        specification={"factory": "digits_cnn", "arguments": {}},
        metrics=FEW_CLASSES,
        recipe=Recipe(epochs=30, batch_size=64, warmup=0.2, augmentation="crop1"),
    ),
    Task(
        name="mnist",
        dataset="mnist",
        specification={"factory": "lenet5", "arguments": {}},
        metrics=FEW_CLASSES,
        recipe=Recipe(
            epochs=8, optimiser="adam", learning_rate=2e-3, weight_decay=0.0, warmup=0.1, augmentation="crop2"
        ),
    ),
    _cifar("cifar10", "cifar10_resnet20"),
    _cifar("cifar10-resnet56", "cifar10_resnet56"),
    _cifar("cifar100", "cifar100_resnet20"),
    _cifar("cifar100-resnet56", "cifar100_resnet56"),
)
TASKS: Mapping[str, Task] = {task.name: task for task in _TASKS}


def get(name: str) -> Task:
    """The task of that name. Raises ValueError for an unknown one."""
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}; known: {', '.join(TASKS)}")
    return TASKS[name]
