"""Which channels of a classifier belong together, and how to permute or remove them so that its function stays.

The picture. A layer that mixes channels (convolution, linear layer) is a row of pens: each pen draws one new channel,
and each channel has a number of its own, its id. Follow the ids through the network, from operation to operation:

    images -> [conv a] 0 1 2 3 -> [batch norm] -> [relu] -> 0 1 2 3 -> [conv b] 4 5 6 7 ------ + -> 8 9 10 11 -> ...
                                                            |                                  |
                                                            +---------- 0 1 2 3 ---------------+

- Activations, pooling, dropout, batch norm and depthwise convolutions treat channels one by one: ids pass unchanged.
  Batch norm and depthwise convolutions own weights per channel, which move and go with the channel.
- A sum or product (residual stream, squeeze and excitation) ties ids: channel 8 is 0 + 4, so 0, 4 and 8 move as one,
  and every layer that writes to or reads from the stream follows. 8 is gone when both of its terms are; a product,
  when one factor is.
- A concatenation lays ids one after another; a slice or a zero padding of channels (option-A shortcut) picks them, with
  -1 for a channel of zeros. So what is tied may lie at other places in every layer: an offset.
- Flattening makes a run of H * W features of each channel: a linear layer behind it reads runs.
- A layer stands at two sites: its outputs lie along axis 0 of its weight, its inputs along axis 1. A *group* is a set
  of channels that the same sites hold alike: `groups`. Permute it at all of these sites (parents make the channels,
  children read them) and the function stays: `permutation`, `permute`.
- A channel may go where everyone who reads it reads zero: `zero_channels`, `remove`. Where channels that stay no longer
  line up (one term of a sum lost other channels than the other), an index map puts them in place.
- Either change is a `Plan`: for every parameter and buffer, which entries to take. It applies to the network's tensors
  and to whatever has their shapes, such as momentum buffers and averages: `removal(graph, channels).apply(tensors)`.

graph = trace(network)
permute(network, graph, {group: order for group in groups(graph)})
smaller = remove(network, graph, zero_channels(network, graph))

`_graph` walks over the operations, `_rules` has a rule for each, `_plan` is what both changes have in common.
"""

from __future__ import annotations

from bitbook.networks.channel_graph._graph import ChannelGraph, Site, Step, trace
from bitbook.networks.channel_graph._permutation import Group, Place, groups, permutation, permute
from bitbook.networks.channel_graph._plan import ChannelGraphError, Index, Plan
from bitbook.networks.channel_graph._removal import removal, remove, shrunk
from bitbook.networks.channel_graph._zeros import zero_channels

__all__ = [
    "ChannelGraph",
    "ChannelGraphError",
    "Group",
    "Index",
    "Place",
    "Plan",
    "Site",
    "Step",
    "groups",
    "permutation",
    "permute",
    "removal",
    "remove",
    "shrunk",
    "trace",
    "zero_channels",
]
