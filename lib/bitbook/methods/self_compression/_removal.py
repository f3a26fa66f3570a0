"""Which channels leave: those of no bits, once nothing but zero arrives from them."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from bitbook import training
from bitbook.methods.self_compression._quantiser import LearnedDepth
from bitbook.methods.self_compression._size import channel_values
from bitbook.networks import channel_graph
from bitbook.networks.channel_graph import ChannelGraph

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@torch.no_grad()
def empty_channels(network: nn.Module) -> dict[str, Tensor]:
    """Return whether all weights of each output channel are quantised to zero, (out,) bool by module name."""
    empty = {}
    for name, layer in training.attached(network, LearnedDepth).items():
        levels = layer.levels(training.entering(network, name, layer))
        empty[name.rpartition(".")[0]] = ~levels.flatten(1).any(1)
    return empty


@torch.no_grad()
def shrink_biases(network: nn.Module, graph: ChannelGraph, empty: Mapping[str, Tensor], amount: float) -> None:
    """Take the proximal step of an L1 loss on the biases and batch-norm shifts behind empty channels.

    Each moves towards zero by `amount`, and stops there, which the gradient of an L1 loss would never reach. The
    running statistics of such a channel, which is zero before its batch norm, become those of zeros.
    """
    alive = channel_values(graph, {name: (~channels).float() for name, channels in empty.items()}, missing=1.0)
    for step in graph.steps:
        if step.kind not in ("layer", "scale"):
            continue
        module = network.get_submodule(step.node.target)
        dead = empty.get(step.node.target, alive[torch.from_numpy(step.ids)] == 0)
        if not dead.any():
            continue
        if module.bias is not None:
            smaller = module.bias.sign() * (module.bias.abs() - amount).clamp_min(0)
            module.bias.copy_(torch.where(dead, smaller, module.bias))
        if isinstance(module, BATCH_NORMS):
            module.running_mean.masked_fill_(dead, 0.0)
            module.running_var.masked_fill_(dead, 0.0)


def leaving(network: nn.Module, graph: ChannelGraph, *, union: bool) -> dict[str, np.ndarray]:
    """Return the output channels of each layer that can go without any change of what the network computes.

    Args:
        union: channels that sums tie together go once all of them can, so that an ordinary narrower network remains;
            otherwise each layer loses its own, and index maps join what is left (the paper's Figure 4).
    """
    found = channel_graph.zero_channels(network, graph)
    if not union:
        return found
    stays = {name: np.ones(len(ids)) for name, ids in graph.layers.items()}
    for name, channels in found.items():
        stays[name][channels] = 0
    groups = channel_graph.tied_channels(graph)  # (count,)
    needed = np.zeros(graph.count)
    for name, ids in graph.layers.items():
        np.maximum.at(needed, groups[ids], stays[name])
    gone = {name: np.flatnonzero(needed[groups[ids]] == 0) for name, ids in graph.layers.items()}
    return {name: channels for name, channels in gone.items() if len(channels)}
