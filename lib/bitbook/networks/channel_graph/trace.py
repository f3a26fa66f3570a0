"""Trace a classifier into its channel graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from bitbook.networks._normalise import Normalise
from bitbook.networks.channel_graph.graph import ChannelGraph, ChannelGraphError
from bitbook.networks.channel_graph.index_map import IndexMap
from bitbook.networks.channel_graph.layers import Layers
from bitbook.networks.channel_graph.operations import KINDS, Value, called, evaluate, works_in_place
from bitbook.networks.channel_graph.rearrangements import Rearrangements

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
    return _Trace(network, operations).run()


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


class _Trace(Layers, Rearrangements):
    """The rules of all kinds of operations, and those that treat channels one by one."""

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
        changed = node.all_input_nodes[0]
        if works_in_place(self.network, node) and any(
            user not in self.values for user in changed.users if user != node
        ):
            raise self.error(node, f"works in place on {changed.name}, which is read again later: give it a copy")
        return getattr(self, kind)(node)

    def elementwise(self, node: fx.Node) -> Value:
        x = self.operand(node)
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

    def softmax(self, node: fx.Node) -> Value:
        x = self.operand(node)
        self.fixed.append(x.ids)
        self.step(node, "softmax", x.ids)
        return x

    def output(self, node: fx.Node) -> None:
        returned = node.args[0]
        if not isinstance(returned, fx.Node) or self.values[returned] is None or self.values[returned].ids is None:
            raise ChannelGraphError("the network does not return one tensor of logits (trace it in evaluation mode)")
        if (self.values[returned].ids < 0).any():
            raise ChannelGraphError("the network returns channels padded with zeros")
        self.fixed.append(self.values[returned].ids)
        self.step(node, "output", None)
