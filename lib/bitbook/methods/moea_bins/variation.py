"""How offspring of the search over genes come about: parents exchange whole layers, and some genes move by a notch."""

from __future__ import annotations

import numpy as np

from bitbook.methods.moea_bins.genes import LAYER, NETWORK


def exchange_layers(*, seed: int, probability: float = 0.7):
    """Return a pymoo crossover: two parents exchange each layer's genes, and each of the network's, or not, by a coin.

    probability: that two parents exchange anything.
    """
    from pymoo.core.crossover import Crossover

    random = np.random.default_rng([seed, 1])

    class ExchangeLayers(Crossover):
        def _do(self, problem, X: np.ndarray, **_) -> np.ndarray:  # X: (2, matings, genes) integers
            _, matings, genes = X.shape
            layers = np.repeat(random.random((matings, (genes - NETWORK) // LAYER)) < 0.5, LAYER, axis=1)
            return np.where(np.hstack([random.random((matings, NETWORK)) < 0.5, layers]), X[::-1], X)

    return ExchangeLayers(2, 2, prob=probability)


def move_genes(*, seed: int, layers: float = 2.0, others: float = 0.5, together: float = 0.2):
    """Return a pymoo mutation: genes move by one or two notches, up or down, within their bounds.

    layers: steps that move, on average; others: other genes that do. together: probability that the steps of all layers
    move alike beside, which leads along the front, and that those of some layers in a row do.
    """
    from pymoo.core.mutation import Mutation

    random = np.random.default_rng([seed, 2])

    def notches(shape: tuple[int, ...]) -> np.ndarray:
        return random.choice([-2, -1, -1, 1, 1, 2], size=shape)

    class MoveGenes(Mutation):
        def _do(self, problem, X: np.ndarray, **_) -> np.ndarray:  # X: (n, genes) integers
            n, genes = X.shape
            number = (genes - NETWORK) // LAYER
            steps = np.arange(genes) >= NETWORK
            steps &= (np.arange(genes) - NETWORK) % LAYER == 0
            rates = np.where(steps, layers / number, others / (genes - number))
            moves = (random.random(X.shape) < rates) * notches(X.shape)
            for from_, notch in ((0, notches((n, 1))), (1, notches((n, 1)))):  # all layers, then some in a row
                ends = np.sort(random.integers(0, number + 1, (2, n, 1)), axis=0) if from_ else [0, number]
                place = (np.arange(genes) - NETWORK) // LAYER
                moves += (random.random((n, 1)) < together) * notch * (steps & (place >= ends[0]) & (place < ends[1]))
            return np.clip(np.rint(X.astype(float)) + moves, problem.xl, problem.xu)

    return MoveGenes(prob=1.0)
