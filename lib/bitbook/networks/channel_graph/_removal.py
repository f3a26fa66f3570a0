"""Remove channels: the plan, the ordinary smaller network and its specification."""

import copy
import itertools
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import torch
from torch import fx, nn

from ._graph import ChannelGraph, Step, trace
from ._permutation import groups
from ._plan import ChannelGraphError, IndexMap, Plan
from ._rules import argument, called, described
from ._zeros import check_zero


class SmallerNetwork(fx.GraphModule):
    """A network that lost channels; unlike copies of torch.fx's own modules, its copies keep the specification."""

    def __deepcopy__(self, memo: dict) -> Self:
        twin = super().__deepcopy__(memo)
        if hasattr(self, "specification"):
            twin.specification = copy.deepcopy(self.specification, memo)
        return twin


def remove(
    network: nn.Module,
    graph: ChannelGraph,
    channels: Mapping[str, Sequence[int] | np.ndarray],
    *,
    tolerance: float | None = 1e-6,
) -> SmallerNetwork:
    """Return the smaller network without some output channels of layers; it computes the same function.

    Args:
        network: stays as it is. Where it has a `specification`, the smaller one has its own, from which
            bitbook.networks.build makes the same architecture.
        channels: positions by module name, of linear layers and convolutions (depthwise ones follow what they read);
            zero_channels finds them. A layer keeps one channel at least.
        tolerance: with None nothing is checked, and the function may change.

    Raises:
        ChannelGraphError: naming layer and channel, where the function would change: where a channel still reaches a
            reader as something else than zero (by more than `tolerance`), such as the constant that a bias or a
            batch-norm shift makes of zero weights. Bring that to zero first: folded into the reader it would be wrong
            at padded borders.
    """
    kept = _kept(graph, channels)
    if tolerance is not None:
        check_zero(network, graph, channels, tolerance=tolerance)
    smaller = _rewrite(network, graph, kept)
    if hasattr(network, "specification"):
        smaller.specification = _specification(graph, kept, network.specification)
    return smaller


def removal(graph: ChannelGraph, channels: Mapping[str, Sequence[int] | np.ndarray]) -> Plan:
    """Return the plan of a removal: it shrinks state dicts, optimiser state and averages as `remove` shrinks a network.

    The plan does not ask whether the channels are zero. Raises ChannelGraphError for what no smaller network can be.
    """
    return _plan(graph, _presence(graph, _kept(graph, channels)))


def shrunk(*, of: Mapping, kept: Mapping[str, str | int]) -> nn.Module:
    """The network of specification `of` with only the kept output channels of some layers.

    kept: for each layer that lost channels, a hexadecimal bit mask of those that stay, the first channel first, padded
    with zeros to whole bytes; or their number, where it does not matter which. Raises ChannelGraphError for a mask or
    number that does not fit.
    """
    from bitbook.networks import build

    network = build(of)
    graph = trace(network)
    stay = {}
    for layer, mask in kept.items():
        width = len(_ids(graph, layer))
        if type(mask) is int and 0 < mask <= width:
            stay[layer] = np.arange(mask)
            continue
        try:
            bits = _bits(mask)  # type: ignore[arg-type]  # refused below
        except (ValueError, TypeError):
            bits = np.zeros(0, dtype=np.uint8)
        if len(bits) != -(-width // 8) * 8 or bits[width:].any() or not bits.any():
            raise ChannelGraphError(
                f"{layer}: {mask!r} is no hexadecimal mask or number of some of its {width} channels"
            )
        stay[layer] = np.flatnonzero(bits)
    return _rewrite(network, graph, stay)


def _bits(mask: str) -> np.ndarray:
    return np.unpackbits(np.frombuffer(bytes.fromhex(mask), dtype=np.uint8))


def _specification(graph: ChannelGraph, kept: Mapping[str, np.ndarray], specification: Mapping) -> dict:
    """The specification of the smaller network, always in terms of the network that was never shrunk."""
    of, masks = specification, {}
    if specification["factory"] == "shrunk":
        of, masks = specification["arguments"]["of"], dict(specification["arguments"]["kept"])
    alone = _alone(graph)
    for layer, stay in kept.items():
        if layer in alone:
            masks[layer] = len(stay)
            continue
        bits = _bits(masks[layer]) if layer in masks else np.ones(len(graph.layers[layer]), dtype=np.uint8)
        old = np.flatnonzero(bits)
        if len(stay) < len(old):
            bits[np.delete(old, stay)] = 0
            masks[layer] = np.packbits(bits).tobytes().hex()
    return {"factory": "shrunk", "arguments": {"of": of, "kept": masks}}


def _alone(graph: ChannelGraph) -> set[str]:
    """The layers whose channels may be reordered with those of no other: any of the same number leave one network."""
    found = set()
    for group in groups(graph):
        makers = [place for place in group.parents if place.module in graph.layers]
        if len(makers) == 1 and makers[0].positions.size == len(graph.layers[makers[0].module]):
            found.add(makers[0].module)
    return found


def _ids(graph: ChannelGraph, layer: str) -> np.ndarray:
    if layer not in graph.layers:
        raise ChannelGraphError(f"{layer}: not a convolution or linear layer of this network that makes channels")
    return graph.layers[layer]


def _kept(graph: ChannelGraph, channels: Mapping[str, Sequence[int] | np.ndarray]) -> dict[str, np.ndarray]:
    """The positions that stay, by layer; of a layer that would lose all, the first."""
    kept = {}
    for layer, gone in channels.items():
        every = np.arange(len(_ids(graph, layer)))
        if len(unknown := np.setdiff1d(gone, every)):
            raise ChannelGraphError(f"{layer}: has {len(every)} channels, and no channel {unknown[0]} to remove")
        stay = np.setdiff1d(every, gone)
        kept[layer] = stay if len(stay) else every[:1]
    return kept


def _presence(graph: ChannelGraph, kept: Mapping[str, np.ndarray]) -> np.ndarray:
    """Which channels are still there: (count + 1,) bool, the last entry False for id -1."""
    present = np.zeros(graph.count + 1, dtype=bool)
    for step in graph.steps:
        if step.kind == "layer":
            present[step.ids[kept.get(step.node.target, slice(None))]] = True
        elif step.kind in ("sum", "product"):
            join = np.logical_or if step.kind == "sum" else np.logical_and
            present[step.ids[join(*(present[ids] for ids in step.operand_ids))]] = True
    if not present[graph.fixed].all():
        raise ChannelGraphError("the network's outputs (classes) cannot be removed")
    return present


def _plan(graph: ChannelGraph, present: np.ndarray) -> Plan:
    """The plan that takes the channels present; raises ChannelGraphError where a layer would not be one any more."""
    taken = []
    for site in graph.sites:
        there = present[site.ids].reshape(site.groups, -1)  # (groups, n / groups)
        counts = there.sum(1).tolist()
        least = 2 if site.axis == 1 and site.groups > 1 else 1  # with one it would be a depthwise convolution
        if len(set(counts)) > 1 or counts[0] < least:
            would = f"would keep {counts} {'inputs' if site.axis else 'outputs'}"
            raise ChannelGraphError(f"{site.module}: {would}; keep {least} or more, as many in each group")
        positions = np.flatnonzero(there)
        taken.append(positions % there.shape[1] if site.axis == 1 else positions)
    return graph.plan(taken)


def _rewrite(network: nn.Module, graph: ChannelGraph, kept: Mapping[str, np.ndarray]) -> SmallerNetwork:
    """The network with the kept output channels only: positions by layer, all of a layer that is not named.

    Modules keep their names and weights. Sums get their operands mapped to the channels that any of them has, products
    to those that both have; channel slices and zero padding become maps; fixed numbers of features go.
    """
    present = _presence(graph, kept)
    plan = _plan(graph, present).along(network)
    smaller = SmallerNetwork(network, copy.deepcopy(graph.operations), type(network).__name__)
    for node in graph.operations.nodes:
        if node.op == "call_module":
            smaller.set_submodule(node.target, _narrow(network.get_submodule(node.target), node.target, plan))
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
            twin.op, twin.target = "call_function", torch.flatten
            twin.args, twin.kwargs = (twin.all_input_nodes[0], 1), {}
        elif called(smaller, step.node) in ("dropout", "dropout2d", "stochastic_depth"):  # functions; modules are fine
            fault = "as a function keeps the mode it was traced in: use a module, such as nn.Dropout"
            raise ChannelGraphError(f"{described(smaller, step.node)} {fault}")
    smaller.graph.lint()
    smaller.recompile()
    smaller.delete_all_unused_submodules()
    return smaller.train(network.training)


def _narrow(module: nn.Module, name: str, plan: Plan) -> nn.Module:
    """A copy of a module with the entries that stay."""
    narrow = copy.deepcopy(module)
    for key, value in [*module.named_parameters(), *module.named_buffers()]:  # those of parametrisations, too
        if f"{name}.{key}" in plan:
            taken = plan[f"{name}.{key}"].take(value.detach())
            owner, _, attribute = key.rpartition(".")
            own = nn.Parameter(taken, value.requires_grad) if isinstance(value, nn.Parameter) else taken
            setattr(narrow.get_submodule(owner), attribute, own)
    if isinstance(module, nn.Conv2d):
        narrow.out_channels = len(narrow.weight)
        if module.groups == module.in_channels > 1:  # depthwise
            narrow.groups = narrow.out_channels * module.groups // module.out_channels
        narrow.in_channels = narrow.weight.shape[1] * narrow.groups
    elif isinstance(module, nn.Linear):
        narrow.out_features, narrow.in_features = narrow.weight.shape
    elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
        narrow.num_features = len(narrow.running_var)
    return narrow


def _places(there: np.ndarray) -> np.ndarray:
    return np.where(there, np.cumsum(there) - 1, -1)  # (C,) position among the channels that are there, -1: none


def _mapped(smaller: fx.GraphModule, value: fx.Node, source: np.ndarray, width: int, before: fx.Node) -> fx.Node:
    """The value of `width` channels through an index map, unless that would change nothing."""
    if np.array_equal(source, np.arange(width)):
        return value
    name = next(name for name in map("index_map_{}".format, itertools.count()) if not hasattr(smaller, name))
    smaller.add_submodule(name, IndexMap(source).to(next(smaller.parameters()).device))
    with smaller.graph.inserting_before(before):
        return smaller.graph.call_module(name, (value,))


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
