"""Rewrite a shrunken network's operations so that channels line up where they meet."""

from __future__ import annotations

import numpy as np
import torch
from torch import fx

from bitbook.networks.channel_graph.graph import ChannelGraph, ChannelGraphError, Step
from bitbook.networks.channel_graph.index_map import IndexMap
from bitbook.networks.channel_graph.operations import argument, called, described


def line_up(smaller: fx.GraphModule, graph: ChannelGraph, present: np.ndarray) -> None:
    """Rewrite the operations of `smaller`, a copy of graph.operations in the same order, for the channels present.

    present: (count + 1,) bool by id, False at -1. Sums get their operands mapped to the channels that any of them has,
    products to those that both have; channel slices and zero padding become maps; fixed numbers of features go.
    """
    twins = dict(zip(graph.operations.nodes, smaller.graph.nodes, strict=True))
    for step in graph.steps:
        twin = twins[step.node]
        if step.kind in ("sum", "product"):
            for position, ids in enumerate(step.operand_ids):
                source = _places(present[ids])[present[step.ids]]
                twin.update_arg(position, _mapped(smaller, twin.args[position], source, int(present[ids].sum()), twin))
        elif step.kind == "gather":
            _replace_gather(smaller, step, twin, present)
        elif called(smaller, step.node) in ("view", "reshape"):
            with smaller.graph.inserting_before(twin):
                flat = smaller.graph.call_function(torch.flatten, (twin.all_input_nodes[0], 1))
            twin.replace_all_uses_with(flat)
            smaller.graph.erase_node(twin)
        elif called(smaller, step.node) in ("dropout", "dropout2d", "stochastic_depth"):  # functions; modules are fine
            fault = "as a function keeps the mode it was traced in: use a module, such as nn.Dropout"
            raise ChannelGraphError(f"{described(smaller, step.node)} {fault}")
    smaller.graph.lint()
    smaller.recompile()
    smaller.delete_all_unused_submodules()


def _places(there: np.ndarray) -> np.ndarray:
    return np.where(there, np.cumsum(there) - 1, -1)  # (C,) position among the channels that are there, -1: none


def _mapped(smaller: fx.GraphModule, value: fx.Node, source: np.ndarray, width: int, before: fx.Node) -> fx.Node:
    """The value of `width` channels through an index map, unless that would change nothing."""
    if np.array_equal(source, np.arange(width)):
        return value
    number = 0
    while hasattr(smaller, f"index_map_{number}"):
        number += 1
    smaller.add_submodule(f"index_map_{number}", IndexMap(source).to(next(smaller.parameters()).device))
    with smaller.graph.inserting_before(before):
        return smaller.graph.call_module(f"index_map_{number}", (value,))


def _replace_gather(smaller: fx.GraphModule, step: Step, twin: fx.Node, present: np.ndarray) -> None:
    """Take the channels out of a slice, a padding or an older map, and put a map of its own behind it."""
    (ids,) = step.operand_ids
    source = _places(present[ids])[step.source[present[step.ids]]]
    value = twin.all_input_nodes[0]
    if twin.op != "call_module" and called(smaller, twin) == "getitem":
        batch, _, *pixels = twin.args[1]
        twin.update_arg(1, (batch, slice(None), *pixels))
        value = twin
    elif twin.op != "call_module" and any(argument(twin, 1, "pad", ())[:4]):
        twin.args, twin.kwargs = (value, argument(twin, 1, "pad", ())[:4]), {}
        value = twin
    mapped = _mapped(smaller, value, source, int(present[ids].sum()), twin.next)
    twin.replace_all_uses_with(mapped, delete_user_cb=lambda user: user is not mapped)
    if value is not twin:
        smaller.graph.erase_node(twin)
