"""The search as the paper does it: one integer k, two objectives, 1 - macro F1 and the number d of non-empty bins."""

import copy
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from bitbook.clustering import UniformBins, uniform_bins
from bitbook.codes import Coded, Compressed, ScalarCode, small_floats
from bitbook.compression import Divergence, assemble, nondominated
from bitbook.files import Cache
from bitbook.methods.moea_bins._bins import merge_neighbours, merged_values, split
from bitbook.methods.moea_bins._loss import BinLoss, Solution, taking_part
from bitbook.networks import checksum
from bitbook.search import Candidate, Generation, Workers, evolve, index_sizes, kept_candidates
from bitbook.tasks import Task


@dataclass(frozen=True)
class Merged:
    """A solution after merging: group of each of its bins (d,), and the loss on the search's images."""

    solution: Solution
    groups: np.ndarray
    loss: float

    @property
    def shared(self) -> int:
        """Shared weights that are left."""
        return int(self.groups[-1]) + 1


class BinSearch:
    """Bin counts k of one codebook for the whole network, each evaluated once, by NSGA-II or exhaustively.

    fewest, bins: the bounds of k. parameters, without: which tensors take part, see `taking_part`. images: labelled
    augmented training images that the search may see, drawn by the seed. folder: keeps what was evaluated. workers: see
    `Workers`. Raises ValueError for bounds that make no sense, fewer than one image, and a network without weights.
    """

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        *,
        fewest: int = 2,
        bins: int = 1024,
        parameters: str = "weights",
        without: Sequence[str] = (),
        images: int = 1000,
        seed: int = 0,
        folder: Path,
        workers: int = 1,
    ) -> None:
        if not 2 <= fewest < bins:
            raise ValueError(f"bounds of k are 2 <= fewest < bins, not fewest = {fewest} and bins = {bins}")
        self.network, self.task, self.fewest, self.bins, self.seed = network, task, fewest, bins, seed
        self.folder = folder
        tensors = taking_part(network, parameters=parameters, without=without)
        self.loss = BinLoss(network, task, tensors, images=images, seed=seed)
        self.identity = {
            "network": checksum(network.state_dict()),
            "task": task.name,
            "tensors": list(tensors),
            "images": images,
            "seed": seed,
        }
        self._bins = Cache(folder / "bins", self.identity)
        self._merges = Cache(folder / "merged", self.identity)
        self._workers = Workers(self.loss, folder, workers=workers)

    @property
    def evaluated(self) -> int:
        """How many bin counts have been evaluated so far."""
        return len(self._bins)

    @property
    def reference(self) -> float:
        """1 - macro F1 of the float network on the search's images."""
        return self.loss.reference

    def solutions(self, counts: Iterable[int]) -> list[Solution]:
        """Return the solutions of these bin counts, evaluating those that are new."""
        counts = [int(k) for k in counts]
        new = sorted({k for k in counts if str(k) not in self._bins})
        for solution in tqdm(self._workers.each("solution", new), total=len(new), desc="bin counts", unit="k"):
            self._bins.add(str(solution.k), [solution.shared, solution.loss])
        return [Solution(k, *self._bins[str(k)]) for k in counts]

    def evolve(self, *, population: int = 100, generations: int = 100, **operators) -> list[Generation]:
        """Return the generations of NSGA-II from an evenly spaced start; costs are (1 - macro F1, d).

        operators: crossover and mutation, pymoo operators, see `evolve`. Source: arXiv 2501.03095, algorithm 1.
        """

        def evaluate(genes: np.ndarray) -> np.ndarray:
            return np.array([(s.loss, s.shared) for s in self.solutions(genes[:, 0])])

        start = np.linspace(self.fewest, self.bins, population).round()[:, None]
        options = {"population": population, "generations": generations, "seed": self.seed, **operators}
        return evolve(evaluate, start, np.array([self.fewest]), np.array([self.bins]), **options)

    def sweep(self, *, stride: int = 1) -> list[Solution]:
        """Return the solution of every bin count within the bounds, or every so many: the oracle for the search."""
        return self.solutions(range(self.fewest, self.bins + 1, stride))

    @staticmethod
    def front(solutions: Iterable[Solution]) -> list[Solution]:
        """Return the solutions that no other beats in loss and shared weights, by loss."""
        solutions = sorted(set(solutions), key=lambda s: s.k)
        return [solutions[i] for i in nondominated([(s.loss, s.shared) for s in solutions])]

    def reaching(self, solutions: Iterable[Solution], *, tolerance: float = 0.0) -> list[Solution]:
        """Return the solutions that lose at most so much F1 against the float network, fewest shared weights first."""
        good = [s for s in solutions if s.loss <= self.reference + tolerance]
        return sorted(good, key=lambda s: (s.shared, s.loss))

    def merge(self, solution: Solution, *, tolerance: float = 0.0) -> Merged:
        """Merge a solution's neighbouring bins as long as it loses at most so much F1 against the float network."""
        key = f"{solution.k}-{tolerance!r}"
        if key not in self._merges:
            with tqdm(desc=f"merging {solution.shared} bins", unit="trial") as bar:

                def score(groups: np.ndarray) -> float:
                    bar.update()
                    return -self.loss.merged(solution.k, groups)

                groups = merge_neighbours(solution.shared, score, reference=-self.reference - tolerance)
            self._merges.add(key, [groups.tolist(), self.loss.merged(solution.k, groups)])
        groups, loss = self._merges[key]
        return Merged(solution, np.array(groups), loss)

    def compressed(self, solution: Solution | Merged) -> Compressed:
        """Return the network with these shared weights; the paper leaves batch norms' statistics as they are.

        Biases and batch norms that take part hold shared weights, too, but are stored as the numbers that they are.
        """
        bins, groups = self._bins_of(solution)
        values = small_floats(merged_values(bins.values, bins.counts, groups))
        indices = split(groups[bins.indices], self.loss.tensors)
        codes = {name: ScalarCode(part, "shared") for name, part in indices.items() if part.ndim > 1}
        network = copy.deepcopy(self.network)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if name in indices and name not in codes:
                    parameter.copy_(torch.from_numpy(values[indices[name]].astype(np.float32)))
        return assemble(network, Coded(codes, {"shared": values}))

    def members(self, solutions: Iterable[Solution | Merged], divergence: Divergence) -> list[Candidate]:
        """Return solutions as files, with their sizes and divergence; their setting is k."""

        def made(solution: Solution | Merged) -> tuple[Compressed, dict]:
            file = self.compressed(solution)
            sizes = index_sizes(Coded(file.codes, file.codebooks), {"shared": self.counts(solution)})
            return file, {"setting": _parts(solution)[0].k, "mode": "plain", **sizes}

        names = {}
        for solution in solutions:
            plain, groups = _parts(solution)
            digest = hashlib.sha256(repr((plain.k, groups.tolist())).encode()).hexdigest()[:16]
            names[f"{digest}.bitbook"] = partial(made, solution)
        return kept_candidates(Cache(self.folder / "members", self.identity), names, divergence)

    def counts(self, solution: Solution | Merged) -> np.ndarray:
        """Return how many weights share each value, (shared,), over all tensors that take part."""
        bins, groups = self._bins_of(solution)
        return np.bincount(groups, bins.counts).astype(np.int64)

    def _bins_of(self, solution: Solution | Merged) -> tuple[UniformBins, np.ndarray]:
        """The bins of a solution, and the group of each, (d,)."""
        plain, groups = _parts(solution)
        return uniform_bins(self.loss.theta, plain.k), groups


def _parts(solution: Solution | Merged) -> tuple[Solution, np.ndarray]:
    """A solution without its merging, and the group of each bin, (d,)."""
    if isinstance(solution, Merged):
        return solution.solution, solution.groups
    return solution, np.arange(solution.shared)
