"""How offspring of the search over genes come about: parents exchange genes, and some genes move by a place or two."""

import numpy as np

from bitbook.search._genes import NETWORK


def exchange_genes(*, seed: int, probability: float = 0.7):
    """Return a pymoo crossover: two parents exchange each gene, or not, by a coin.

    probability: that two parents exchange anything.
    """
    from pymoo.core.crossover import Crossover

    random = np.random.default_rng([seed, 1])

    class ExchangeGenes(Crossover):
        def _do(self, problem, X: np.ndarray, **_) -> np.ndarray:  # X: (2, matings, genes) integers
            return np.where(random.random(X.shape[1:]) < 0.5, X[::-1], X)

    return ExchangeGenes(2, 2, prob=probability)


def move_genes(*, seed: int, layers: float = 2.0):
    """Return a pymoo mutation: genes move by one or two places, up or down, within their bounds.

    layers: whose steps move, on average. Half of the candidates move along the front by the network's step, a third
    move all layers of a stretch alike, and each other gene of the network moves in one of six.
    """
    from pymoo.core.mutation import Mutation

    random = np.random.default_rng([seed, 2])

    def places(shape: tuple[int, ...]) -> np.ndarray:
        return random.choice([-2, -1, -1, 1, 1, 2], size=shape)

    class MoveGenes(Mutation):
        def _do(self, problem, X: np.ndarray, **_) -> np.ndarray:  # X: (n, genes) integers
            n, number = len(X), X.shape[1] - NETWORK
            rates = np.concatenate([[1 / 2], np.full(NETWORK - 1, 1 / 6), np.full(number, layers / number)])
            moves = (random.random(X.shape) < rates) * places(X.shape)
            ends = np.sort(random.integers(0, number + 1, (2, n, 1)), axis=0)
            stretch = (np.arange(number) >= ends[0]) & (np.arange(number) < ends[1])  # (n, layers)
            moves[:, NETWORK:] += (random.random((n, 1)) < 1 / 3) * places((n, 1)) * stretch
            return np.clip(np.rint(X.astype(float)) + moves, problem.xl, problem.xu)

    return MoveGenes(prob=1.0)
