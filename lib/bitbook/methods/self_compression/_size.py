"""What training is charged for: the bits of the network, in the paper's two forms and by entropy."""

import torch
from torch import Tensor, nn

from bitbook import training
from bitbook.methods.self_compression._quantiser import LearnedDepth
from bitbook.networks.channel_graph import ChannelGraph

CHARGES = ("depth", "depth and inputs", "entropy")


def size(network: nn.Module, charge: str, graph: ChannelGraph | None = None) -> Tensor:
    """Q, the charged bits per weight of the starting network, () (equation 2).

    Args:
        charge: "depth" charges each weight the depth of its channel (equation 4); "depth and inputs" also lowers the
            charge of a layer for each input channel that is gone, and so charges about twice (equation 5; what a sum of
            channels needs, the deepest of them, is our choice); "entropy", ours, charges the entropy of the levels.
        graph: the network's, for equation 5.
    """
    layers = training.attached(network, LearnedDepth)
    if charge == "depth and inputs":
        bits = _with_inputs(graph, {name.rpartition(".")[0]: layer for name, layer in layers.items()}, network)
    elif charge == "depth":
        shapes = {name: training.original(network, name).shape for name in layers}
        bits = [shapes[name][1:].numel() * layer.depth().sum() for name, layer in layers.items()]
    else:
        weights = {name: training.entering(network, name, layer) for name, layer in layers.items()}
        bits = [weights[name].numel() * _entropy(layer.levels(weights[name])) for name, layer in layers.items()]
    return torch.stack(bits).sum() / sum(layer.starting.prod() for layer in layers.values())


def _entropy(r: Tensor) -> Tensor:
    """The most bits per weight that whole numbers of this mean magnitude m can take, ().

    Among the distributions on whole numbers with E|r| = m the one of most entropy has p(r) ~ t^|r|; then
    m = 2t / (1 - t^2), and H = log2((1 + t) / (1 - t)) - m log2 t. Its gradient reaches weights at levels other than
    zero, and the exponents.
    """
    m = r.abs().mean().clamp_min(1e-6)
    t = m / (1 + torch.sqrt(1 + m * m))
    return torch.log2((1 + t) / (1 - t)) - m * torch.log2(t)


def _with_inputs(graph: ChannelGraph, layers: dict[str, LearnedDepth], network: nn.Module) -> list[Tensor]:
    """Equation 5 for every layer."""
    depths = channel_values(graph, {name: layer.depth() for name, layer in layers.items()})
    bits = []
    for step in graph.steps:
        if step.kind == "layer" and step.node.target in layers:
            own, module = layers[step.node.target].depth(), network.get_submodule(step.node.target)
            kernel, groups = module.weight.shape[2:].numel(), getattr(module, "groups", 1)
            if step.operand_ids[0] is None:  # images: all of their channels are there
                bits.append(kernel * module.weight.shape[1] * own.sum())
            else:
                read = depths[torch.from_numpy(step.operand_ids[0])]
                both = (read > 0).sum() * own.sum() + (own > 0).sum() * read.sum()
                bits.append(kernel * both / groups)
    return bits


def reachable_bits(b: Tensor) -> Tensor:
    """Return log2 of the number of levels that a channel of bit depth b really has, in the shape of b.

    Half to even makes it round(2^(b-1) - 1) + round(2^(b-1)) + 1: a depth of 0.1 is charged 0.1 bits and stores one.
    """
    half = torch.exp2(b.double() - 1)
    return torch.log2((half - 1).round() + half.round() + 1)


def channel_values(graph: ChannelGraph, own: dict[str, Tensor], missing: float = 16.0) -> Tensor:
    """Follow a number >= 0 for each output channel of layers through sums (the larger) and products (the smaller).

    Returns (count + 1,), by channel id; the last, for the id -1 of a channel of zeros, is 0. Layers that are not given
    have the number `missing`.
    """
    values = next(iter(own.values())).new_zeros(graph.count + 1)
    for step in graph.steps:
        if step.kind == "layer":
            values[torch.from_numpy(step.ids)] = own.get(step.node.target, torch.tensor(missing)).to(values)
        elif step.kind in ("sum", "product"):
            terms = [values[torch.from_numpy(ids)] for ids in step.operand_ids]
            joined = torch.stack(terms)
            values[torch.from_numpy(step.ids)] = joined.amax(0) if step.kind == "sum" else joined.amin(0)
    return values
