"""What permutation and annealing are worth: squared errors of the weights before any training."""

import itertools
from collections.abc import Sequence
from typing import Any

from torch import nn

from bitbook.compression import weight_tensors
from bitbook.methods.permuted_vq._blocks import Blocks
from bitbook.methods.permuted_vq._permute import permute
from bitbook.methods.permuted_vq._quantise import quantise
from bitbook.networks import plain_copy

SEARCHES = ("identity", "random", "greedy", "swaps", "annealed", "clustered")


def quantisation_errors(
    network: nn.Module,
    blocks: Blocks,
    *,
    searches: Sequence[str] = SEARCHES,
    annealings: Sequence[str] = ("none", "SR-C"),
    iterations: int = 100,
    seed: int = 0,
) -> list[dict]:
    """Return the squared error of every layer for every order of channels and kind of k-means, a row each.

    driver: whether the layer drives the permutation of a group. The network is left as it is.
    """
    rows = []
    sizes = blocks.sizes(network)
    for search, annealing in itertools.product(searches, annealings):
        permuted = plain_copy(network)
        options: dict[str, Any] = {"annealing": annealing, "iterations": iterations, "seed": seed}
        groups = permute(permuted, sizes, search=search, **options)
        drivers = {group.driver for group in groups}
        tensors = weight_tensors(permuted)
        for name, found in quantise(tensors, sizes, **options).decode().items():
            error = float(((tensors[name] - found) ** 2).sum())
            row = {"search": search, "annealing": annealing, "layer": name, "driver": name in drivers}
            rows.append(row | {"error": error})
    return rows
