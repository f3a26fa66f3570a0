"""NSGA-II over integer genes, asked and told: the same generations for any number of workers."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bitbook.compression import nondominated

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
