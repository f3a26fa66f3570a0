"""Indices chosen for a layer's outputs instead of its weights, from training images without labels or gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitbook import training
from bitbook.clustering import InputFactor, compensated_rounding, input_factor
from bitbook.codes import Code, Coded

PASSES = 3  # with a price, code lengths and indices are found in turn; after three passes sizes stay within 0.1 %
POSITIONS = 64  # of each image's feature map; neighbouring ones say nearly the same


def input_moments(network: nn.Module, images: Tensor, *, batch_size: int = 100) -> dict[str, np.ndarray]:
    """Return the sum of x x^T over the inputs x of every convolution and linear layer, by the weight's name.

    images: (N, C, H, W), as for `training.logits`. A moment has shape (groups, inputs, inputs) float64, where inputs
    counts C_in / groups * kernel area, in the weight's own order. Of a convolution's positions 64 an image are taken,
    evenly spread. Raises ValueError for padding other than zeros.
    """
    moments: dict[str, Tensor] = {}

    def watch(name: str, layer: nn.Module):
        def hook(_, arguments, __):
            rows = layer_inputs(layer, arguments[0])  # (groups, inputs, n)
            moments[name] = moments.get(name, 0) + (rows @ rows.transpose(1, 2)).double()

        return hook

    handles = []
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            if getattr(layer, "padding_mode", "zeros") != "zeros":
                raise ValueError(f"{name}: padding {layer.padding_mode!r} is not supported here, only zeros")
            handles.append(layer.register_forward_hook(watch(f"{name}.weight", layer)))
    try:
        training.logits(network, images, batch_size=batch_size)
    finally:
        for handle in handles:
            handle.remove()
    return {name: moment.cpu().numpy() for name, moment in moments.items()}


def layer_inputs(layer: nn.Module, x: Tensor, *, positions: int = POSITIONS) -> Tensor:
    """Return what a convolution or linear layer multiplies its weights with, (groups, inputs, n), for inputs (N, ...).

    Of a convolution's positions at most so many an image are taken, evenly spread; its padding must be zeros.
    """
    if isinstance(layer, nn.Linear):
        return x.reshape(1, -1, x.shape[-1]).transpose(1, 2)
    (down, right), (kernel_rows, kernel_columns), (tall, wide) = layer.stride, layer.kernel_size, layer.dilation
    x = F.pad(x, layer._reversed_padding_repeated_twice)
    height = (x.shape[2] - tall * (kernel_rows - 1) - 1) // down + 1
    width = (x.shape[3] - wide * (kernel_columns - 1) - 1) // right + 1
    taken = torch.linspace(0, height * width - 1, min(height * width, positions)).round().long()
    row, column = taken // width * down, taken % width * right  # upper left corners of what the kernel covers
    places = [(tall * i, wide * j) for i in range(kernel_rows) for j in range(kernel_columns)]
    columns = torch.stack([x[:, :, row + i, column + j] for i, j in places], dim=2)  # (N, C_in, places, positions)
    return columns.flatten(1, 2).transpose(0, 1).reshape(layer.groups, -1, len(taken) * len(x))


def compensate(
    tensors: Mapping[str, np.ndarray],
    coded: Coded,
    moments: Mapping[str, np.ndarray | Sequence[InputFactor]],
    *,
    price: float = 0.0,
) -> Coded:
    """Return the same codes with indices that keep each layer's outputs close; codebooks and scales stay.

    tensors: the weights, by name, of at least the coded layers. moments: of `input_moments`, or already factored, a
    `clustering.input_factor` for each group. price: what a bit may cost
    of squared error, in units of the squared mean distance between the values in use, where a uniform quantiser trades
    them at about 0.1; zero takes no account of bits.
    """
    found = {
        name: _one(tensors[name], code, coded.codebooks, moments[name], price) for name, code in coded.codes.items()
    }
    return Coded(found, coded.codebooks)


def _one(
    tensor: np.ndarray,
    code: Code,
    codebooks: Mapping[str, np.ndarray],
    moments: np.ndarray | Sequence[InputFactor],
    price: float,
) -> Code:
    book = codebooks[code.codebook].astype(np.float64)  # (k,)
    order = np.argsort(book, kind="stable")
    values, first = np.unique(book[order], return_index=True)  # equal values: the first index stands for all
    scales = 1.0 if code.scales is None else code.scales.astype(np.float64).reshape(-1, *[1] * (tensor.ndim - 1))
    weights = (tensor.astype(np.float64) / scales).reshape(tensor.shape[0], -1)  # (outputs, inputs)
    rank = np.searchsorted(values, book[code.indices.ravel()])  # where the given indices stand among the values
    counts = np.bincount(rank, minlength=len(values))
    spacing = np.average(np.gradient(values), weights=counts) if len(values) > 1 else 0.0
    factors = [moment if isinstance(moment, InputFactor) else input_factor(moment) for moment in moments]
    for _ in range(PASSES if price else 1):
        lengths = np.log2((counts.sum() + 0.05 * len(counts)) / (counts + 0.05))  # finite for values not in use
        parts = [
            compensated_rounding(part, factor, values, code_lengths=lengths, price=price * spacing**2)
            for part, factor in zip(np.split(weights, len(factors)), factors, strict=True)
        ]
        found = np.concatenate(parts)
        counts = np.bincount(found.ravel(), minlength=len(values))
    indices = order[first][found].reshape(tensor.shape)
    return dataclasses.replace(code, indices=indices.astype(code.indices.dtype))
