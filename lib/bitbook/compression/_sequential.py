"""GPTQ rounding layer by layer: inputs as the rounded layers before give them, targets of the float network."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from bitbook.clustering import compensated_rounding, input_factor
from bitbook.compression._compensate import layer_inputs
from bitbook.compression._descent import descend

DAMPING = 0.01  # of the moments' diagonal, as a share of its mean
SHARE = 0.5  # of the errors of earlier layers that a layer makes up for; all of it suits only the images at hand
SAMPLES = 8000  # inputs of a layer on which its moments are taken, at least
MOST_INPUTS = 8192  # of a layer; the moments of more would fill the memory


@dataclass(frozen=True)
class Rounding:
    """What rounding a grid needs beside the network.

    step: of the grid. code_lengths: (2 k + 1,) bits of the levels -k..k. rate_weight: what a bit may cost of squared
    error, in units of a squared step in a column of average weight.
    """

    step: float
    code_lengths: np.ndarray
    rate_weight: float


@dataclass
class Levels:
    """Levels of each layer in the shape of its weights, by the weight's name, and the biases that go with them."""

    weights: dict[str, np.ndarray] = field(default_factory=dict)
    biases: dict[str, Tensor] = field(default_factory=dict)


def round_in_turn(network: nn.Module, images: Tensor, centred: Mapping[str, bool], rounding: Rounding) -> Levels:
    """Return the levels of the layers `centred`, rounded one after the other in the order in which they run.

    images: (n, ...) as the network takes them; they go through the float network and the rounded one side by side, in
    one pass. centred: layers by the weight's name, from `watchable`; whether the mean of their outputs is free. In each
    layer the weights W are first moved to W + SHARE * W (C - H) H^-1, where H = sum of y y^T and C = sum of x y^T over
    the layer's inputs x in the float network and y in the rounded one. Batch norms of the rounded network use the
    statistics of these images. Where the mean is free, x and y are taken from their means, and a bias makes up for the
    difference. Source: arXiv 2210.17323 (GPTQ) for layers in turn, arXiv 2504.02692 for the float targets; the share
    and the free mean are ours.
    """
    network, found = copy.deepcopy(network).eval(), Levels()
    positions = -(-SAMPLES // len(images))  # of each image's feature map
    for name, module in network.named_modules():
        if f"{name}.weight" in centred:
            module.register_forward_hook(
                _layer_hook(f"{name}.weight", positions, centred[f"{name}.weight"], rounding, found)
            )
        elif isinstance(module, _BatchNorm):
            module.register_forward_hook(_norm_hook)
    with torch.inference_mode():
        network(torch.cat([images, images]))
    return found


def watchable(network: nn.Module, images: Tensor) -> dict[str, bool]:
    """Return the layers that `round_in_turn` can take, by the weight's name, and whether their outputs' mean is free.

    It is where a batch norm follows at once, or where the layer has a bias. Taken are linear layers and convolutions
    padded with zeros, of at most 8,192 inputs, that run once for a batch and keep its images apart along the first
    axis.
    """
    network = copy.deepcopy(network).eval()
    runs: dict[str, list[bool]] = {}
    outputs: dict[str, Tensor] = {}
    centred: dict[str, bool] = {}

    def layer_hook(name: str):
        def hook(layer: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
            x = arguments[0]
            twins = len(x) % 2 == 0 and torch.allclose(*x.chunk(2), rtol=1e-3, atol=1e-5)
            runs.setdefault(name, []).append(twins and (isinstance(layer, nn.Linear) or x.ndim == 4))
            outputs[name], centred[name] = output, layer.bias is not None

        return hook

    def norm_hook(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        for name, output in outputs.items():
            centred[name] |= arguments[0] is output

    for name, module in network.named_modules():
        fits = isinstance(module, nn.Conv2d | nn.Linear) and module.weight[0].numel() <= MOST_INPUTS
        if fits and getattr(module, "padding_mode", "zeros") == "zeros":
            module.register_forward_hook(layer_hook(f"{name}.weight"))
        elif isinstance(module, _BatchNorm):
            module.register_forward_pre_hook(norm_hook)
    with torch.inference_mode():
        network(torch.cat([images[:2], images[:2]]))
    return {name: centred[name] for name, twins in runs.items() if twins == [True]}


def _norm_hook(norm: _BatchNorm, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
    y = arguments[0].chunk(2)[1]
    other = F.batch_norm(y, None, None, norm.weight, norm.bias, True, 0.0, norm.eps)
    return torch.cat([output[: len(y)], other])


def _layer_hook(name: str, positions: int, centred: bool, rounding: Rounding, found: Levels):
    def hook(layer: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        x, y = arguments[0].chunk(2)
        rows, others = (layer_inputs(layer, z, positions=positions) for z in (x, y))  # (groups, inputs, samples)
        mean, other_mean = rows.mean(2, keepdim=True), others.mean(2, keepdim=True)
        if centred:
            rows, others = rows - mean, others - other_mean
        own = (others @ others.transpose(1, 2)).double().cpu().numpy()  # H
        cross = (rows @ others.transpose(1, 2)).double().cpu().numpy()  # C
        weight = layer.weight.detach().double().cpu().numpy()
        parts = weight.reshape(len(own), -1, own.shape[1])  # (groups, outputs, inputs)
        levels = np.concatenate([_rounded(*part, rounding) for part in zip(parts, own, cross, strict=True)])
        found.weights[name] = levels.reshape(weight.shape)
        rounded = torch.from_numpy(found.weights[name] * rounding.step).to(y)
        bias = layer.bias
        if centred and bias is not None:
            new = rounded.reshape(parts.shape)
            old = layer.weight.detach().reshape(parts.shape)
            bias = bias.detach() + (old @ mean - new @ other_mean).flatten()
            found.biases[name.removesuffix("weight") + "bias"] = bias
        run = F.linear if isinstance(layer, nn.Linear) else layer._conv_forward
        other = run(y, rounded, bias)
        return torch.cat([output[: len(x)], other])

    return hook


def _rounded(weights: np.ndarray, own: np.ndarray, cross: np.ndarray, rounding: Rounding) -> np.ndarray:
    """Levels (outputs, inputs) of one group, for its moments H and C."""
    inputs = len(own)
    diagonal = max(np.trace(own) / inputs, np.finfo(np.float64).tiny)
    own = own / diagonal + DAMPING * np.eye(inputs)
    cross = cross / diagonal + DAMPING * np.eye(inputs)
    moved = (weights + SHARE * np.linalg.solve(own, (weights @ (cross - own)).T).T) / rounding.step
    factor = input_factor(own, damping=0.0)
    lengths, rate_weight = rounding.code_lengths, rounding.rate_weight
    largest = len(lengths) // 2
    values = np.arange(-largest, largest + 1.0)
    start = (
        compensated_rounding(moved, factor, values, code_lengths=lengths, price=rate_weight).astype(np.int32) - largest
    )
    unit = factor.importance[0] * np.diagonal(factor.factor)[0] ** 2 * inputs / np.trace(own)
    return descend(start, moved, own * unit, code_lengths=lengths, rate_weight=rate_weight)
