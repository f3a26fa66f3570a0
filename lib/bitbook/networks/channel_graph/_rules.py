"""The rules of the channel graph: how channels pass through every operation that it knows, one rule each, in a table.

A rule gets the walk over the network's operations, the operation and the value that it reads first. It says what the
operation does to channels (`walk.step`), where weights lie along them (`walk.site`), and returns the value made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from ._plan import IndexMap

if TYPE_CHECKING:
    from ._graph import Walk


PADDED = "makes something of channels padded with zeros"


@dataclass(frozen=True, eq=False)
class Value:
    """Channels of a tensor: ids (C,), or None for the network's input, which no operation of ours may touch.

    form: "map" (N, C, H, W), "flat" (N, C * H * W) with H and W unknown until a layer reads it, "vector" (N, C).
    """

    ids: np.ndarray | None
    form: str


def layer(walk: Walk, node: fx.Node, x: Value) -> Value:
    """A convolution or linear layer makes new channels, but for a depthwise convolution, which scales them."""
    module, convolves = walk.module(node), isinstance(walk.module(node), nn.Conv2d)
    walk.refuse(node, convolves and x.form != "map", "reads something else than a map (N, C, H, W)")
    unflattened = not convolves and x.form == "map" and x.ids is not None
    walk.refuse(node, unflattened, "reads a map (N, C, H, W) that was not flattened")
    width, inputs = module.weight.shape[0], module.in_channels if convolves else module.in_features
    groups, form = (module.groups, "map") if convolves else (1, "vector")
    read = None if x.ids is None else _features(walk, node, x, inputs)
    if read is not None and groups == inputs > 1:
        return _scale(walk, node, np.repeat(read, width // inputs), form)
    ids = walk.fresh(width)
    walk.site(node, 0, ids, groups)
    if read is not None:
        walk.site(node, 1, read, groups)
    return walk.step("layer", node, ids, form, operand_ids=(read,))


def batch_norm(walk: Walk, node: fx.Node, x: Value) -> Value:
    walk.refuse(node, walk.module(node).running_var is None, "has no running statistics")
    ids = _features(walk, node, x, walk.module(node).num_features)
    return _scale(walk, node, ids, "vector" if x.form == "flat" else x.form)


def _scale(walk: Walk, node: fx.Node, ids: np.ndarray, form: str) -> Value:
    walk.refuse(node, (ids < 0).any(), PADDED)
    walk.site(node, 0, ids)
    return walk.step("scale", node, ids, form)


def _features(walk: Walk, node: fx.Node, x: Value, width: int) -> np.ndarray:
    """Channels (width,) of the features that a layer reads: a channel of a flattened map is a run of features."""
    run, rest = divmod(width, len(x.ids))
    walk.refuse(node, rest or (run != 1 and x.form != "flat"), f"reads {width} features but gets {len(x.ids)} channels")
    return np.repeat(x.ids, run)


def elementwise(walk: Walk, node: fx.Node, x: Value) -> Value:
    if (x.ids < 0).any():
        zero = evaluate(walk.network, node, torch.zeros(1, dtype=torch.float64))
        walk.refuse(node, zero.item() != 0, PADDED)
    return walk.step("elementwise", node, x.ids, x.form)


def arithmetic(walk: Walk, node: fx.Node, x: Value) -> Value:
    walk.refuse(node, len(node.args) != 2, "gets its two operands in another form than (a, b)")
    nodes = [side for side in node.args if isinstance(side, fx.Node)]
    for side in nodes:
        fault = f"combines channels with {side.name}, which is neither a number nor a channel"
        walk.refuse(node, walk.values[side] is None, fault)
    if len(nodes) < 2:
        return elementwise(walk, node, x)
    x, y = (walk.values[side] for side in node.args)
    kind = {"mul": "product", "add": "sum", "sub": "sum"}.get(str(called(walk.network, node)).removeprefix("i"))
    walk.refuse(node, kind is None, "divides channels by channels")
    alike = x.form == y.form != "flat" and len(x.ids) == len(y.ids)
    walk.refuse(node, not alike, f"meets {len(x.ids)} channels ({x.form}) with {len(y.ids)} ({y.form})")
    empty = (np.logical_or if kind == "product" else np.logical_and)(x.ids < 0, y.ids < 0)  # (C,)
    ids = np.where(empty, -1, walk.fresh(len(x.ids)))
    return walk.step(kind, node, ids, x.form, operands=node.args)


def keeps_zero(walk: Walk, node: fx.Node, x: Value) -> Value:
    return walk.step("keeps_zero", node, x.ids, x.form)


def pool(walk: Walk, node: fx.Node, x: Value) -> Value:
    walk.refuse(node, x.form != "map", "pools something else than a map (N, C, H, W)")
    return keeps_zero(walk, node, x)


def mean(walk: Walk, node: fx.Node, x: Value) -> Value:
    dims = argument(node, 1, "dim", None)
    dims = sorted(d % 4 for d in dims) if isinstance(dims, (list, tuple)) else dims
    fault = "takes the mean over something else than a map's pixels, dimensions 2 and 3"
    walk.refuse(node, dims != [2, 3] or x.form != "map", fault)
    return walk.step("keeps_zero", node, x.ids, "map" if argument(node, 2, "keepdim", False) else "vector")


def flatten(walk: Walk, node: fx.Node, x: Value) -> Value:
    fits = (argument(node, 1, "start_dim", 0), argument(node, 2, "end_dim", -1)) == (1, -1)
    if node.op == "call_module":
        fits = (walk.module(node).start_dim, walk.module(node).end_dim) == (1, -1)
    elif called(walk.network, node) in ("view", "reshape"):
        shape = node.args[1:] if len(node.args) > 2 else argument(node, 1, "shape", ())
        fits = isinstance(shape, (list, tuple)) and len(shape) == 2
    walk.refuse(node, not fits, "makes another shape than (N, features)")
    return walk.step("flatten", node, x.ids, "flat" if x.form == "map" else x.form)


def softmax(walk: Walk, node: fx.Node, x: Value) -> Value:
    walk.fixed.append(x.ids)
    return walk.step("softmax", node, x.ids, x.form)


def index_map(walk: Walk, node: fx.Node, x: Value) -> Value:
    return _gather(walk, node, x, walk.module(node).source)


def getitem(walk: Walk, node: fx.Node, x: Value) -> Value:
    pick = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
    slices = all(isinstance(part, slice) for part in pick) and pick[0] == slice(None)
    fixed = slices and not any(isinstance(e, fx.Node) for part in pick for e in (part.start, part.stop, part.step))
    walk.refuse(node, not fixed, "picks by something else than slices with fixed bounds")
    if x.form == "flat" or len(pick) < 2 or pick[1] == slice(None):
        return keeps_zero(walk, node, x)
    return _gather(walk, node, x, np.arange(len(x.ids))[pick[1]])


def pad(walk: Walk, node: fx.Node, x: Value) -> Value:
    widths = tuple(argument(node, 1, "pad", ()))
    mode, value = argument(node, 2, "mode", "constant"), argument(node, 3, "value", None)
    fixed = all(isinstance(width, int) for width in widths) and min(widths[4:], default=0) >= 0
    walk.refuse(node, not fixed, "pads by something else than fixed, positive widths")
    zeros = mode == "constant" and not value and x.form == "map" and len(widths) <= 6
    walk.refuse(node, not zeros, "pads by something else than zeros in a map (N, C, H, W)")
    if not any(widths[4:]):
        return keeps_zero(walk, node, x)
    return _gather(walk, node, x, np.pad(np.arange(len(x.ids)), widths[4:], constant_values=-1))


def _gather(walk: Walk, node: fx.Node, x: Value, source: np.ndarray) -> Value:
    walk.refuse(node, x.form == "flat", "picks among the features of a flattened map")
    return walk.step("gather", node, np.where(source < 0, -1, x.ids[source]), x.form, source=source)


def cat(walk: Walk, node: fx.Node, x: Value) -> Value:
    operands = tuple(argument(node, 0, "tensors", ()))
    parts = [walk.values[operand] for operand in operands]
    fits = argument(node, 1, "dim", 0) == 1 and all(part.form == x.form != "flat" for part in parts)
    walk.refuse(node, not fits, "joins along something else than the channels, dimension 1, of unflattened maps")
    return walk.step("cat", node, np.concatenate([part.ids for part in parts]), x.form, operands=operands)


# rule -> the operations that follow it: classes of modules (subclasses too), names of functions and methods
_TABLE: dict[Callable, tuple[type | str, ...]] = {
    layer: (nn.Conv2d, nn.Linear),
    batch_norm: (nn.BatchNorm1d, nn.BatchNorm2d),
    elementwise: (
        *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus),
        *(nn.Sigmoid, nn.Tanh, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Identity),
        *("relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "mish", "softplus", "sigmoid", "tanh", "hardswish"),
        *("hardsigmoid", "hardtanh", "clamp", "contiguous", "clone"),
    ),
    arithmetic: ("add", "iadd", "sub", "isub", "mul", "imul", "div", "truediv", "floordiv", "mod"),
    keeps_zero: (nn.Dropout, nn.Dropout2d, "dropout", "dropout2d", "stochastic_depth"),
    pool: (
        *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
        *("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d"),
    ),
    mean: ("mean",),
    flatten: (nn.Flatten, "flatten", "view", "reshape"),
    softmax: (nn.Softmax, nn.LogSoftmax, "softmax", "log_softmax"),
    index_map: (IndexMap,),
    getitem: ("getitem",),
    pad: ("pad",),
    cat: ("cat", "concat"),
}
RULES = {operation: rule for rule, operations in _TABLE.items() for operation in operations}


def called(network: nn.Module, node: fx.Node) -> type | str:
    """What a node calls: the first known class of a module, or the name of a function or attribute (add_ is add)."""
    if node.op == "call_module":
        classes = type(network.get_submodule(node.target)).__mro__
        return next((known for known in classes if known in RULES), classes[0])
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


def evaluate(network: nn.Module, node: fx.Node, value: Tensor) -> Tensor:
    """Run an elementwise operation on a value of one's own, which is left as it was."""
    args, kwargs = (fx.map_arg(each, lambda _: value.clone()) for each in (node.args, node.kwargs))
    if node.op == "call_module":
        return network.get_submodule(node.target)(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], node.target)(*args[1:], **kwargs)
    return node.target(*args, **kwargs)
