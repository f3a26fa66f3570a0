"""Batch-norm statistics measured anew, as quantised weights need: an exact average instead of a running one."""

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from bitbook.networks import batch_norms

from ._evaluation import Batch, batch_length, evaluating, run

IMAGES = 4000  # fewer cost accuracy, and so do plain ones on which the network was trained


def _positive(network: nn.Module) -> list[Any]:
    """The batch norms that torch can run in training mode, which takes an epsilon above zero."""
    return [layer for layer in batch_norms(network).values() if layer.eps > 0]


def reestimate_batch_norm(
    network: nn.Module, data: Tensor | Iterable[Batch], *, reference: nn.Module | None = None, batch_size: int = 200
) -> None:
    """Set every batch norm's running mean and variance to the average of its batch statistics.

    Batches are weighted by their size and summed in float64; a batch norm that is used several times in a pass gets the
    average over its uses; one that is not used, or has no epsilon, keeps its statistics. Everything else in the network
    stays in evaluation mode. A network without batch norm is left as it is.

    Args:
        network: any module; changed in place.
        data: (N, C, H, W) augmented training images, 4,000 for full accuracy, or batches as `run` takes them.
        reference: the float network, re-estimated on the same data. Then the statistics only change by what
            distinguishes the two, so that data unlike those of training, or few of them, do no harm.
        batch_size: of images.

    Raises:
        ValueError: for a batch with a single value per channel, of which there is no variance.
    """
    layers = _positive(network)
    if not layers:
        return
    before = [(layer.running_mean.clone(), layer.running_var.clone()) for layer in layers]
    others = _positive(reference) if reference else [None] * len(layers)
    momenta = [layer.momentum for layer in layers]
    sums: dict[nn.Module, Any] = dict.fromkeys(layers, (0.0, 0.0, 0))  # means and variances, by count
    count = 0

    def note(layer: nn.Module, *_: object) -> None:
        mean, variance, total = sums[layer]
        own, share = layer.running_mean.double().cpu(), count / number
        sums[layer] = mean + own * share, variance + layer.running_var.double().cpu() * share, total + count

    number = len(data) if isinstance(data, Tensor) else 1
    if isinstance(data, Tensor):
        parts = list(data.split(batch_size))
        data = parts if len(parts) < 2 or len(parts[-1]) > 1 else [*parts[:-2], torch.cat(parts[-2:])]
    if not number:
        raise ValueError("there are no images to re-estimate batch norms on")
    with evaluating(network), torch.no_grad():
        hooks = ExitStack()
        try:
            for layer in layers:
                hooks.enter_context(layer.register_forward_hook(note))
                layer.train()
                layer.momentum = 1.0  # the running statistics become those of the last batch
            for batch in data:
                count = batch_length(batch)
                next(run(network, [batch], batch_size=batch_size))
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise ValueError("a batch of one cannot re-estimate batch norms: give larger batches") from error
        finally:
            hooks.close()
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum
        for layer, own, other in zip(layers, before, others, strict=True):
            mean, variance, total = sums[layer]
            if not total:
                continue
            if not (mean.isfinite().all() and variance.isfinite().all()):
                raise ValueError("a batch norm's inputs are not finite: check weights and calibration data")
            layer.running_mean.copy_(mean / (total / number))
            layer.running_var.copy_(variance / (total / number))
            if other is not None:
                change = (layer.running_var + layer.eps) / (other.running_var + layer.eps)
                layer.running_mean.add_(own[0] - other.running_mean)
                layer.running_var.copy_(own[1] * change)
