"""Layers rounded one after the other: inputs as the rounded layers before give them, targets of the float network."""

import copy
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from bitbook.compression._inputs import is_torch_s_own, layer_inputs
from bitbook.networks import batch_norms

DAMPING = 0.01  # of the moments' diagonal, as a share of its mean
SHARE = 0.5  # of the errors of earlier layers that a layer makes up for; all of it suits only the images at hand
SAMPLES = 8000  # inputs of a layer on which its moments are taken, at least
MOST_INPUTS = 8192  # of a layer; the moments of more would fill the memory

Round = Callable[[str, np.ndarray, np.ndarray], np.ndarray]


def round_in_turn(
    network: nn.Module, images: Tensor, layers: Mapping[str, bool], round_layer: Round
) -> dict[str, Tensor]:
    """Round layers one after the other, in the order in which they run, and return the biases that go with them.

    The images go through the float network and the rounded one side by side, in one pass. In each layer the weights W
    are first moved to W + SHARE * W (C - H) H^-1, where H = sum of y y^T and C = sum of x y^T over the layer's inputs x
    in the float network and y in the rounded one. Batch norms of the rounded network use the statistics of these
    images. Where the mean of a layer's outputs is free, x and y are taken from their means, and a bias makes up for the
    difference. Source: arXiv 2210.17323 (GPTQ) for layers in turn, arXiv 2504.02692 for the float targets; the share
    and the free mean are ours.

    Args:
        network: any module; left as it is.
        images: (n, ...) as the network takes them; all are in memory at once.
        layers: by the weight's name, from `watchable`; whether the mean of their outputs is free.
        round_layer: is given the weight's name, the moved weights, float64 in the layer's shape, and H, (groups,
            inputs, inputs) float64, damped and with a mean diagonal near one; gives the rounded weights.

    Returns:
        Biases by name, of the layers that have one and whose mean is free.
    """
    network, biases = copy.deepcopy(network).eval(), {}
    positions = -(-SAMPLES // len(images))  # of each image's feature map

    def hook(name: str, free: bool) -> Callable:
        def run(layer: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
            x, y = arguments[0].chunk(2)
            wide = torch.promote_types(x.dtype, torch.float32)
            rows, others = (layer_inputs(layer, z.to(wide), positions=positions) for z in (x, y))  # (groups, inputs, n)
            if not (rows.isfinite().all() and others.isfinite().all()):
                raise ValueError(f"{name}: inputs of this layer are not finite: scale the calibration data")
            mean, other_mean = rows.mean(2, keepdim=True), others.mean(2, keepdim=True)
            if free:
                rows, others = rows - mean, others - other_mean
            weight = layer.weight.detach()
            moved, moments = _moved(weight, others @ others.transpose(1, 2), rows @ others.transpose(1, 2))
            rounded = torch.from_numpy(np.asarray(round_layer(name, moved, moments))).to(y)
            bias = layer.bias
            if free and bias is not None:
                old, new = (w.to(wide).reshape(len(rows), -1, rows.shape[1]) for w in (weight, rounded))
                bias = (bias.detach() + (old @ mean - new @ other_mean).flatten()).to(bias.dtype)
                biases[name.removesuffix("weight") + "bias"] = bias
            forward = F.linear if isinstance(layer, nn.Linear) else layer._conv_forward
            return torch.cat([output[: len(x)], forward(y, rounded, bias)])

        return run

    for name, module in network.named_modules():  # hooks of the user's run after ours, on both halves
        if f"{name}.weight" in layers:
            module.register_forward_hook(hook(f"{name}.weight", layers[f"{name}.weight"]), prepend=True)
    for norm in batch_norms(network).values():
        norm.register_forward_hook(_norm_hook, prepend=True)
    with torch.inference_mode():
        network(torch.cat([images, images]))
    return biases


def watchable(network: nn.Module, images: Tensor) -> dict[str, bool]:
    """Return the layers that `round_in_turn` can take, by the weight's name, and whether their outputs' mean is free.

    It is where a batch norm follows at once, or where the layer has a bias. Taken are linear layers and convolutions
    padded with zeros, of at most 8,192 inputs, that run once for a batch and keep its images apart along the first
    axis.
    """
    network = copy.deepcopy(network).eval()
    owners = Counter(id(module._parameters.get("bias")) for module in network.modules())
    owners[id(None)] = 0
    runs: dict[str, list[bool]] = {}
    outputs: dict[str, Tensor] = {}
    free: dict[str, bool] = {}

    def layer_hook(name: str) -> Callable:
        def hook(layer: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
            if not arguments:  # called by keyword
                runs.setdefault(name, []).append(False)
                return
            x = arguments[0]
            twins = len(x) % 2 == 0 and torch.allclose(*x.chunk(2), rtol=1e-3, atol=1e-5)
            runs.setdefault(name, []).append(twins and (isinstance(layer, nn.Linear) or x.ndim == 4))
            outputs[name], free[name] = output, owners[id(layer.bias)] == 1

        return hook

    def norm_hook(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        for name, output in outputs.items():
            free[name] |= arguments[0] is output

    for name, module in network.named_modules():
        fits = isinstance(module, nn.Conv2d | nn.Linear) and module.weight[0].numel() <= MOST_INPUTS
        if fits and getattr(module, "padding_mode", "zeros") == "zeros" and is_torch_s_own(module):
            module.register_forward_hook(layer_hook(f"{name}.weight"), prepend=True)
    for norm in batch_norms(network).values():
        norm.register_forward_pre_hook(norm_hook, prepend=True)
    try:
        with torch.inference_mode():
            network(torch.cat([images[:2], images[:2]]))
    except Exception:
        return {}
    return {name: free[name] for name, twins in runs.items() if twins == [True]}


def _norm_hook(norm: _BatchNorm, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
    y = arguments[0].chunk(2)[1]
    other = F.batch_norm(y, None, None, norm.weight, norm.bias, True, 0.0, norm.eps)
    return torch.cat([output[: len(y)], other])


def _moved(weight: Tensor, own: Tensor, cross: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Weights moved for the inputs' moments H and C, and H, damped."""
    own, cross = own.double().cpu().numpy(), cross.double().cpu().numpy()  # (groups, inputs, inputs)
    weights = weight.double().cpu().numpy()
    parts = weights.reshape(len(own), -1, own.shape[1])  # (groups, outputs, inputs)
    diagonal = np.trace(own, axis1=1, axis2=2) / own.shape[1]
    own, cross = (x / np.maximum(diagonal, np.finfo(np.float64).tiny)[:, None, None] for x in (own, cross))
    own = own + DAMPING * np.eye(own.shape[1])
    # Of the damped moments in both places, so that what is damped moves nothing.
    cross = cross + DAMPING * np.eye(own.shape[1])
    step = np.linalg.solve(own, (parts @ (cross - own)).transpose(0, 2, 1)).transpose(0, 2, 1)
    return (parts + SHARE * step).reshape(weights.shape), own
