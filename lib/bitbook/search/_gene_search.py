"""The search over what counts: the divergence from the float network, and the bytes of the real file."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn
from tqdm import tqdm

from bitbook import training
from bitbook.codes import Compressed
from bitbook.compression import Divergence, assemble, factored, input_moments, nondominated, weight_tensors
from bitbook.files import Cache
from bitbook.networks import checksum
from bitbook.search._fast_divergence import FastDivergence
from bitbook.search._genes import MANTISSAS, NETWORK, OCTAVE, OFF, GeneCost, Genes, Point, round_again
from bitbook.search._nsga2 import Generation, evolve, exchange_genes, move_genes
from bitbook.search._sweep import Candidate, index_sizes, kept_candidates
from bitbook.search._workers import Workers
from bitbook.tasks import Task

MOMENT_IMAGES = 500  # on which the layers' inputs are taken; more change little


class GeneSearch:
    """The search over the steps of every layer, for divergence and bytes, and latency where it is given.

    finest, coarsest: steps, in standard deviations of all weights. images, temperature: augmented training images of
    the divergence, see `FastDivergence`. latency: a third objective, such as `fpga.Latency`; its repr tells it apart.
    folder: keeps what was evaluated, so that a stopped search resumes. workers: see `Workers`. Raises ValueError for
    steps that make no sense, fewer than one image, and a network without weights.
    """

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        *,
        finest: float = 0.25,
        coarsest: float = 2.0,
        images: int = 500,
        temperature: float = 4.0,
        latency: Callable[[Compressed], float] | None = None,
        seed: int = 0,
        folder: Path,
        workers: int = 1,
    ) -> None:
        self.network, self.task, self.seed, self.folder = network, task, seed, folder
        tensors = weight_tensors(network)
        fast = FastDivergence(network, task, images=images, temperature=temperature, seed=seed)
        moments = input_moments(network, fast.images[:MOMENT_IMAGES])
        factors = {name: factored(moment) for name, moment in moments.items()}
        self.genes = Genes.of(tensors, factors, finest=finest, coarsest=coarsest)
        self.identity = {
            "network": checksum(network.state_dict()),
            "task": task.name,
            "steps": self.genes.steps.tolist(),
            "images": images,
            "temperature": temperature,
            "seed": seed,
        } | ({"latency": repr(latency)} if latency else {})
        self.cost = GeneCost(self.genes, fast, latency)
        self._points = Cache(folder / "points", self.identity)
        self._workers = Workers(self.cost, folder, workers=workers)

    @property
    def evaluated(self) -> int:
        """How many candidates have been evaluated so far."""
        return len(self._points)

    def points(self, candidates: Iterable[np.ndarray], *, callback: Callable[[], object] = lambda: None) -> list[Point]:
        """Return what candidates cost, evaluating those that are new; the callback is called after each of these."""
        wanted = [tuple(int(gene) for gene in genes) for genes in candidates]
        new = [genes for genes in dict.fromkeys(wanted) if repr(genes) not in self._points]
        for point in self._workers.each("candidate", new):
            self._points.add(repr(point.genes), dataclasses.asdict(point))
            callback()
        return [_point(self._points[repr(genes)]) for genes in wanted]

    def balanced(self, step: int, *, apart: int = 4, most: int = 12) -> np.ndarray:
        """Return by how many places each layer's step should lie off a common one, (layers,) whole numbers.

        step: the common one; from there at most so many groups of layers in a row, of about equal weights, are made
        coarser by `apart` places, one group at a time. Where a saved byte costs little divergence steps become coarser,
        where it costs much finer, until all cost the same, if divergence grows with the square of a step: a Lagrangian
        step (Shoham and Gersho 1988). What rounding does by chance is a tenth of the divergence; groups whose cost lies
        below that say little and move little.
        """
        base = self.genes.uniform(step)
        sizes = np.cumsum([tensor.size for tensor in self.genes.tensors.values()])
        group = np.unique((sizes - 1) * most // sizes[-1], return_inverse=True)[1]  # (layers,)
        coarser = np.tile(base, (group.max() + 1, 1))
        coarser[:, NETWORK:] += apart * (group == np.arange(len(coarser))[:, None])
        whole, *points = self.points([base, *coarser])
        saved = np.array([max(whole.file_bytes - point.file_bytes, 1) for point in points], np.float64)
        lost = np.array([max(point.divergence - whole.divergence, 0.0) for point in points])
        noise = 0.1 * whole.divergence
        known = lost**2 / (lost**2 + noise**2)  # (groups,) how far a cost can be believed
        rates = np.log2(np.maximum(lost, noise) / saved)
        common = np.average(rates, weights=saved)
        off = known * OCTAVE / 2 * (common - rates)
        return np.clip(np.rint(off), -OFF, OFF).astype(np.int64)[group]

    def evolve(self, *, population: int = 32, evaluations: int = 256) -> list[Generation]:
        """Return the generations of NSGA-II over the genes; costs: the file's bytes, divergence, and latency if given.

        The start holds the candidates in which all layers have the same step, evenly spread over the steps: it is the
        front of the plain sweep. To these come the same candidates with their layers `balanced` and batch norms stored
        less precisely.
        """
        last = len(self.genes.steps) - 1
        steps = np.unique(np.linspace(0, last, population).round().astype(int))
        uniform = np.stack([self.genes.uniform(step) for step in steps])
        moved = np.stack([self.genes.uniform(step, mantissa=MANTISSAS.index(5)) for step in steps])
        moved[:, NETWORK:] += self.balanced(last // 2)
        first = np.concatenate([uniform, moved])
        bar = tqdm(total=max(evaluations, len(first)), desc="candidates", unit="candidate")

        def evaluate(genes: np.ndarray) -> np.ndarray:
            before = self.evaluated
            points = self.points(genes, callback=bar.update)
            bar.update(len(points) - (self.evaluated - before))  # those that were known
            return np.array([point.costs for point in points], np.float64)

        with bar:
            return evolve(
                evaluate,
                first,
                *self.genes.bounds,
                objectives=3 if self.cost.latency else 2,
                population=population,
                generations=max(1, 1 + round((evaluations - len(first)) / population)),
                seed=self.seed,
                crossover=exchange_genes(seed=self.seed),
                mutation=move_genes(seed=self.seed),
            )

    def front(self) -> list[Point]:
        """Return the points known that no other beats in all costs, by bytes."""
        points = [_point(value) for value in self._points.values()]
        return [points[i] for i in nondominated([point.costs for point in points])]

    def members(self, points: Iterable[Point], divergence: Divergence, *, again: int = 500) -> list[Candidate]:
        """Return points as files, evaluated in full: batch norms re-estimated, each file loaded back.

        again: images on which each is rounded once more, see `round_again`; 0 leaves it as the search saw it. Their
        mode is "rounded again" or "searched", their setting the divergence that the search saw.
        """
        train, policy = self.task.calibration_images().images, self.task.recipe.augmentation
        calibration = training.sample(train, training.IMAGES, policy=policy, seed=self.seed)
        own = training.sample(train, again, policy=policy, seed=self.seed + 3_000_000) if again else None

        def made(point: Point) -> tuple[Compressed, dict]:
            coded = self.cost.coded(point.genes)
            if again:
                coded = round_again(self.genes, point.genes, self.network, own)
            mantissa = self.genes.mantissa(point.genes)
            compressed = assemble(self.network, coded, calibration=calibration, mantissa=mantissa)
            mode = "rounded again" if again else "searched"
            return compressed, {"setting": point.divergence, "mode": mode, **index_sizes(coded)}

        names = {hashlib.sha256(repr(p.genes).encode()).hexdigest()[:16] + ".bitbook": partial(made, p) for p in points}
        kept = Cache(self.folder / f"members-{again}", self.identity | {"again": again})
        return kept_candidates(kept, names, divergence)


def _point(value: dict) -> Point:
    return Point(**{**value, "genes": tuple(value["genes"])})


def spread_evenly(points: list[Point], number: int) -> list[Point]:
    """Return at most so many points of a front, evenly spread in the logarithm of their bytes, both ends included."""
    if not points:
        return []
    sizes = np.log([point.file_bytes for point in points])
    wanted = np.linspace(sizes[0], sizes[-1], number)
    return [points[i] for i in sorted({int(np.abs(sizes - size).argmin()) for size in wanted})]
