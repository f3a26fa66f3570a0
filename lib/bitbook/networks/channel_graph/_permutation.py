"""Groups of channels that may be reordered among themselves, and the reordering."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from ._graph import ChannelGraph, Site
from ._plan import ChannelGraphError, Plan


@dataclass(frozen=True, eq=False)
class Place:
    """Where a group's channels lie along one axis of a layer's parameters.

    parameters: the state-dict names that move along this axis. positions: (n, run), channel by channel; a run is longer
    than 1 where a flattened map's pixels, or the outputs of a depthwise convolution, follow one another. block: along
    axis 1 of a grouped convolution's weight, which of its groups of rows reads them.
    """

    module: str
    axis: int
    parameters: tuple[str, ...]
    positions: np.ndarray
    block: int = 0


@dataclass(frozen=True, eq=False)
class Group:
    """Channels that may be permuted among themselves, if all parents and children follow; then the function stays.

    size: n channels. parents: the layers that make them (axis 0), and batch norms and depthwise convolutions on the
    way. children: the layers that read them (axis 1). Both in the order of computation.
    """

    size: int
    parents: tuple[Place, ...]
    children: tuple[Place, ...]


def groups(graph: ChannelGraph) -> tuple[Group, ...]:
    """Return all groups of two or more channels, in the order of their first layers.

    Two channels are in one group where the same axes hold them equally often. Channels that a sum, a product or an
    offset ties together count as one. Not in any group: the network's input, the classes, and a channel that comes
    twice along one axis (a concatenation with itself), since nothing would say which of the two is which.
    """
    tied = tied_channels(graph)  # (count,)
    blocks = [(site, b, ids) for site in graph.sites for b, ids in enumerate(np.split(site.ids, site.groups))]
    held = defaultdict(list)  # channel -> (number of a block, length of the channel's run, its start)
    for number, (_, _, ids) in enumerate(blocks):
        starts = np.flatnonzero(np.diff(ids, prepend=-2))
        runs = np.diff(starts, append=len(ids))
        for start, run in zip(starts[ids[starts] >= 0], runs[ids[starts] >= 0], strict=True):
            held[int(tied[ids[start]])].append((number, int(run), int(start)))
    for channel in tied[graph.fixed].tolist():
        held.pop(channel, None)
    alike = defaultdict(list)  # (number of a block, length of a run) of all places -> starts there, channel by channel
    for places in held.values():
        if len({number for number, _, _ in places}) == len(places):
            alike[tuple(place[:2] for place in places)].append([place[2] for place in places])
    found = []
    for where, channels in alike.items():
        if len(channels) > 1:
            columns = zip(where, np.array(channels).T, strict=True)
            held_in = [_place(*blocks[number], run, column) for (number, run), column in columns]
            parents, children = (tuple(place for place in held_in if place.axis == axis) for axis in (0, 1))
            found.append(Group(len(channels), parents, children))
    return tuple(found)


def _place(site: Site, block: int, ids: np.ndarray, run: int, start: np.ndarray) -> Place:
    positions = start[:, None] + np.arange(run)  # (n, run)
    if site.axis == 0:
        positions, block = positions + block * len(ids), 0
    return Place(site.module, site.axis, site.parameters, positions, block)


def tied_channels(graph: ChannelGraph) -> np.ndarray:
    """Return for every channel, (count,), the smallest id that sums and products tie it to."""
    pairs = [
        np.stack([step.ids, ids])[:, (step.ids >= 0) & (ids >= 0)]
        for step in graph.steps
        if step.kind in ("sum", "product")
        for ids in step.operand_ids
    ]
    a, b = np.concatenate([np.empty((2, 0), np.int64), *pairs], axis=1)  # (pairs,)
    smallest = np.arange(graph.count)
    while True:
        lower = smallest.copy()
        np.minimum.at(lower, a, smallest[b])
        np.minimum.at(lower, b, smallest[a])
        lower = lower[lower]
        if (lower == smallest).all():
            return smallest
        smallest = lower


def permutation(graph: ChannelGraph, orders: Mapping[Group, Sequence[int] | np.ndarray]) -> Plan:
    """Return the plan by which channel order[i] of each group moves to place i.

    Raises ChannelGraphError for an order that is no permutation of its group.
    """
    taken = {}  # (module, axis) -> old positions (blocks, n)
    for site in graph.sites:
        blocks = site.groups if site.axis == 1 else 1
        taken[site.module, site.axis] = np.arange(len(site.ids)).reshape(blocks, -1) % (len(site.ids) // blocks)
    for group, given in orders.items():
        order = np.asarray(given)
        if not np.array_equal(np.sort(order), np.arange(group.size)):
            name = group.parents[0].module
            raise ChannelGraphError(f"{name}: the order given for its {group.size} channels is no permutation")
        for place in group.parents + group.children:
            taken[place.module, place.axis][place.block, place.positions] = place.positions[order]
    return graph.plan(list(taken.values()))


def permute(network: nn.Module, graph: ChannelGraph, orders: Mapping[Group, Sequence[int] | np.ndarray]) -> None:
    """Permute channels in place: the order is baked into the weights, and the network computes the same function."""
    moved = permutation(graph, orders).along(network)
    tensors = dict(network.named_parameters()) | dict(network.named_buffers())
    for name, value in moved.apply({name: tensors[name].detach() for name in moved if name in tensors}).items():
        tensors[name].data = value
