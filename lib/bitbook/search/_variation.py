"""How offspring of the search over genes come about: parents exchange whole layers, and some genes move by a notch."""

from __future__ import annotations

import numpy as np

from bitbook.search._genes import LAYER, NETWORK


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


def move_genes(*, seed: int, layers: float = 2.0, others: float = 0.25):
    """Return a pymoo mutation: genes move by one or two notches, up or down, within their bounds.

    layers: layers whose steps move, on average; others: layers whose offset or clipping does. Half of the candidates
    move along the front by the network's step, a third move all layers of a stretch alike, and each other gene of the
    network moves in one of six.
    """
    from pymoo.core.mutation import Mutation

    random = np.random.default_rng([seed, 2])

    def notches(shape: tuple[int, ...]) -> np.ndarray:
        return random.choice([-2, -1, -1, 1, 1, 2], size=shape)

    class MoveGenes(Mutation):
        def _do(self, problem, X: np.ndarray, **_) -> np.ndarray:  # X: (n, genes) integers
            n, genes = X.shape
            number = (genes - NETWORK) // LAYER
            own = np.tile([layers / number, others / (2 * number), others / (2 * number)], number)
            rates = np.concatenate([[1 / 2, 1 / 6, 1 / 6, 1 / 6], own])
            moves = (random.random(X.shape) < rates) * notches(X.shape)
            ends = np.sort(random.integers(0, number + 1, (2, n, 1)), axis=0)
            stretch = (np.arange(number) >= ends[0]) & (np.arange(number) < ends[1])  # (n, layers)
            moves[:, NETWORK::LAYER] += (random.random((n, 1)) < 1 / 3) * notches((n, 1)) * stretch
            return np.clip(np.rint(X.astype(float)) + moves, problem.xl, problem.xu)

    return MoveGenes(prob=1.0)
