"""DPQ: training through the optimal quantisation of each layer, with a straight-through gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from torch import nn

from bitbook import training
from bitbook.clustering import kmeans1d
from bitbook.codes import ScalarCode
from bitbook.methods.assemble import weight_tensors
from bitbook.methods.dpnet.cluster import Coded

AfterStep = Callable[[int, int], None]


def attach_quantisers(
    network: nn.Module, k: int | Mapping[str, int], kind: type[training.Quantiser] = training.StraightThrough
) -> dict[str, training.Quantiser]:
    """Put a quantiser with K optimal clusters before every weight tensor of a network; return them by parameter name.

    k: one K for all layers, or one by name. Source: arXiv 2003.09615, optimal clustering; DPQ in the follow-up of 2021.
    """
    layers = {name: k[name] if isinstance(k, Mapping) else k for name in weight_tensors(network)}
    return {
        name: training.attach(
            network, name, kind(training.original(network, name).detach(), partial(kmeans1d, k=clusters), clusters)
        )
        for name, clusters in layers.items()
    }


def quantise(network: nn.Module, quantisers: Mapping[str, nn.Module]) -> Coded:
    """Take the quantisers off a network and leave it quantised; return its codes and float16 codebooks.

    quantisers: with `values`, (k,), and `indices(weights)`, by parameter name. Values that no weight has are left out.
    """
    codes, books = {}, {}
    for name, quantiser in quantisers.items():
        indices = quantiser.indices(training.original(network, name)).cpu().numpy()
        used, dense = np.unique(indices, return_inverse=True)
        codes[name] = ScalarCode(dense.reshape(indices.shape).astype(np.uint16), name)
        books[name] = quantiser.values.detach().cpu().numpy()[used].astype(np.float16)
    training.bake(network)
    return codes, books
