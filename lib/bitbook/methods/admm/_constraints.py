"""The sets that ADMM pulls weights into, and the nearest point of each: few weights, few channels, or few values."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from bitbook.clustering import clusters_beside_zero
from bitbook.codes import Coded, ScalarCode, SparseCode
from bitbook.training import gradual_sparsity

Weights = Mapping[str, Tensor]  # by parameter name
STEPS = np.linspace(0.05, 1.1, 1051)  # of the levels, as shares of the largest weight over the number of levels
AGAIN = 4  # times that positions are priced by those chosen before


class Constraint(Protocol):
    """A set of weights of all layers together; its `repr` says all of it."""

    def names(self, weights: Sequence[str], parameters: Sequence[str]) -> Sequence[str]:
        """Return which of its layers' parameters, weights and biases, a set is about."""

    def project(self, weights: Weights, progress: float = 1.0) -> dict[str, Tensor]:
        """Return the point of the set nearest to the weights; a set may be wider while progress is below 1."""


@dataclass(frozen=True)
class Cardinality:
    """At most `left[name]` weights of a layer are not zero."""

    left: Mapping[str, int]

    def names(self, weights: Sequence[str], parameters: Sequence[str]) -> Sequence[str]:
        return list(self.left)

    def project(self, weights: Weights, progress: float = 1.0) -> dict[str, Tensor]:
        """Keep the largest magnitudes of each layer; of equals the first."""
        left = {name: _left([value], self.left[name], progress) for name, value in weights.items()}
        return {name: value * largest(value.abs(), left[name]) for name, value in weights.items()}


@dataclass(frozen=True)
class GlobalCardinality:
    """At most `left` weights of all layers together are not zero.

    Scores make layers comparable: a squared weight over the sum of those in its layer that are not smaller (LAMP, Lee
    et al., arXiv 2010.07611). With `value_bits` a score is divided by the bits that its weight takes in a file: these,
    and those of its position, which are fewer where rows, columns and kernels are fuller. The choice is ours.
    """

    left: int
    value_bits: float = 0.0

    def names(self, weights: Sequence[str], parameters: Sequence[str]) -> Sequence[str]:
        return weights

    def project(self, weights: Weights, progress: float = 1.0) -> dict[str, Tensor]:
        """Keep the highest scores of all layers."""
        left = _left(weights.values(), self.left, progress)
        scores = {name: lamp_scores(value) for name, value in weights.items()}
        kept = _highest(scores, left)
        for _ in range(AGAIN if self.value_bits else 0):
            priced = {name: score / (self.value_bits + position_bits(kept[name])) for name, score in scores.items()}
            kept = _highest(priced, left)
        return {name: value * kept[name] for name, value in weights.items()}


@dataclass(frozen=True)
class Channels:
    """At most `left[name]` output channels of a layer hold a weight that is not zero (our choice)."""

    left: Mapping[str, int]

    def names(self, weights: Sequence[str], parameters: Sequence[str]) -> Sequence[str]:
        return list(self.left)

    def project(self, weights: Weights, progress: float = 1.0) -> dict[str, Tensor]:
        """Keep the channels of largest norm in each layer; of equals the first."""
        projected = {}
        for name, value in weights.items():
            norms = value.detach().flatten(1).norm(dim=1)
            kept = largest(norms, _left([norms], self.left[name], progress))
            projected[name] = value * kept.view(-1, *[1] * (value.ndim - 1))
        return projected


@dataclass(frozen=True)
class Levels:
    """A weight that is not zero has one of these values; zero stays zero.

    values: ascending, by a pattern (`fnmatch`) of the parameters that share them.
    """

    values: Mapping[str, tuple[float, ...]]

    def names(self, weights: Sequence[str], parameters: Sequence[str]) -> Sequence[str]:
        return _matching(self.values, parameters)

    def project(self, weights: Weights, progress: float = 1.0) -> dict[str, Tensor]:
        """Replace what is not zero by the nearest level."""
        indices, found = self.indices(weights), {}
        for name, value in weights.items():
            levels = torch.tensor(self.values[_pattern(name, self.values)]).to(value)
            found[name] = torch.where(value != 0, levels[indices[name]], 0.0)
        return found

    def indices(self, weights: Weights) -> dict[str, Tensor]:
        """Return the number of each weight's nearest level, int64."""
        found = {}
        for name, value in weights.items():
            levels = torch.tensor(self.values[_pattern(name, self.values)], dtype=torch.float64, device=value.device)
            found[name] = torch.bucketize(value.detach().double().contiguous(), (levels[1:] + levels[:-1]) / 2)
        return found

    def coded(self, weights: Weights) -> Coded:
        """Return the weights as codes, sparse where some are zero, with a codebook of each pattern's levels."""
        codes = {}
        for name, index in self.indices(weights).items():
            positions, book = (weights[name] != 0).cpu().numpy(), _pattern(name, self.values)
            index = index.cpu().numpy()
            inner = ScalarCode(index if positions.all() else index[positions], book)
            codes[name] = inner if positions.all() else SparseCode(positions, inner)
        return Coded(codes, {book: np.array(levels, np.float16) for book, levels in self.values.items()})


@dataclass(frozen=True)
class _Clustered(ABC):
    """At most so many different values beside zero, by a pattern (`fnmatch`) of the parameters that share them."""

    levels: Mapping[str, int]

    def names(self, weights: Sequence[str], parameters: Sequence[str]) -> Sequence[str]:
        return _matching(self.levels, parameters)

    def project(self, weights: Weights, progress: float = 1.0) -> dict[str, Tensor]:
        return self.find(weights).project(weights)

    def find(self, weights: Weights) -> Levels:
        """Return the levels of least squared error for these weights; zeros cost nothing and have none."""
        groups: dict[str, list[np.ndarray]] = {}
        for name, value in weights.items():
            flat = value.detach().cpu().numpy().ravel()
            groups.setdefault(_pattern(name, self.levels), []).append(flat[flat != 0])
        joined = {pattern: np.concatenate(parts) for pattern, parts in sorted(groups.items())}
        return Levels({pattern: tuple(self._find(values, self.levels[pattern])) for pattern, values in joined.items()})

    @abstractmethod
    def _find(self, values: np.ndarray, count: int) -> Iterator[float]:
        """Return the levels of values that are not zero."""


class EqualLevels(_Clustered):
    """The nonzero weights of a pattern are multiples j a, j = -M..-1 and 1..M, of one step a.

    levels: 2M by pattern, even. The step is searched between 0.05 and 1.1 times the largest weight over M; the authors
    search from 0.9, too far from zero for few levels.
    """

    def _find(self, values: np.ndarray, count: int) -> Iterator[float]:
        size = np.abs(values)
        half = count // 2
        steps = STEPS * (size.max(initial=1e-12) / half)
        step = min(steps, key=lambda a: ((size - a * np.clip(np.rint(size / a), 1, half)) ** 2).sum())
        return (step * j for j in range(-half, half + 1) if j)


class FreeClusters(_Clustered):
    """The nonzero weights of a pattern have at most so many values, wherever these lie; found exactly."""

    def _find(self, values: np.ndarray, count: int) -> Iterator[float]:
        return iter(clusters_beside_zero(values, count).values.tolist() if values.size else [0.0])


@dataclass(frozen=True)
class Both:
    """The second constraint on what the first leaves; the projection is exact where the second keeps zeros."""

    first: Cardinality | GlobalCardinality
    second: EqualLevels | FreeClusters

    def names(self, weights: Sequence[str], parameters: Sequence[str]) -> Sequence[str]:
        return self.first.names(weights, parameters)

    def project(self, weights: Weights, progress: float = 1.0) -> dict[str, Tensor]:
        return self.second.project(self.first.project(weights, progress))


def lamp_scores(weights: Tensor) -> Tensor:
    """Return w^2 / sum of all v^2 >= w^2 for each weight w, float64; zeros score zero."""
    squares, order = weights.detach().double().square().flatten().sort(descending=True, stable=True)
    scores = torch.empty_like(squares)
    scores[order] = squares / squares.cumsum(0).clamp(min=1e-300)
    return scores.view(weights.shape)


def position_bits(kept: Tensor) -> Tensor:
    """Return what it takes to say that a weight is kept, by how full its row, column and kernel are; float64."""
    full = kept.double().reshape(*kept.shape[:2], -1)  # (out, in, places)
    mean = (full.sum() + 1) / (full.numel() + 2)
    rows, columns = (
        (full.sum(axes, keepdim=True) + 4 * mean) / (full.numel() / full.shape[axis] + 4)
        for axis, axes in ((0, (1, 2)), (1, (0, 2)))
    )
    expected = (rows * columns / mean).clamp(max=0.5)
    if full.shape[2] > 1:
        expected = ((full.sum(2, keepdim=True) + 8 * expected) / (full.shape[2] + 8)).clamp(max=0.5)
    return -torch.log2(expected).expand(full.shape).reshape(kept.shape)


def _left(weights: Iterable[Tensor], final: int, progress: float) -> int:
    """How many are left of those that are not zero."""
    total = sum(int(value.count_nonzero()) for value in weights)
    return total - round(total * gradual_sparsity(progress, final=1 - min(final, total) / max(total, 1)))


def largest(scores: Tensor, count: int) -> Tensor:
    """Return where the `count` largest scores stand, bool; of equals the first."""
    order = scores.detach().flatten().sort(descending=True, stable=True).indices[:count]
    return torch.zeros_like(scores, dtype=torch.bool).flatten().index_fill_(0, order, True).view(scores.shape)


def _highest(scores: Weights, count: int) -> dict[str, Tensor]:
    kept = largest(torch.cat([score.flatten() for score in scores.values()]), count)
    parts = kept.split([score.numel() for score in scores.values()])
    return {name: part.view(score.shape) for part, (name, score) in zip(parts, scores.items(), strict=True)}


def _matching(patterns: Iterable[str], names: Iterable[str]) -> list[str]:
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _pattern(name: str, patterns: Iterable[str]) -> str:
    found = next((pattern for pattern in patterns if fnmatchcase(name, pattern)), None)
    if found is None:
        raise ValueError(f"{name}: none of the patterns {', '.join(patterns)} gives it levels")
    return found
