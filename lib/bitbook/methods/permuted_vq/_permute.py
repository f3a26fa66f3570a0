"""Channels permuted such that blocks of weights quantise well; the network computes the same function."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from bitbook.clustering import ChannelOrder, VectorClusters, log_determinant, search_order, vector_kmeans
from bitbook.networks import channel_graph
from bitbook.networks.channel_graph import Group, Place

ORDERS = 6  # that "clustered" searches and compares


@dataclass(frozen=True)
class Permuted:
    """What became of a group of channels.

    parent: the first layer that makes them. channels: their number. driver: the weight whose blocks chose the order,
    "" where no layer that reads them has several of them in a block. before, after: its log-determinants.
    """

    parent: str
    channels: int
    driver: str = ""
    before: float = 0.0
    after: float = 0.0


@torch.no_grad()
def permute(
    network: nn.Module,
    sizes: Mapping[str, tuple[int, int]],
    *,
    search: str = "annealed",
    graph: channel_graph.ChannelGraph | None = None,
    annealing: str = "SR-C",
    iterations: int = 100,
    seed: int = 0,
) -> list[Permuted]:
    """Permute a network's channels in place, group by group, and return what was done.

    The first layer that reads a group and holds several of its channels in a block drives it: all others follow. A
    group whose determinant no order lowers stays as it is (arXiv 2010.15703, as its code does).

    Args:
        network: any that `channel_graph.trace` can follow.
        sizes: (k, d) by parameter name, see `Blocks.sizes`.
        search: method of `clustering.search_order`; "identity" for the given order; or "clustered" for the best of
            several annealed orders and the given one by what counts, the squared error of k-means on the driver's
            blocks (ours).
        graph: of a network that torch.fx cannot trace, such as `mask_rcnn_graph`; by default traced.
        annealing, iterations: of "clustered"'s k-means.
        seed: of the search.
    """
    graph = graph or channel_graph.trace(network)
    orders: dict[Group, np.ndarray] = {}
    waiting: set[tuple[str, int]] = set()  # axes that the orders found so far will change
    report = []
    for group in channel_graph.groups(graph):
        parent = group.parents[0].module
        driver = next((place for place in group.children if _holds_several(network, place, sizes)), None)
        if driver is None:
            report.append(Permuted(parent, group.size))
            continue
        if (driver.module, driver.block) in waiting:
            channel_graph.permute(network, graph, orders)
            orders, waiting = {}, set()
        weights, places = _channels(network, driver)
        name = f"{driver.module}.weight"
        k, d = sizes[name]
        if search == "identity":
            result = _given(weights, d)
        elif search == "clustered":
            cluster = partial(vector_kmeans, k=k, annealing=annealing, iterations=iterations, seed=seed)
            result = _clustered(weights, d, places, seed, cluster)
        else:
            result = search_order(weights, d, method=search, free=places, seed=seed)
        report.append(Permuted(parent, group.size, name, result.before, min(result.before, result.after)))
        if result.after < result.before or search == "random":
            rank = np.empty(weights.shape[1], np.int64)
            rank[places] = np.arange(group.size)
            orders[group] = rank[result.order[places]]
            waiting |= {(place.module, place.block) for place in group.children}
    channel_graph.permute(network, graph, orders)
    return report


def _clustered(
    weights: np.ndarray, d: int, places: np.ndarray, seed: int, cluster: Callable[[np.ndarray], VectorClusters]
) -> ChannelOrder:
    found = [search_order(weights, d, free=places, seed=seed + i) for i in range(ORDERS)]
    found = [result for result in found if result.after < result.before]
    return min([_given(weights, d), *found], key=lambda result: cluster(weights[:, result.order].reshape(-1, d)).cost)


def _given(weights: np.ndarray, d: int) -> ChannelOrder:
    before = log_determinant(weights, d)
    return ChannelOrder(np.arange(weights.shape[1]), before, before)


def _channels(network: nn.Module, place: Place) -> tuple[np.ndarray, np.ndarray]:
    """The weights that read a group, (outputs, channels, run), and the places of its channels among these, (n,)."""
    module = network.get_submodule(place.module)
    weights = module.weight.detach().chunk(getattr(module, "groups", 1))[place.block].cpu().numpy()
    run = place.positions.shape[1]
    return weights.reshape(len(weights), weights.shape[1] // run, -1), place.positions[:, 0] // run


def _holds_several(network: nn.Module, place: Place, sizes: Mapping[str, tuple[int, int]]) -> bool:
    """Whether an order of the group changes what shares a block in this layer."""
    if f"{place.module}.weight" not in sizes:
        return False
    run, d = place.positions.shape[1], sizes[f"{place.module}.weight"][1]
    _, width, *kernel = network.get_submodule(place.module).weight.shape
    several, rest = divmod(d, run * math.prod(kernel))
    if rest or several < 2 or width % run or (place.positions[:, 0] % run).any():
        return False
    return width // run % several == 0
