"""NSGA-II over integer genes, asked and told: the same generations for any number of workers; its operators."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bitbook.compression import nondominated
from bitbook.search._genes import NETWORK

Evaluate = Callable[[np.ndarray], np.ndarray]  # (n, genes) integers -> (n, objectives) costs


@dataclass(frozen=True)
class Generation:
    """What one generation evaluated, and the front of all evaluated so far.

    genes: (n, genes) int64. costs: (n, objectives), all minimised. front_genes (f, genes), front_costs (f, objectives):
    by first cost.
    """

    genes: np.ndarray
    costs: np.ndarray
    front_genes: np.ndarray
    front_costs: np.ndarray


def evolve(
    evaluate: Evaluate,
    start: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    *,
    objectives: int = 2,
    population: int,
    generations: int,
    seed: int,
    crossover=None,
    mutation=None,
) -> list[Generation]:
    """Return the generations of pymoo's NSGA-II, duplicates removed, from a start (n, genes) within [low, high].

    The start counts as the first generation. crossover, mutation: pymoo operators; by default simulated binary
    crossover (probability 0.9, eta 15) and polynomial mutation (probability 0.9, eta 20), rounded to integers. The
    search ends early where no new offspring can be found. Raises ValueError for bounds that hold no integer and for a
    population below 2 or no generation.
    """
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.evaluator import Evaluator
    from pymoo.core.problem import Problem
    from pymoo.problems.static import StaticProblem

    low, high = np.atleast_1d(low), np.atleast_1d(high)
    if (high < low).any():
        raise ValueError(f"no integer lies between the bounds {low.tolist()} and {high.tolist()}")
    if population < 2 or generations < 1:
        raise ValueError(f"a search needs a population of 2 and one generation, not {population} and {generations}")
    problem = Problem(n_var=len(low), n_obj=objectives, xl=low, xu=high, vtype=int)
    algorithm = NSGA2(
        pop_size=population,
        sampling=np.unique(np.clip(start, low, high), axis=0).astype(float),
        crossover=crossover or simulated_binary(),
        mutation=mutation or polynomial(),
        eliminate_duplicates=True,
    )
    algorithm.setup(problem, termination=("n_gen", generations), seed=seed)
    found: list[Generation] = []
    while algorithm.has_next():
        offspring = algorithm.ask()
        if offspring is None or not len(offspring):
            break
        genes = np.rint(offspring.get("X").astype(float)).astype(np.int64)
        costs = np.asarray(evaluate(genes), np.float64)
        Evaluator().eval(StaticProblem(problem, F=costs), offspring)
        algorithm.tell(infills=offspring)
        found.append(_generation(genes, costs, found))
    return found


def simulated_binary(probability: float = 0.9, eta: float = 15.0):
    """Return the crossover of the authors' rewrite: simulated binary, rounded."""
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.repair.rounding import RoundingRepair

    return SBX(prob=probability, eta=eta, vtype=float, repair=RoundingRepair())


def polynomial(probability: float = 0.9, eta: float = 20.0):
    """Return the mutation of the authors' rewrite: polynomial, rounded."""
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair

    return PM(prob=probability, eta=eta, vtype=float, repair=RoundingRepair())


def hypervolume(costs: np.ndarray, reference: np.ndarray) -> float:
    """Return the area that a front (n, 2) dominates below a reference point (2,); points beyond it count nothing."""
    from pymoo.indicators.hv import HV

    return float(HV(ref_point=np.asarray(reference, np.float64))(np.asarray(costs, np.float64)))


def _generation(genes: np.ndarray, costs: np.ndarray, before: list[Generation]) -> Generation:
    all_genes, all_costs = genes, costs
    if before:
        all_genes = np.concatenate([before[-1].front_genes, genes])
        all_costs = np.concatenate([before[-1].front_costs, costs])
    kept = nondominated(all_costs)
    return Generation(genes, costs, all_genes[kept], all_costs[kept])


def exchange_genes(*, seed: int):
    """Return a pymoo crossover: of seven in ten pairs of parents each gene is exchanged, or not, by a coin."""
    from pymoo.core.crossover import Crossover

    random = np.random.default_rng([seed, 1])

    class ExchangeGenes(Crossover):
        def _do(self, problem, X: np.ndarray, **_) -> np.ndarray:  # X: (2, matings, genes) integers
            return np.where(random.random(X.shape[1:]) < 0.5, X[::-1], X)

    return ExchangeGenes(2, 2, prob=0.7)


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
