"""A network that lost channels, rebuilt as an ordinary smaller one."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from bitbook.networks.channel_graph.removal import shrink, unpack_mask
from bitbook.networks.channel_graph.trace import trace


def shrunk(*, of: Mapping, kept: Mapping[str, str]) -> nn.Module:
    """The network of specification `of` with only the kept output channels of some layers.

    kept: for each layer that lost channels, a hexadecimal bit mask of those that stay, the first channel first, padded
    with zeros to whole bytes. Raises ChannelGraphError for a mask that does not fit.
    """
    from bitbook.networks import build

    network = build(of)
    graph = trace(network)
    return shrink(network, graph, {layer: unpack_mask(graph, layer, mask) for layer, mask in kept.items()})
