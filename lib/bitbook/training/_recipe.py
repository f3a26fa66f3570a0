"""How a network is trained: the constants of one training, and the learning rate over it."""

import math
from dataclasses import dataclass


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
