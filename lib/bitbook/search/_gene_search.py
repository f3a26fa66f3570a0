"""The search over what counts: the divergence from the float network, and the bytes of the real file."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from tqdm import tqdm

from bitbook import training
from bitbook.clustering import input_factor
from bitbook.compression._assemble import assemble
from bitbook.compression._divergence import Divergence
from bitbook.compression._front import nondominated
from bitbook.compression._inputs import input_moments
from bitbook.compression._select import weight_tensors
from bitbook.files import Cache
from bitbook.networks import checksum
from bitbook.search._fast_divergence import FastDivergence
from bitbook.search._gene_cost import GeneCost, Point
from bitbook.search._genes import LAYER, MANTISSAS, NETWORK, OCTAVE, OFF, Genes
from bitbook.search._nsga2 import Generation, evolve
from bitbook.search._sequential_rounding import round_again
from bitbook.search._sweep import Candidate, index_sizes
from bitbook.search._workers import Workers
from bitbook.tasks import Task

MOMENT_IMAGES = 500  # on which the layers' inputs are taken; more change little


class GeneSearch:
    """The search over steps, offsets and clipping of every layer, for divergence and bytes.

    finest, coarsest: steps, in standard deviations of all weights. images, temperature: augmented training images of
    the softened divergence, see `FastDivergence`. folder: keeps what was evaluated, so that a stopped search resumes.
    workers: see `Workers`. Raises ValueError for steps that make no sense, fewer than one image, and a network without
    weights.
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
        seed: int = 0,
        folder: Path,
        workers: int = 1,
    ) -> None:
        self.network, self.task, self.seed, self.folder = network, task, seed, folder
        tensors = weight_tensors(network)
        fast = FastDivergence(network, task, images=images, temperature=temperature, seed=seed)
        moments = input_moments(network, fast.images[:MOMENT_IMAGES])
        factors = {name: [input_factor(moment) for moment in group] for name, group in moments.items()}
        self.genes = Genes.of(tensors, factors, finest=finest, coarsest=coarsest)
        self.identity = {
            "network": checksum(network.state_dict()),
            "task": task.name,
            "steps": self.genes.steps.tolist(),
            "images": images,
            "temperature": temperature,
            "seed": seed,
        }
        self.cost = GeneCost(self.genes, fast, folder / "layers")
        self._sizes = Cache(folder / "layers", self.identity)
        self._points = Cache(folder / "points", self.identity)
        self._workers = Workers(self.cost, folder, workers=workers)

    @property
    def evaluated(self) -> int:
        """How many candidates have been evaluated so far, those that were given up included."""
        return len(self._points)

    @property
    def known(self) -> list[Point]:
        """All that has been evaluated so far, in that order."""
        return [_point(value) for value in self._points.values()]

    def points(
        self,
        candidates: Iterable[np.ndarray],
        *,
        rivals: Iterable[Point] = (),
        told: Callable[[], object] = lambda: None,
    ) -> list[Point]:
        """Return what is known of the candidates, evaluating those that are new.

        rivals: points of the front, which make a candidate hopeless that needs no fewer bytes and is clearly worse.
        told: is called after each evaluation.
        """
        wanted = [tuple(int(gene) for gene in genes) for genes in candidates]
        new = [genes for genes in dict.fromkeys(wanted) if repr(genes) not in self._points]
        keys = list(dict.fromkeys(key for genes in new for key in self.genes.keys(genes)))
        missing = [key for key in keys if repr(key) not in self._sizes]
        for key, size in zip(missing, self._workers.each("layer", missing), strict=True):
            self._sizes.add(repr(key), size)
        sizes = [sum(self._sizes[repr(key)] for key in self.genes.keys(genes)) for genes in new]
        known = [(point.size, point.first, point.divergence) for point in rivals]
        items = [(genes, size, known) for genes, size in zip(new, sizes, strict=True)]
        for point in self._workers.each("candidate", items):
            self._points.add(repr(point.genes), dataclasses.asdict(point))
            told()
        return [_point(self._points[repr(genes)]) for genes in wanted]

    def balanced(self, step: int, *, apart: int = 4, most: int = 12) -> np.ndarray:
        """Return by how many notches each layer's step should lie off a common one, (layers,) whole numbers.

        step: the common one; from there at most so many groups of layers in a row, of about equal weights, are made
        coarser by `apart` notches, one group at a time. Where a saved byte costs little divergence steps become
        coarser, where it costs much finer, until all cost the same, if divergence grows with the square of a step: a
        Lagrangian step (Shoham and Gersho 1988). What rounding does by chance is a tenth of the divergence; groups
        whose cost lies below that say little and move little.
        """
        base = self.genes.uniform(step)
        sizes = np.cumsum([tensor.size for tensor in self.genes.tensors.values()])
        group = np.unique((sizes - 1) * most // sizes[-1], return_inverse=True)[1]  # (layers,)
        coarser = []
        for number in range(group.max() + 1):
            coarser.append(base.copy())
            coarser[-1][NETWORK::LAYER][group == number] += apart
        whole, *points = self.points([base, *coarser])
        saved = np.array([max(whole.file_bytes - point.file_bytes, 1) for point in points], np.float64)
        lost = np.array([max(point.divergence - whole.divergence, 0.0) for point in points])
        noise = 0.1 * whole.divergence
        known = lost**2 / (lost**2 + noise**2)  # (groups,) how far a cost can be believed
        rates = np.log2(np.maximum(lost, noise) / saved)
        common = np.average(rates, weights=saved)
        off = known * OCTAVE / 2 * (common - rates)
        return np.clip(np.rint(off), -OFF, OFF).astype(np.int64)[group]

    def evolve(
        self, *, population: int = 32, evaluations: int = 256, start: Iterable[np.ndarray] = (), seed: int | None = None
    ) -> list[Generation]:
        """Return the generations of NSGA-II over the genes; costs are (bytes of the file, divergence).

        The start holds the candidates in which all layers have the same step, evenly spread over the steps: it is the
        front of the plain sweep. To these come the same candidates with their layers `balanced` and batch norms stored
        less precisely, and those given.
        """
        from bitbook.search._variation import exchange_layers, move_genes

        last = len(self.genes.steps) - 1
        steps = np.unique(np.linspace(0, last, population).round().astype(int))
        uniform = np.stack([self.genes.uniform(step) for step in steps])
        moved = np.stack([self.genes.uniform(step, mantissa=MANTISSAS.index(5)) for step in steps])
        moved[:, NETWORK::LAYER] += self.balanced(last // 2)
        first = np.concatenate([uniform, moved, *(np.atleast_2d(genes) for genes in start)])
        generations = max(1, 1 + round((evaluations - len(first)) / population))
        bar = tqdm(total=max(evaluations, len(first)), desc="candidates", unit="candidate")

        seen: list[Point] = []  # not all that is known: a resumed search must decide as if it had not been stopped

        def evaluate(genes: np.ndarray) -> np.ndarray:
            rivals, before = best(seen), self.evaluated
            points = self.points(genes, rivals=rivals, told=bar.update)
            seen.extend(points)
            bar.update(len(points) - (self.evaluated - before))  # those that were known
            bar.set_postfix(front=len(best(seen)), evaluated=self.evaluated)
            return np.array([_costs(point, rivals) for point in points], np.float64)

        with bar:
            return evolve(
                evaluate,
                first,
                *self.genes.bounds,
                population=population,
                generations=generations,
                seed=self.seed if seed is None else seed,
                crossover=exchange_layers(seed=self.seed),
                mutation=move_genes(seed=self.seed),
            )

    def front(self) -> list[Point]:
        """Return the points known that no other beats in bytes and divergence, by bytes."""
        return best(self.known)

    def members(self, points: Iterable[Point], divergence: Divergence, *, again: int = 500) -> list[Candidate]:
        """Return points as files, evaluated in full: batch norms re-estimated, each file loaded back.

        again: images on which each is rounded once more, see `round_again`; 0 leaves it as the search saw it. Their
        treatment is "rounded again" or "searched", their setting the divergence that the search saw.
        """
        train = self.task.calibration_images().images
        policy = self.task.recipe.augmentation
        calibration = training.sample(train, training.IMAGES, policy=policy, seed=self.seed)
        own = training.sample(train, again, policy=policy, seed=self.seed + 3_000_000) if again else None
        kept = Cache(self.folder / f"members-{again}", self.identity | {"again": again})
        names = {point: hashlib.sha256(repr(point.genes).encode()).hexdigest()[:16] + ".bitbook" for point in points}
        for point, name in tqdm(names.items(), desc="candidates", unit="candidate"):
            if name in kept:
                continue
            if again:
                coded = round_again(self.genes, point.genes, self.cost.divergence, own)
            else:
                coded = self.cost.codes(point.genes)
            mantissa = self.genes.mantissa(point.genes)
            compressed = assemble(self.network, coded, calibration=calibration, mantissa=mantissa)
            data = compressed.to_bytes()
            values = {
                "setting": point.divergence,
                "treatment": "rounded again" if again else "searched",
                **index_sizes(coded),
                "file_bytes": len(data),
                "divergence": divergence(compressed),
            }
            kept.add(name, values, data)
        return [Candidate(kept.path(name), **kept[name]) for name in names.values()]


def best(points: Iterable[Point]) -> list[Point]:
    """Return the points with a file that no other beats in bytes and divergence, by bytes."""
    whole = [point for point in points if point.file_bytes is not None]
    return [whole[i] for i in nondominated([(p.file_bytes, p.divergence) for p in whole])] if whole else []


def _costs(point: Point, rivals: list[Point]) -> tuple[float, float]:
    """Return the costs of a point; what was not evaluated is guessed from the rival that made it hopeless."""
    if point.file_bytes is not None:
        return point.file_bytes, point.divergence
    rival = min((r for r in rivals if r.size <= point.size), key=lambda r: r.first, default=None)
    if rival is None:  # given up in another search
        return point.size, point.divergence or point.first
    file_bytes = rival.file_bytes * point.size / rival.size
    if point.divergence is not None:
        return file_bytes, point.divergence
    return file_bytes, rival.divergence * point.first / rival.first


def _point(value: dict[str, Any]) -> Point:
    return Point(**{**value, "genes": tuple(value["genes"])})


def spread_evenly(points: list[Point], number: int) -> list[Point]:
    """Return at most so many points of a front, evenly spread in the logarithm of their bytes, both ends included."""
    if not points:
        return []
    sizes = np.log([point.file_bytes for point in points])
    wanted = np.linspace(sizes[0], sizes[-1], number)
    return [points[i] for i in sorted({int(np.abs(sizes - size).argmin()) for size in wanted})]
