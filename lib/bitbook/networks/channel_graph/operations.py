"""What the channel graph knows of PyTorch's operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, fx, nn

from bitbook.networks.channel_graph.index_map import IndexMap


@dataclass(frozen=True, eq=False)
class Value:
    """Channels of a tensor: ids (C,), or None for the network's input, which no operation of ours may touch.

    form: "map" (N, C, H, W), "flat" (N, C * H * W) with H and W unknown until a layer reads it, "vector" (N, C).
    """

    ids: np.ndarray | None
    form: str


# by module class, or by the name of a function or method
_BY_KIND: dict[str, tuple] = {
    "convolution": (nn.Conv2d,),
    "linear": (nn.Linear,),
    "batch_norm": (nn.BatchNorm1d, nn.BatchNorm2d),
    "elementwise": (
        *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus),
        *(nn.Sigmoid, nn.Tanh, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Identity),
        *("relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "mish", "softplus", "sigmoid", "tanh", "hardswish"),
        *("hardsigmoid", "hardtanh", "clamp", "contiguous", "clone"),
    ),
    "keeps_zero": (nn.Dropout, nn.Dropout2d, "dropout", "dropout2d", "stochastic_depth"),
    "pool": (
        *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
        *("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d"),
    ),
    "arithmetic": ("add", "iadd", "sub", "isub", "mul", "imul", "div", "truediv", "floordiv", "mod"),
    "softmax": (nn.Softmax, nn.LogSoftmax, "softmax", "log_softmax"),
    "mean": ("mean",),
    "flatten": (nn.Flatten, "flatten", "view", "reshape"),
    "getitem": ("getitem",),
    "pad": ("pad",),
    "cat": ("cat", "concat"),
    "index_map": (IndexMap,),
    "size": ("size", "shape"),
}
KINDS = {operation: kind for kind, operations in _BY_KIND.items() for operation in operations}


def called(network: nn.Module, node: fx.Node) -> type | str:
    """What a node calls: the first known class of a module, or the name of a function or attribute (add_ is add)."""
    if node.op == "call_module":
        classes = type(network.get_submodule(node.target)).__mro__
        return next((known for known in classes if known in KINDS), classes[0])
    if node.target is getattr:
        return node.args[1]
    return getattr(node.target, "__name__", str(node.target)).rstrip("_")


def described(network: nn.Module, node: fx.Node) -> str:
    """Where an operation stands and what it is, for a message: "layer1.0 (BasicBlock): view"."""
    path, owner = next(reversed(node.meta.get("nn_module_stack", {"": ("", type(network))}).values()))
    owner, operation = (what if isinstance(what, str) else what.__name__ for what in (owner, called(network, node)))
    return f"{path or 'the network'} ({owner}): {operation}"


def argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    """An argument of a function call, wherever it was written."""
    return node.args[position] if position < len(node.args) else node.kwargs.get(name, default)


def works_in_place(network: nn.Module, node: fx.Node) -> bool:
    """Whether an operation changes what it reads."""
    if node.op == "call_module":
        return getattr(network.get_submodule(node.target), "inplace", False)
    name = getattr(node.target, "__name__", str(node.target))
    return name.endswith("_") or name in ("iadd", "isub", "imul") or bool(node.kwargs.get("inplace"))


def evaluate(network: nn.Module, node: fx.Node, value: Tensor) -> Tensor:
    """Run an elementwise operation on a value of one's own, which is left as it was."""
    args = fx.map_arg(node.args, lambda _: value.clone())
    kwargs = fx.map_arg(node.kwargs, lambda _: value.clone())
    if node.op == "call_module":
        return network.get_submodule(node.target)(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], node.target)(*args[1:], **kwargs)
    return node.target(*args, **kwargs)
