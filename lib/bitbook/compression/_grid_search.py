"""The default method: one uniform grid for the whole network, as fine as the bytes allow."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from bitbook.codes import ScalarCode, coded_bytes
from bitbook.compression._baseline import stored_values
from bitbook.compression._sequential import Levels, Rounding, round_in_turn, watchable

RATE_WEIGHT = 0.05  # of a bit, in squared steps; a uniform quantiser trades them at about 0.1
PASSES = 8  # roundings of the whole network, at most
NEAR = 0.03  # share of the budget within which all images are worth their time; until then a quarter of them
CLOSE = 0.008  # share of the budget that may stay unused
SLOPE = -0.65  # d log(bytes) / d log(step) near two bits a weight
LARGEST = 32767  # level


@dataclass(frozen=True)
class Rounded:
    """A network on one grid: codes and codebooks, and the biases that make up for the rounding, by name."""

    codes: Mapping[str, ScalarCode]
    codebooks: Mapping[str, np.ndarray]
    biases: Mapping[str, Tensor]
    step: float


def search_grid(
    network: nn.Module,
    weights: Mapping[str, np.ndarray],
    images: Tensor,
    budget: int,
    *,
    size: Callable[[Rounded], int] = lambda rounded: coded_bytes(rounded.codes, rounded.codebooks),
    progress: Callable[[float], object] = lambda done: None,
) -> Rounded:
    """Return the network's weights on the finest uniform grid that keeps a budget of bytes.

    Args:
        network: any module, left as it is; batch norms are to be re-estimated afterwards.
        weights: the weights to code, float arrays by parameter name; those whose layer `watchable` does not take are
            rounded to the nearest level.
        images: (n, ...) as the network takes them, without labels; 1,000 of 32 x 32 do; all are in memory at once.
        budget: bytes, as `size` counts them.
        size: bytes of a rounded network; by default those of its codes.
        progress: is called with the share of the work that is done.

    Returns:
        Codes and one codebook "grid".

    Raises:
        ValueError: for a budget that not even the coarsest grid keeps.
    """
    centred = {name: free for name, free in watchable(network, images).items() if name in weights}
    largest = max(float(np.abs(w).max()) for w in weights.values())
    if not largest:
        raise ValueError("all weights are zero: there is nothing to compress")
    finest, coarsest = 2 * largest / LARGEST, 2 * largest
    step = _first_step(weights, budget)
    known: list[tuple[float, float]] = []  # log step, log of bytes over budget
    best = levels = None
    seen = images[: max(len(images) // 4, 1)]
    for done in range(4 * PASSES):
        step = min(max(step, finest), coarsest)
        nearest = {name: np.rint(w / step).astype(np.int32) for name, w in weights.items()}
        lengths = _code_lengths(levels.weights if levels else nearest, math.ceil(1.5 * largest / step) + 1)
        levels = round_in_turn(network, seen, centred, Rounding(step, lengths, RATE_WEIGHT))
        levels.weights = {name: levels.weights.get(name, nearest[name]) for name in weights}
        rounded = _coded(levels, step)
        over = math.log(size(rounded) / budget)
        progress(min((done + 1) / PASSES, 1.0))
        known.append((math.log(step), over))
        if len(seen) == len(images) and over <= 0 and (best is None or step < best.step):
            best = rounded
        if best and (-CLOSE < over <= 0 or done + 1 >= PASSES or best.step == finest):
            break
        if over > 0 and step == coarsest:
            break
        if abs(over) < NEAR or step == finest or done + 4 >= PASSES:
            seen = images
        step = math.exp(_secant(known)) if done < PASSES else 1.05 * step  # small networks move by chance
    if best is None:
        raise ValueError(f"no grid was found that keeps {budget} bytes; the last one takes {size(rounded)}: allow more")
    progress(1.0)
    return best


def _secant(known: list[tuple[float, float]]) -> float:
    """The log step at which the bytes should be just under the budget, by the last two tries."""
    slope = SLOPE
    if len(known) > 1:
        (a, before), (b, now) = known[-2:]
        if a != b and -2 < (now - before) / (b - a) < -0.2:
            slope = (now - before) / (b - a)
    at, over = known[-1]
    return at - min(max((over + CLOSE / 2) / slope, -1.0), 1.0)


def _first_step(weights: Mapping[str, np.ndarray], budget: int) -> float:
    """The step at which Gaussian weights of this variance would take the budget, by the high-rate formula."""
    number = sum(w.size for w in weights.values())
    deviation = math.sqrt(sum(float(np.square(w, dtype=np.float64).sum()) for w in weights.values()) / number)
    return deviation * math.sqrt(2 * math.pi * math.e) * 2 ** -min(8 * budget / number, 14.0)


def _code_lengths(levels: Mapping[str, np.ndarray], largest: int) -> np.ndarray:
    """Bits of the levels -largest..largest, (2 largest + 1,), from how often they occur; finite for all."""
    counts = np.zeros(2 * largest + 1)
    for found in levels.values():
        counts += np.bincount(np.clip(found, -largest, largest).ravel() + largest, minlength=len(counts))
    return np.log2((counts.sum() + 0.05 * len(counts)) / (counts + 0.05))


def _coded(levels: Levels, step: float) -> Rounded:
    low = min(int(found.min()) for found in levels.weights.values())
    high = max(int(found.max()) for found in levels.weights.values())
    kind = np.min_scalar_type(high - low)
    codes = {name: ScalarCode((found - low).astype(kind), "grid") for name, found in levels.weights.items()}
    return Rounded(codes, {"grid": stored_values(np.arange(low, high + 1) * step)}, levels.biases, step)
