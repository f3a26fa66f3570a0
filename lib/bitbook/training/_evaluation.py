"""Running a network over images: float inputs from stored ones, logits in one pass, metrics by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bitbook.datasets import ImageFiles, batches


def device() -> torch.device:
    """The GPU where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def inputs(network: nn.Module, images: Tensor) -> Tensor:
    """Images as the network takes them: floats in [0, 1] of its type, on its device; stored uint8 is divided by 255."""
    parameter = next(network.parameters())
    floats = images.to(parameter.device).to(parameter.dtype)
    return floats / 255 if images.dtype == torch.uint8 else floats


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and each of its modules back into its own mode afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def logits(network: nn.Module, images: Tensor | ImageFiles, *, batch_size: int | None = None) -> Tensor:
    """The network's outputs (N, C) float32 for images (N, C, H, W), uint8 or floats in [0, 1], in evaluation mode.

    Unless told otherwise it takes about 100,000 pixels at a time (100 images of 32 x 32), and four images at least: the
    feature maps of the networks here then stay in a processor's cache, which is fastest.
    """
    step = batch_size or max(4, 102_400 // (images.shape[2] * images.shape[3]))
    with evaluating(network), torch.inference_mode():
        parts = [slice(i, i + step) for i in range(0, len(images), step)]
        outputs = [network(inputs(network, batch)).float().cpu() for batch in batches(images, parts)]
    return torch.cat(outputs)


def evaluate(
    network: nn.Module,
    images: Tensor | ImageFiles,
    labels: Tensor,
    metrics: Mapping[str, Callable[[Tensor, Tensor], float]],
    *,
    batch_size: int | None = None,
) -> dict[str, float]:
    """Every metric of the network on labelled images, by name."""
    outputs = logits(network, images, batch_size=batch_size)
    return {name: metric(outputs, labels) for name, metric in metrics.items()}
