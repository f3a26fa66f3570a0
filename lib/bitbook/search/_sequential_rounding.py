"""Rounding a candidate once more, layer by layer, for the inputs that the layers rounded before really give."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from bitbook import training
from bitbook.clustering import input_factor
from bitbook.codes import Coded
from bitbook.compression._inputs import layer_inputs
from bitbook.search._fast_divergence import FastDivergence
from bitbook.search._genes import Genes

POSITIONS = 16  # of each image's feature map: more images say more than more positions
DAMPING = 0.01  # of the moments' diagonal, as in `clustering.input_factor`


def round_again(
    genes: Genes, candidate: Iterable[int], fast: FastDivergence, images: Tensor, *, share: float = 0.5
) -> Coded:
    """Return a candidate's codes with indices chosen for what comes in once earlier layers are rounded.

    fast: of the float network. images: uint8 (N, C, H, W), all in memory at once; they go through the float network and
    the rounded one side by side, in one pass. In each layer the weights W are first moved to
    W + share * W (C - H) H^-1, where H = sum of y y^T and C = sum of x y^T over the layer's inputs x in the float
    network and y in the rounded one: with all of the share, 1, the outputs on y come as close as they can to the float
    ones on x, for these images; half of it serves other images better. The rest is compensated rounding with H. Source:
    arXiv 2210.17323 (GPTQ) for layers in turn, arXiv 2504.02692 for the float targets; the share is ours.
    """
    module = copy.deepcopy(fast.network)
    keys = dict(zip(genes.layers, genes.keys(np.fromiter(candidate, np.int64)), strict=True))
    found: dict[str, np.ndarray] = {}

    def layer_hook(name: str):
        def hook(layer: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
            x, y = arguments[0].split(len(images))
            if name not in found:
                found[name] = _rounded(genes, keys[name], layer, x, y, share)
            decoded = genes.codes([keys[name]], [found[name]]).decode()
            weight = torch.from_numpy(decoded[name]).to(y)
            if isinstance(layer, nn.Linear):
                other = F.linear(y, weight, layer.bias)
            else:
                other = F.conv2d(y, weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)
            return torch.cat([output[: len(x)], other])

        return hook

    def norm_hook(name: str):
        def hook(norm: _BatchNorm, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
            x, y = arguments[0].split(len(images))
            mean, var = fast.moved_statistics(name, x, y)
            other = F.batch_norm(y, mean, var, norm.weight, norm.bias, False, 0.0, norm.eps)
            return torch.cat([output[: len(x)], other])

        return hook

    for name, part in module.named_modules():
        if isinstance(part, nn.Conv2d | nn.Linear) and f"{name}.weight" in keys:
            part.register_forward_hook(layer_hook(f"{name}.weight"))
        elif isinstance(part, _BatchNorm) and part.track_running_stats:
            fast.restore(name, part)
            part.register_forward_hook(norm_hook(name))
    training.logits(module, torch.cat([images, images]), batch_size=2 * len(images))
    indices = [found[name] if name in found else genes.indices(key) for name, key in keys.items()]
    return genes.codes(list(keys.values()), indices)


def _rounded(genes: Genes, key: tuple[int, ...], layer: nn.Module, x: Tensor, y: Tensor, share: float) -> np.ndarray:
    """Indices of a layer for inputs x of the float network and y of the rounded one."""
    rows, others = (
        layer_inputs(layer, x, positions=POSITIONS),
        layer_inputs(layer, y, positions=POSITIONS),
    )  # (groups, inputs, n)
    own = (others @ others.transpose(1, 2)).double().cpu().numpy()  # H
    cross = (rows @ others.transpose(1, 2)).double().cpu().numpy()  # C
    weight = layer.weight.detach().double().cpu().numpy()
    parts = weight.reshape(len(own), -1, own.shape[1])  # (groups, outputs, inputs)
    damped = own + np.eye(own.shape[1]) * (DAMPING * np.trace(own, axis1=1, axis2=2) / own.shape[1])[:, None, None]
    moved = parts + share * np.linalg.solve(damped, (parts @ (cross - own)).transpose(0, 2, 1)).transpose(0, 2, 1)
    factors = [input_factor(moments, damping=DAMPING) for moments in own]
    return genes.indices(key, tensor=moved.reshape(weight.shape), factors=factors)
