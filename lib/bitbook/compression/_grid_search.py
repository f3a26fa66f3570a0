"""The default method: one uniform grid for the whole network, in units of each layer, as fine as the bytes allow."""

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from bitbook import training
from bitbook.clustering import compensated_rounding, input_factor
from bitbook.codes import Coded, Compressed, entropy_bits
from bitbook.compression._assemble import assemble
from bitbook.compression._baseline import grid, on_grid
from bitbook.compression._compensate import code_lengths
from bitbook.compression._descent import descend
from bitbook.compression._sequential import round_in_turn
from bitbook.networks import plain_copy

MANTISSA = 6  # bits that batch norms and biases keep: an error of 0.8 %, far below that of the weights
RATE_WEIGHT = 0.05  # of a bit, in squared steps; a uniform quantiser trades them at about 0.1
FILES = 8  # made and measured, unless none of them keeps the budget
NEAR = 0.03  # share of the budget within which all images are worth their time; until then a quarter of them
CLOSE = 0.01  # share of the budget that may stay unused
LEAST = 0.9  # share of the budget that a file uses before the search ends with one that is too large
BINS = 2**20  # of the histogram by which sizes are foreseen
LEVELS = 60_000  # of the finest grid: indices have 16 bits

Rounding = Callable[[float, bool], tuple[Coded, Mapping[str, Tensor]]]


def finest_grid(
    network: nn.Module,
    tensors: Mapping[str, np.ndarray],
    budget: int,
    rounding: Rounding,
    *,
    calibration: Tensor | Iterable[training.Batch] | None = None,
    reference: nn.Module | None = None,
    progress: bool = True,
) -> Compressed:
    """Compress to about the finest grid whose file keeps the budget, with one grid step for all weights.

    The entropy of the rounded weights foresees a file's size up to a factor, which the files made on the way tell.

    Args:
        network: a plain module; left as it is.
        tensors: the weights to code by parameter name, in units of the scale of their layer.
        budget: most bytes of the file.
        rounding: gives codes and changed biases for a step; the flag asks for all the care that it can take.
        calibration, reference: for the batch norms, see `assemble`.
        progress: whether to show a progress bar.

    Raises:
        ValueError: for a budget that the coarsest grid exceeds.
    """
    network, entropy = plain_copy(network), _Entropy(tensors)
    biases = dict(network.named_parameters())
    rest = len(assemble(network, grid(tensors, entropy.coarsest), mantissa=MANTISSA).to_bytes())
    if rest > budget:
        raise ValueError(
            f"the file takes {rest:,} bytes with all weights zero, more than the budget of {budget:,}: give a larger "
            "budget or a smaller ratio, or code more of the network (include=)"
        )
    # The batch norms as re-estimated take a few bytes more or less.
    target = budget if calibration is None else budget - budget // 2000
    best, step, factor, careful = None, math.inf, 0.85, not isinstance(rounding, InTurn)
    low, high = entropy.finest, entropy.coarsest  # the step lies between these
    with tqdm(total=FILES, desc="grid step", unit="file", disable=not progress) as bar:
        for done in range(4 * FILES):
            # Small networks move by chance: their steps only grow in the end.
            step = entropy.step(((1 - CLOSE / 2) * target - rest) / factor) if done < FILES else 1.05 * step
            if 0 < done < FILES and not low < step < high:
                step = math.sqrt(low * high)  # a small network, whose file is mostly its codebook
            coded, changed = rounding(step, careful)
            with torch.no_grad():
                for name, bias in changed.items():
                    biases[name].copy_(bias)
            size = len(assemble(network, coded, mantissa=MANTISSA).to_bytes())
            bar.set_postfix(bytes=size)
            bar.update()
            low, high = (max(low, step), high) if size > target else (low, min(high, step))
            factor = max(size - rest, 1) / max(entropy.bytes(step), 1)
            if careful and size <= target:
                file = assemble(network, coded, calibration=calibration, reference=reference, mantissa=MANTISSA)
                over = len(file.to_bytes()) - budget
                target -= 2 * max(over, 0)
                if over <= 0 and (best is None or step < best[0]):
                    best = step, file
            used = len(best[1].to_bytes()) if best else 0
            near = used > LEAST * target and size > (1 - CLOSE) * target
            if best and (near or best[0] == entropy.finest or done + 1 >= FILES):
                return best[1]
            careful = careful or abs(size / target - 1) < NEAR or step == entropy.finest or done + 4 >= FILES
    raise ValueError(f"no file of this network was found that keeps the budget of {budget:,} bytes: give a larger one")


class InTurn:
    """Rounding to a grid layer after layer, see `round_in_turn`, by the code lengths of the levels found before."""

    def __init__(
        self, network: nn.Module, tensors: Mapping[str, np.ndarray], images: Tensor, layers: Mapping[str, bool]
    ) -> None:
        self.network, self.tensors, self.images, self.layers = network, tensors, images, layers
        self._levels: dict[str, np.ndarray] = {}

    def __call__(self, step: float, careful: bool) -> tuple[Coded, dict[str, Tensor]]:
        found = {name: np.rint(w / step).astype(np.int32) for name, w in self.tensors.items()}
        largest = math.ceil(1.5 * max(float(np.abs(w).max()) for w in self.tensors.values()) / step) + 1
        seen = np.concatenate([np.clip(x, -largest, largest).ravel() for x in (self._levels or found).values()])
        lengths = code_lengths(np.bincount(seen + largest, minlength=2 * largest + 1))

        def round_layer(name: str, weights: np.ndarray, moments: np.ndarray) -> np.ndarray:
            parts = weights.reshape(len(moments), -1, moments.shape[1]) / step  # (groups, outputs, inputs)
            groups = [_levels(*part, lengths) for part in zip(parts, moments, strict=True)]
            # What the finest steps move beyond the levels of a file stays at the last one.
            found[name] = np.concatenate(groups).reshape(weights.shape).clip(-LEVELS // 2 + 1, LEVELS // 2 - 1)
            return found[name] * step

        images = self.images if careful else self.images[: max(len(self.images) // 4, 1)]
        biases = round_in_turn(self.network, images, self.layers, round_layer)
        self._levels = found
        return on_grid(found, step), biases


def _levels(
    weights: np.ndarray, moments: np.ndarray, lengths: np.ndarray, *, rate_weight: float = RATE_WEIGHT
) -> np.ndarray:
    """Levels (outputs, inputs) for weights in steps; lengths: (2 k + 1,) bits of the levels -k..k."""
    factor = input_factor(moments, damping=0.0)
    largest = len(lengths) // 2
    values = np.arange(-largest, largest + 1.0)
    start = compensated_rounding(weights, factor, values, code_lengths=lengths, rate_weight=rate_weight)
    # Moments in the units of compensated rounding: a squared error in a column of average weight costs one.
    unit = factor.importance[0] * np.diagonal(factor.factor)[0] ** 2 * len(moments) / np.trace(moments)
    start = start.astype(np.int32) - largest
    return descend(start, weights, moments * unit, code_lengths=lengths, rate_weight=rate_weight)


class _Entropy:
    """The entropy of all weights rounded to a grid, by a fine histogram of them; the finest and coarsest grids."""

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        largest = max(float(np.abs(tensor).max()) for tensor in tensors.values()) or 1.0
        counts = np.sum([np.histogram(tensor, BINS, (-largest, largest))[0] for tensor in tensors.values()], axis=0)
        used = np.flatnonzero(counts)
        self._counts, self._centres = counts[used], (used + 0.5) * (2 * largest / BINS) - largest
        self.finest, self.coarsest = 2 * largest / LEVELS, 4 * largest  # at the coarsest all are zero

    def bytes(self, step: float) -> float:
        """Bytes of all indices with one table."""
        levels = np.rint(self._centres / step).astype(np.int64)
        return entropy_bits(np.bincount(levels - levels[0], self._counts)) / 8

    def step(self, size: float) -> float:
        """The step whose indices take so many bytes, or the end that comes nearest."""
        low, high = math.log(self.finest), math.log(self.coarsest)
        if self.bytes(self.finest) <= size:
            return self.finest
        while high - low > 1e-6:
            middle = (low + high) / 2
            low, high = (low, middle) if self.bytes(math.exp(middle)) <= size else (middle, high)
        return math.exp(high)
