"""Input normalisation as a layer of the network."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalise(nn.Module):
    """Subtract a mean and divide by a standard deviation per channel of images (N, C, H, W) in [0, 1].

    The buffers are not persistent: their values stand in the specification, and the state dict keeps the names of
    published weights. Raises ValueError unless there are as many means as deviations, all finite, these above zero.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        mean, std = [float(value) for value in mean], [float(value) for value in std]
        if len(mean) != len(std) or not all(map(math.isfinite, mean + std)) or not min(std, default=0) > 1e-30:
            raise ValueError(f"a mean and a standard deviation above 0 per channel are needed, not {mean} and {std}")
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std
