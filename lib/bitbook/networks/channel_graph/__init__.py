"""Which channels of a classifier belong together, traced by torch.fx; permuting and removing channels along it.

graph = trace(network)
permute(network, graph, {group: order for group in groups(graph)})
smaller = remove(network, graph, zero_channels(network, graph))
"""

from __future__ import annotations

from bitbook.networks.channel_graph.graph import ChannelGraph, ChannelGraphError, Index, Site, Step
from bitbook.networks.channel_graph.groups import Group, Place, groups, permutation, permute
from bitbook.networks.channel_graph.removal import removal, remove
from bitbook.networks.channel_graph.trace import trace
from bitbook.networks.channel_graph.zeros import zero_channels

__all__ = [
    "ChannelGraph",
    "ChannelGraphError",
    "Group",
    "Index",
    "Place",
    "Site",
    "Step",
    "groups",
    "permutation",
    "permute",
    "removal",
    "remove",
    "trace",
    "zero_channels",
]
