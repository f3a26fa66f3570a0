"""What permutation and annealing are worth: squared errors of the weights before any training."""

from collections.abc import Sequence

from torch import nn

from bitbook.compression import weight_tensors
from bitbook.methods.permuted_vq._blocks import Blocks
from bitbook.methods.permuted_vq._permute import permute
from bitbook.methods.permuted_vq._quantise import quantise
from bitbook.networks import plain_copy

SEARCHES = ("identity", "random", "greedy", "swaps", "annealed")


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
    for search in searches:
        permuted = plain_copy(network)
        sizes = blocks.sizes(permuted)
        groups = permute(permuted, sizes, search="greedy" if search == "identity" else search, seed=seed)
        drivers = {group.driver for group in groups}
        tensors = weight_tensors(network if search == "identity" else permuted)
        for annealing in annealings:
            decoded = quantise(tensors, sizes, annealing=annealing, iterations=iterations, seed=seed).decode()
            for name, found in decoded.items():
                error = float(((tensors[name] - found) ** 2).sum())
                row = {"search": search, "annealing": annealing, "layer": name, "driver": name in drivers}
                rows.append(row | {"error": error})
    return rows
