"""Trace a classifier into its channel graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from bitbook.networks.channel_graph.graph import ChannelGraph, ChannelGraphError, Site, Step
from bitbook.networks.channel_graph.index_map import IndexMap
from bitbook.networks.channel_graph.operations import KINDS, Value, argument, called, described, evaluate
from bitbook.networks.normalise import Normalise

LEAVES = (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, Normalise, IndexMap)


def trace(network: nn.Module) -> ChannelGraph:
    """Return the channel graph of a classifier of images (N, C, H, W).

    Nothing is computed: no images, no weights are looked at. Raises ChannelGraphError, naming the module and the
    operation, for what torch.fx cannot trace and for an operation that the graph does not know.
    """
    tracer = _Tracer()
    try:
        operations = tracer.trace(network)
    except ChannelGraphError:
        raise
    except Exception as error:  # torch.fx raises many kinds; all of them mean the same here
        raise ChannelGraphError(f"{type(network).__name__}.forward cannot be traced by torch.fx: {error}") from error
    return _Walk(network, operations).run()


class _Tracer(fx.Tracer):
    """torch.fx's tracer; layers that own weights are leaves (subclasses too), and failures name the module."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, LEAVES) or super().is_leaf_module(module, name)

    def call_module(self, module: nn.Module, forward: Callable, args: tuple, kwargs: dict) -> Any:
        try:
            return super().call_module(module, forward, args, kwargs)
        except ChannelGraphError:
            raise
        except Exception as error:
            where = f"{self.path_of_module(module)} ({type(module).__name__})"
            raise ChannelGraphError(f"{where} cannot be traced by torch.fx: {error}") from error


class _Walk:
    """One pass over the operations in order: each gets the channels it makes from the channels it reads."""

    def __init__(self, network: nn.Module, operations: fx.Graph) -> None:
        self.network, self.operations = network, operations
        self.values: dict[fx.Node, Value | None] = {}  # None: not a tensor (a size)
        self.steps: list[Step] = []
        self.sites: list[Site] = []
        self.fixed: list[np.ndarray] = []
        self.count = 0

    def run(self) -> ChannelGraph:
        names: dict[nn.Parameter, str] = {}
        for name, parameter in self.network.named_parameters(remove_duplicate=False):
            if names.setdefault(parameter, name) != name:
                raise ChannelGraphError(f"{names[parameter]} and {name} are one parameter: it would move in two places")
        for node in self.operations.nodes:
            self.values[node] = self.visit(node)
        fixed = np.concatenate(self.fixed)
        return ChannelGraph(self.operations, tuple(self.steps), tuple(self.sites), fixed, self.count)

    def visit(self, node: fx.Node) -> Value | None:
        if node.op == "placeholder":
            return Value(None, "map")
        if node.op == "get_attr":
            return None
        kind = KINDS.get(called(self.network, node))
        read = [self.values[operand] for operand in node.all_input_nodes if self.values[operand] is not None]
        if kind == "size" or (kind in ("arithmetic", "getitem") and not read):
            return None
        if node.op == "output":
            return self.output(node)
        if read and all(value.ids is None for value in read) and kind not in ("convolution", "linear"):
            return read[0]  # whatever happens to the images before the first layer leaves no channel of ours
        if kind is None:
            raise self.error(node, "is not an operation that the channel graph knows")
        if any(value.ids is None for value in read) and kind not in ("convolution", "linear"):
            raise self.error(node, "mixes the network's input with its channels")
        return getattr(self, kind)(node)

    def error(self, node: fx.Node, fault: str) -> ChannelGraphError:
        return ChannelGraphError(f"{described(self.network, node)} {fault}")

    def step(self, node: fx.Node, kind: str, ids: np.ndarray | None, **more: Any) -> None:
        more.setdefault("operands", tuple(each for each in node.all_input_nodes if self.values[each] is not None))
        more.setdefault("operand_ids", tuple(self.values[operand].ids for operand in more["operands"]))
        self.steps.append(Step(kind=kind, node=node, ids=ids, **more))

    def fresh(self, count: int) -> np.ndarray:
        self.count += count
        return np.arange(self.count - count, self.count)  # (count,)

    def operand(self, node: fx.Node, position: int = 0) -> Value:
        operand = node.args[position] if position < len(node.args) else next(iter(node.kwargs.values()))
        return self.values[operand]

    def site(self, node: fx.Node, axis: int, ids: np.ndarray, groups: int = 1) -> None:
        module = self.network.get_submodule(node.target)
        if any(site.module == node.target and site.axis == axis for site in self.sites):
            raise self.error(node, "is called twice: its channels would have to move in two places at once")
        tensors = dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))
        if "weight" not in tensors and getattr(module, "affine", True):
            raise self.error(node, "has no weight of its own (torch.nn.utils.parametrize?)")
        names = ["weight"] if axis else [name for name, value in tensors.items() if value.ndim]
        odd = [name for name in names if not axis and len(tensors[name]) != len(ids)]
        if odd:
            raise self.error(node, f"has {', '.join(odd)} with another first axis than its {len(ids)} channels")
        self.sites.append(Site(node.target, axis, tuple(f"{node.target}.{name}" for name in names), ids, groups))

    def features(self, node: fx.Node, value: Value, width: int) -> np.ndarray:
        """Channels (width,) of the features that a layer reads: a channel of a flattened map is a run of features."""
        run, rest = divmod(width, len(value.ids))
        if rest or (run != 1 and value.form != "flat"):
            raise self.error(node, f"reads {width} features but gets {len(value.ids)} channels")
        return np.repeat(value.ids, run)

    def convolution(self, node: fx.Node) -> Value:
        module, x = self.network.get_submodule(node.target), self.operand(node)
        if x.form != "map":
            raise self.error(node, "reads something else than a map (N, C, H, W)")
        read = None if x.ids is None else self.features(node, x, module.in_channels)
        if read is not None and module.groups == module.in_channels > 1:
            ids = np.repeat(read, module.out_channels // module.in_channels)
            self.no_padding(node, ids)
            self.site(node, 0, ids)
            self.step(node, "scale", ids)
            return Value(ids, "map")
        return self.layer(node, read, module.out_channels, module.groups, "map")

    def linear(self, node: fx.Node) -> Value:
        module, x = self.network.get_submodule(node.target), self.operand(node)
        if x.ids is not None and x.form == "map":
            raise self.error(node, "reads a map (N, C, H, W) that was not flattened")
        read = None if x.ids is None else self.features(node, x, module.in_features)
        return self.layer(node, read, module.out_features, 1, "vector")

    def layer(self, node: fx.Node, read: np.ndarray | None, width: int, groups: int, form: str) -> Value:
        ids = self.fresh(width)
        self.site(node, 0, ids, groups)
        if read is not None:
            self.site(node, 1, read, groups)
        self.step(node, "layer", ids, operand_ids=(read,))
        return Value(ids, form)

    def batch_norm(self, node: fx.Node) -> Value:
        module, x = self.network.get_submodule(node.target), self.operand(node)
        if module.running_var is None:
            raise self.error(node, "has no running statistics")
        ids = self.features(node, x, module.num_features)
        self.no_padding(node, ids)
        self.site(node, 0, ids)
        self.step(node, "scale", ids)
        return Value(ids, "vector" if x.form == "flat" else x.form)

    def no_padding(self, node: fx.Node, ids: np.ndarray) -> None:
        if (ids < 0).any():
            raise self.error(node, "makes something of channels padded with zeros")

    def elementwise(self, node: fx.Node) -> Value:
        x = next(self.values[operand] for operand in node.all_input_nodes)
        if (x.ids < 0).any() and evaluate(self.network, node, torch.zeros(1, dtype=torch.float64)).item() != 0:
            self.no_padding(node, x.ids)
        self.step(node, "elementwise", x.ids)
        return x

    def arithmetic(self, node: fx.Node) -> Value:
        if len(node.args) != 2:
            raise self.error(node, "gets its two operands in another way than (a, b)")
        a, b = node.args
        for side in (a, b):
            if isinstance(side, fx.Node) and self.values[side] is None:
                raise self.error(node, f"combines channels with {side.name}, which is neither a number nor a channel")
        if not (isinstance(a, fx.Node) and isinstance(b, fx.Node)):
            return self.elementwise(node)
        x, y = self.values[a], self.values[b]
        product = called(self.network, node) in ("mul", "imul")
        if not product and called(self.network, node) not in ("add", "iadd", "sub", "isub"):
            raise self.error(node, "divides channels by channels")
        if "flat" in (x.form, y.form) or x.form != y.form or len(x.ids) != len(y.ids):
            raise self.error(node, f"meets {len(x.ids)} channels ({x.form}) with {len(y.ids)} ({y.form})")
        empty = (x.ids < 0) | (y.ids < 0) if product else (x.ids < 0) & (y.ids < 0)  # (C,)
        ids = np.where(empty, -1, self.fresh(len(x.ids)))
        self.step(node, "product" if product else "sum", ids, operands=(a, b))
        return Value(ids, x.form)

    def keeps_zero(self, node: fx.Node) -> Value:
        x = self.operand(node)
        self.step(node, "keeps_zero", x.ids)
        return x

    def pool(self, node: fx.Node) -> Value:
        if self.operand(node).form != "map":
            raise self.error(node, "pools something else than a map (N, C, H, W)")
        return self.keeps_zero(node)

    def softmax(self, node: fx.Node) -> Value:
        x = self.operand(node)
        self.fixed.append(x.ids)
        self.step(node, "softmax", x.ids)
        return x

    def mean(self, node: fx.Node) -> Value:
        dims = argument(node, 1, "dim", None)
        dims = sorted(d % 4 for d in dims) if isinstance(dims, (list, tuple)) else dims
        if dims != [2, 3] or self.operand(node).form != "map":
            raise self.error(node, "takes the mean over something else than a map's pixels, dimensions 2 and 3")
        x = self.keeps_zero(node)
        return x if argument(node, 2, "keepdim", False) else Value(x.ids, "vector")

    def flatten(self, node: fx.Node) -> Value:
        x = self.operand(node)
        if called(self.network, node) in ("view", "reshape"):
            shape = node.args[1:] if len(node.args) > 2 else node.args[1]
            fits = isinstance(shape, (list, tuple)) and len(shape) == 2
        elif node.op == "call_module":
            module = self.network.get_submodule(node.target)
            fits = (module.start_dim, module.end_dim) == (1, -1)
        else:
            fits = (argument(node, 1, "start_dim", 0), argument(node, 2, "end_dim", -1)) == (1, -1)
        if not fits:
            raise self.error(node, "makes another shape than (N, features)")
        self.step(node, "flatten", x.ids)
        return Value(x.ids, "flat" if x.form == "map" else x.form)

    def gather(self, node: fx.Node, source: np.ndarray) -> Value:
        x = self.operand(node)
        if x.form == "flat":
            raise self.error(node, "picks among the features of a flattened map")
        ids = np.where(source < 0, -1, x.ids[source])  # (C,)
        self.step(node, "gather", ids, source=source)
        return Value(ids, x.form)

    def index_map(self, node: fx.Node) -> Value:
        return self.gather(node, self.network.get_submodule(node.target).source)

    def getitem(self, node: fx.Node) -> Value:
        x, pick = self.operand(node), node.args[1]
        pick = pick if isinstance(pick, tuple) else (pick,)
        slices = all(isinstance(part, slice) for part in pick) and pick[0] == slice(None)
        if not slices or any(isinstance(edge, fx.Node) for part in pick for edge in (part.start, part.stop, part.step)):
            raise self.error(node, "picks by something else than slices with fixed bounds")
        if x.form == "flat" or len(pick) < 2 or pick[1] == slice(None):
            return self.keeps_zero(node)
        return self.gather(node, np.arange(len(x.ids))[pick[1]])

    def pad(self, node: fx.Node) -> Value:
        x, widths = self.operand(node), tuple(argument(node, 1, "pad", ()))
        mode, value = argument(node, 2, "mode", "constant"), argument(node, 3, "value", None)
        if mode != "constant" or value or x.form != "map" or len(widths) > 6 or min(widths[4:], default=0) < 0:
            raise self.error(node, "pads by something else than zeros in a map (N, C, H, W)")
        if not any(widths[4:]):
            return self.keeps_zero(node)
        return self.gather(node, np.pad(np.arange(len(x.ids)), widths[4:], constant_values=-1))

    def cat(self, node: fx.Node) -> Value:
        operands = tuple(argument(node, 0, "tensors", ()))
        parts = [self.values[operand] for operand in operands]
        form = parts[0].form
        if argument(node, 1, "dim", 0) != 1 or form == "flat" or any(part.form != form for part in parts):
            raise self.error(node, "joins along something else than the channels, dimension 1, of unflattened maps")
        ids = np.concatenate([part.ids for part in parts])
        self.step(node, "cat", ids, operands=operands)
        return Value(ids, form)

    def output(self, node: fx.Node) -> None:
        returned = node.args[0]
        if not isinstance(returned, fx.Node) or self.values[returned] is None or self.values[returned].ids is None:
            raise ChannelGraphError("the network does not return one tensor of logits (trace it in evaluation mode)")
        if (self.values[returned].ids < 0).any():
            raise ChannelGraphError("the network returns channels padded with zeros")
        self.fixed.append(self.values[returned].ids)
        self.step(node, "output", None)
