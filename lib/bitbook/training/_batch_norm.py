"""Batch-norm statistics measured anew, as quantised weights need: an exact average instead of a running one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bitbook.datasets import ImageFiles
from bitbook.training._augmentation import sample
from bitbook.training._evaluation import evaluating, inputs


def reestimate_batch_norm(
    network: nn.Module,
    images: Tensor | ImageFiles,
    *,
    seed: int,
    augmentation: str,
    count: int = 4000,
    batch_size: int = 200,
) -> None:
    """Set every batch norm's running mean and variance to the average of its batch statistics over augmented images.

    The images (count, C, H, W) come from `sample`; fewer than 4,000 cost accuracy, and so do plain ones on which the
    network was trained. Batches are weighted by their size and summed in float64. Everything else in the network stays
    in evaluation mode. A network without batch norm is left as it is.
    """
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    means = [torch.zeros_like(layer.running_mean, dtype=torch.float64) for layer in layers]
    variances = [torch.zeros_like(layer.running_var, dtype=torch.float64) for layer in layers]
    with evaluating(network), torch.no_grad():
        try:
            for layer in layers:
                layer.train()
                layer.momentum = 1.0  # the running statistics become those of the last batch
            for batch in sample(images, count, policy=augmentation, seed=seed).split(batch_size):
                network(inputs(network, batch))
                for layer, mean, variance in zip(layers, means, variances, strict=True):
                    mean += layer.running_mean.double() * (len(batch) / count)
                    variance += layer.running_var.double() * (len(batch) / count)
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum
        for layer, mean, variance in zip(layers, means, variances, strict=True):
            layer.running_mean.copy_(mean)
            layer.running_var.copy_(variance)
