"""Remove channels: an ordinary smaller network, and where its weights come from."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
from torch import fx, nn

from bitbook.networks.channel_graph.graph import ChannelGraph, ChannelGraphError, Index, indices
from bitbook.networks.channel_graph.rewrite import line_up
from bitbook.networks.channel_graph.zeros import needs


class SmallerNetwork(fx.GraphModule):
    """A network that lost channels; unlike copies of torch.fx's own modules, its copies keep the specification."""

    def __deepcopy__(self, memo: dict) -> SmallerNetwork:
        twin = super().__deepcopy__(memo)
        if hasattr(self, "specification"):
            twin.specification = copy.deepcopy(self.specification, memo)
        return twin


def remove(
    network: nn.Module, graph: ChannelGraph, channels: Mapping[str, Sequence[int]], *, tolerance: float = 1e-6
) -> SmallerNetwork:
    """Return the smaller network without the given output channels of layers; it computes the same function.

    channels: positions by module name, of linear layers and convolutions (depthwise ones follow what they read);
    zero_channels finds them. A layer keeps one channel at least. The given network stays as it is. Where it has a
    `specification`, the smaller one has its own, from which bitbook.networks.build makes the same architecture.

    Raises ChannelGraphError, naming layer and channel, where the function would change: where a channel still reaches
    a reader as something else than zero (by more than `tolerance`), such as the constant that a bias or a batch-norm
    shift makes of zero weights. Bring that to zero first: folded into the reader it would be wrong at padded borders.
    """
    _check_exact(network, graph, channels, tolerance)
    kept = _kept(graph, channels)
    smaller = shrink(network, graph, kept)
    if hasattr(network, "specification"):
        smaller.specification = _specification(graph, kept, network.specification)
    return smaller


def removal(graph: ChannelGraph, channels: Mapping[str, Sequence[int]]) -> dict[str, Index]:
    """Return where the smaller network's parameters and buffers come from, by state-dict name: for optimiser state."""
    return _indices(graph, _presence(graph, _kept(graph, channels)))


def shrink(network: nn.Module, graph: ChannelGraph, kept: Mapping[str, np.ndarray]) -> SmallerNetwork:
    """Return the network with the kept output channels only: positions by layer, all of a layer that is not named.

    Modules keep their names and weights; where channels meet that no longer line up, an IndexMap puts them in place.
    """
    present = _presence(graph, kept)
    index = _indices(graph, present)
    smaller = SmallerNetwork(network, copy.deepcopy(graph.operations), type(network).__name__)
    for node in graph.operations.nodes:
        if node.op == "call_module":
            smaller.set_submodule(node.target, _narrow(network.get_submodule(node.target), node.target, index))
    line_up(smaller, graph, present)
    return smaller.train(network.training)


def unpack_mask(graph: ChannelGraph, layer: str, mask: str) -> np.ndarray:
    """Return the positions that a hexadecimal bit mask keeps; raises ChannelGraphError where it does not fit."""
    width = len(_channels_of(graph, layer))
    try:
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(mask), dtype=np.uint8))
    except ValueError:
        bits = np.zeros(0, dtype=np.uint8)
    if len(bits) != -(-width // 8) * 8 or bits[width:].any() or not bits.any():
        raise ChannelGraphError(f"{layer}: {mask!r} is no hexadecimal mask of some of its {width} channels")
    return np.flatnonzero(bits)


def _specification(graph: ChannelGraph, kept: Mapping[str, np.ndarray], specification: Mapping) -> dict:
    """The specification of the smaller network, always in terms of the network that was never shrunk."""
    of, masks = specification, {}
    if specification["factory"] == "shrunk":
        of, masks = specification["arguments"]["of"], dict(specification["arguments"]["kept"])
    for layer, stay in kept.items():
        bits = np.ones(len(graph.layers[layer]), dtype=np.uint8)
        if layer in masks:
            bits = np.unpackbits(np.frombuffer(bytes.fromhex(masks[layer]), dtype=np.uint8))
        old = np.flatnonzero(bits)
        if len(stay) < len(old):
            bits[np.delete(old, stay)] = 0
            masks[layer] = np.packbits(bits).tobytes().hex()
    return {"factory": "shrunk", "arguments": {"of": of, "kept": masks}}


def _channels_of(graph: ChannelGraph, layer: str) -> np.ndarray:
    if layer not in graph.layers:
        raise ChannelGraphError(f"{layer}: not a convolution or linear layer of this network that makes channels")
    return graph.layers[layer]


def _kept(graph: ChannelGraph, channels: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
    kept = {}
    for layer, gone in channels.items():
        stay = np.setdiff1d(np.arange(len(_channels_of(graph, layer))), gone)
        kept[layer] = stay if len(stay) else np.zeros(1, dtype=np.int64)
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


def _check_exact(network: nn.Module, graph: ChannelGraph, channels: Mapping, tolerance: float) -> None:
    found = needs(network, graph, tolerance=tolerance)
    for layer, gone in channels.items():
        ids = _channels_of(graph, layer)
        for position in gone:
            if not 0 <= position < len(ids):
                raise ChannelGraphError(f"{layer}: has {len(ids)} channels, and no channel {position} to remove")
            if found.needed[ids[position]]:
                value, reader = found.value[ids[position]], found.reader[ids[position]]
                refused = f"{layer}: channel {position} cannot be removed"
                if reader < 0:
                    raise ChannelGraphError(f"{refused}: the network returns it")
                how = "varying with the image" if np.isnan(value) else f"as the constant {value:.3g}"
                remedy = "bring its weights, and the bias and batch-norm shift on its way, to zero first"
                raise ChannelGraphError(f"{refused}: it reaches {graph.steps[reader].node.name} {how}; {remedy}")


def _indices(graph: ChannelGraph, present: np.ndarray) -> dict[str, Index]:
    taken = []
    for site in graph.sites:
        there = present[site.ids].reshape(site.groups, -1)  # (groups, n / groups)
        counts = there.sum(1).tolist()
        least = 2 if site.axis == 1 and site.groups > 1 else 1  # with one it would be a depthwise convolution
        if len(set(counts)) > 1 or counts[0] < least:
            what = "inputs" if site.axis else "outputs"
            raise ChannelGraphError(
                f"{site.module}: would keep {counts} {what}; keep {least} or more, as many in each group"
            )
        positions = np.flatnonzero(there)
        taken.append(positions % there.shape[1] if site.axis == 1 else positions)
    return indices(graph, taken)


def _narrow(module: nn.Module, name: str, index: Mapping[str, Index]) -> nn.Module:
    """A copy of a module with the entries that stay."""
    narrow = copy.deepcopy(module)
    for key, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
        if f"{name}.{key}" in index:
            taken = index[f"{name}.{key}"].take(value.detach())
            setattr(narrow, key, nn.Parameter(taken, value.requires_grad) if isinstance(value, nn.Parameter) else taken)
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
