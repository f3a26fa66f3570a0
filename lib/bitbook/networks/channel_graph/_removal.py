"""Remove channels: the plan, the ordinary smaller network and its specification."""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import nn

from ._graph import ChannelGraph, trace
from ._plan import ChannelGraphError, Plan
from ._rewrite import SmallerNetwork, plan, presence, rewrite
from ._zeros import needs


def remove(
    network: nn.Module,
    graph: ChannelGraph,
    channels: Mapping[str, Sequence[int]],
    *,
    tolerance: float | None = 1e-6,
) -> SmallerNetwork:
    """Return the smaller network without the given output channels of layers; it computes the same function.

    channels: positions by module name, of linear layers and convolutions (depthwise ones follow what they read);
    zero_channels finds them. A layer keeps one channel at least. The given network stays as it is. Where it has a
    `specification`, the smaller one has its own, from which bitbook.networks.build makes the same architecture.

    Raises ChannelGraphError, naming layer and channel, where the function would change: where a channel still reaches
    a reader as something else than zero (by more than `tolerance`), such as the constant that a bias or a batch-norm
    shift makes of zero weights. Bring that to zero first: folded into the reader it would be wrong at padded borders.
    With tolerance None nothing is checked, and the function may change.
    """
    kept = _kept(graph, channels)
    if tolerance is not None:
        _check_exact(network, graph, channels, tolerance)
    smaller = rewrite(network, graph, kept)
    if hasattr(network, "specification"):
        smaller.specification = _specification(graph, kept, network.specification)
    return smaller


def removal(graph: ChannelGraph, channels: Mapping[str, Sequence[int]]) -> Plan:
    """Return the plan of a removal: it shrinks state dicts, optimiser state and averages as `remove` shrinks a network.

    The plan does not ask whether the channels are zero. Raises ChannelGraphError for what no smaller network can be.
    """
    return plan(graph, presence(graph, _kept(graph, channels)))


def shrunk(*, of: Mapping, kept: Mapping[str, str]) -> nn.Module:
    """The network of specification `of` with only the kept output channels of some layers.

    kept: for each layer that lost channels, a hexadecimal bit mask of those that stay, the first channel first, padded
    with zeros to whole bytes. Raises ChannelGraphError for a mask that does not fit.
    """
    from bitbook.networks import build

    network = build(of)
    graph = trace(network)
    stay = {}
    for layer, mask in kept.items():
        width = len(_ids(graph, layer))
        try:
            bits = _bits(mask)
        except ValueError:
            bits = np.zeros(0, dtype=np.uint8)
        if len(bits) != -(-width // 8) * 8 or bits[width:].any() or not bits.any():
            raise ChannelGraphError(f"{layer}: {mask!r} is no hexadecimal mask of some of its {width} channels")
        stay[layer] = np.flatnonzero(bits)
    return rewrite(network, graph, stay)


def _bits(mask: str) -> np.ndarray:
    return np.unpackbits(np.frombuffer(bytes.fromhex(mask), dtype=np.uint8))


def _specification(graph: ChannelGraph, kept: Mapping[str, np.ndarray], specification: Mapping) -> dict:
    """The specification of the smaller network, always in terms of the network that was never shrunk."""
    of, masks = specification, {}
    if specification["factory"] == "shrunk":
        of, masks = specification["arguments"]["of"], dict(specification["arguments"]["kept"])
    for layer, stay in kept.items():
        bits = _bits(masks[layer]) if layer in masks else np.ones(len(graph.layers[layer]), dtype=np.uint8)
        old = np.flatnonzero(bits)
        if len(stay) < len(old):
            bits[np.delete(old, stay)] = 0
            masks[layer] = np.packbits(bits).tobytes().hex()
    return {"factory": "shrunk", "arguments": {"of": of, "kept": masks}}


def _ids(graph: ChannelGraph, layer: str) -> np.ndarray:
    if layer not in graph.layers:
        raise ChannelGraphError(f"{layer}: not a convolution or linear layer of this network that makes channels")
    return graph.layers[layer]


def _kept(graph: ChannelGraph, channels: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
    kept = {}
    for layer, gone in channels.items():
        width = len(_ids(graph, layer))
        for position in gone:
            if not 0 <= position < width:
                raise ChannelGraphError(f"{layer}: has {width} channels, and no channel {position} to remove")
        stay = np.setdiff1d(np.arange(width), gone)
        kept[layer] = stay if len(stay) else np.zeros(1, dtype=np.int64)
    return kept


def _check_exact(network: nn.Module, graph: ChannelGraph, channels: Mapping, tolerance: float) -> None:
    found = needs(network, graph, tolerance=tolerance)
    for layer, gone in channels.items():
        ids = graph.layers[layer]
        for position in gone:
            if found.needed[ids[position]]:
                value, reader = found.value[ids[position]], found.reader[ids[position]]
                refused = f"{layer}: channel {position} cannot be removed"
                if reader < 0:
                    raise ChannelGraphError(f"{refused}: the network returns it")
                how = "varying with the image" if np.isnan(value) else f"as the constant {value:.3g}"
                remedy = "bring its weights, and the bias and batch-norm shift on its way, to zero first"
                raise ChannelGraphError(f"{refused}: it reaches {graph.steps[reader].node.name} {how}; {remedy}")
