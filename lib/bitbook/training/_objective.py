"""What a training minimises."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

Objective = Callable[[nn.Module, Tensor, Tensor], Tensor]  # network, float images (N, C, H, W), labels (N,) -> loss ()


def cross_entropy(label_smoothing: float = 0.0) -> Objective:
    """The ordinary objective: mean cross-entropy between outputs and labels, in nats."""
    return lambda network, images, labels: F.cross_entropy(network(images), labels, label_smoothing=label_smoothing)
