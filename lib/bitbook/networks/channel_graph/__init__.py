"""Which channels of a classifier belong together, and how to permute or remove them so that its function stays.

The picture. A layer that mixes channels (convolution, linear layer) makes new channels, and each gets a number of its
own, its id. Follow the ids from operation to operation:

    images -> conv a -> 0 1 2 3 -> batch norm, relu -> 0 1 2 3 -> conv b -> 4 5 6 7 -> + -> 8 9 10 11 -> ...
                                                          |                            |
                                                          +--------- 0 1 2 3 ----------+

- Activations, pooling, dropout, batch norm and depthwise convolutions treat channels one by one: ids pass unchanged.
  Batch norm and depthwise convolutions hold weights per channel, which move and go with the channel.
- A sum or product (residual stream, squeeze and excitation) ties ids: 8 is 0 + 4, so 0, 4 and 8 move as one, in every
  layer that writes to the stream or reads from it. A sum is gone when both of its terms are, a product when one is.
- A concatenation lays ids one after another; a slice, or a zero padding of channels (option-A shortcut), picks them,
  with -1 for a channel of zeros. So what is tied may lie at other places in every layer.
- Flattening makes a run of H * W features of each channel: the linear layer behind it reads runs.
- A layer has two *sites*: its outputs lie along axis 0 of its weight (with its bias), its inputs along axis 1. A
  *group* is a set of channels that the same sites hold alike. Permute it at all of these sites (parents make the
  channels, children read them), and the network computes the same function. The classes never move.
- *Removal*: a channel may go where all who read it read zero. Where the channels that stay no longer line up (the terms
  of a sum lost different ones), an index map puts them in place.
- Both changes are a *plan*: for every parameter and buffer, which entries to take. It applies to the network's tensors
  and to all that have their names and shapes: checkpoints, momentum buffers, averages.

    graph = trace(network)
    permute(network, graph, {group: order for group in groups(graph)})
    channels = zero_channels(network, graph)
    smaller, momentum = remove(network, graph, channels), removal(graph, channels).apply(momentum)

`_rules` has the rule of every operation, `_graph` follows them through a network, `_plan` is what both changes share;
`_permutation` has groups; `_zeros` finds what may go, `_removal` makes the smaller network.
"""

from ._graph import ChannelGraph, Site, Step, trace
from ._permutation import Group, Place, groups, permutation, permute, tied_channels
from ._plan import ChannelGraphError, Index, Plan
from ._removal import removal, remove, shrunk
from ._zeros import zero_channels

__all__ = [
    "ChannelGraph", "ChannelGraphError", "Group", "Index", "Place", "Plan", "Site", "Step", "groups", "permutation",
    "permute", "removal", "remove", "shrunk", "tied_channels", "trace", "zero_channels",
]  # fmt: skip
