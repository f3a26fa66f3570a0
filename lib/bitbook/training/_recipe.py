"""How a network is trained: the constants of one training, and the learning rate over it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ._augmentation import draw


def require_ranges(options: object, **ranges: tuple[float, float]) -> None:
    """Raise ValueError for a number, or one of a mapping's, that is out of its range or NaN; None is not looked at.

    Args:
        options: a dataclass.
        ranges: the smallest and the largest number of each field.
    """
    for field, (low, high) in ranges.items():
        value = getattr(options, field)
        for number in value.values() if isinstance(value, Mapping) else (value,):
            if number is not None and not low <= number <= high:
                raise ValueError(f"{type(options).__name__}: {field} is {number:g}, not from {low:g} to {high:g}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The constants of one training; the learning rate rises linearly over `warmup` and then falls along `schedule`."""

    epochs: int
    batch_size: int = 128
    optimiser: str = "sgd"  # "sgd" (Nesterov momentum) or "adam"
    learning_rate: float = 0.1  # the largest one
    momentum: float = 0.9  # of sgd
    weight_decay: float = 5e-4
    warmup: float = 0.0  # share of all steps
    schedule: str = "cosine"  # "cosine", "linear" (both to zero) or "constant"
    label_smoothing: float = 0.0
    augmentation: str = "none"  # a policy of `augment`
    averaging: float = 0.0  # decay per step of an exponential average of the weights; 0 keeps the last weights
    precision: str = "float32"  # "float32", or "bfloat16" for the forward pass where the device gains by it

    def __post_init__(self) -> None:
        require_ranges(self, epochs=(0, 1e6), batch_size=(1, 1e6), learning_rate=(0, 1e3), weight_decay=(0, 1e3))
        require_ranges(self, **dict.fromkeys(("momentum", "warmup", "label_smoothing", "averaging"), (0, 1)))
        draw(0, policy=self.augmentation, generator=torch.Generator())
        choices = {
            "optimiser": ("sgd", "adam"),
            "schedule": ("cosine", "linear", "constant"),
            "precision": ("float32", "bfloat16"),
        }
        for field, known in choices.items():
            if getattr(self, field) not in known:
                raise ValueError(f"recipe: {field} is {getattr(self, field)!r}, not one of {', '.join(known)}")

    def rate(self, progress: float) -> float:
        """The learning rate as a share of the largest one; `progress` runs from 0 at the first step towards 1."""
        if progress < self.warmup:
            return progress / self.warmup
        rest = (progress - self.warmup) / (1 - self.warmup)
        if self.schedule == "cosine":
            return (1 + math.cos(math.pi * rest)) / 2
        return 1 - rest if self.schedule == "linear" else 1.0
