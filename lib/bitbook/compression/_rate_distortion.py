"""What each layer may be clustered to, what that takes and costs, and the best choice within a budget."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from bitbook import training
from bitbook.codes import Coded
from bitbook.compression._assemble import assemble
from bitbook.compression._compensate import compensate, factored
from bitbook.compression._divergence import Divergence
from bitbook.compression._inputs import Moments
from bitbook.files import Cache
from bitbook.networks import checksum


def allocate(costs: np.ndarray, sizes: np.ndarray, budget: float) -> np.ndarray:
    """Return the option of each layer, (layers,), so that the sizes keep the budget and the costs are low.

    costs, sizes: (layers, options), finite. Every layer starts at its smallest option; then, again and again, the step
    that lowers the costs most for each byte is taken, as long as one fits. Each layer moves along its lower convex
    hull, so every choice on the way is the optimum for the bytes that it takes (Shoham and Gersho 1988, which is the
    Lagrangian relaxation of the multiple-choice knapsack); what is left of the budget is less than the next step.
    Raises ValueError where even the smallest options exceed the budget.
    """
    costs, sizes = np.asarray(costs, np.float64), np.asarray(sizes, np.float64)
    if costs.shape != sizes.shape or costs.ndim != 2 or not (np.isfinite(costs).all() and np.isfinite(sizes).all()):
        raise ValueError(f"costs and sizes are finite (layers, options), not {costs.shape} and {sizes.shape}")
    hulls = [_lower_hull(cost, size) for cost, size in zip(costs, sizes, strict=True)]
    at = np.zeros(len(hulls), np.int64)  # place of each layer on its hull
    left = budget - sum(size[hull[0]] for size, hull in zip(sizes, hulls, strict=True))
    if left < 0:
        raise ValueError(f"the smallest options take {budget - left:.0f} bytes, more than the budget of {budget:.0f}")
    while True:
        best, best_gain = None, 0.0
        for layer, hull in enumerate(hulls):
            if at[layer] + 1 < len(hull):
                now, then = hull[at[layer]], hull[at[layer] + 1]
                more = sizes[layer, then] - sizes[layer, now]
                gain = (costs[layer, now] - costs[layer, then]) / more
                if gain > best_gain and more <= left:
                    best, best_gain = layer, gain
        if best is None:
            return np.array([hull[place] for hull, place in zip(hulls, at, strict=True)])
        left -= sizes[best, hulls[best][at[best] + 1]] - sizes[best, hulls[best][at[best]]]
        at[best] += 1


def _lower_hull(cost: np.ndarray, size: np.ndarray) -> list[int]:
    """Options on the lower convex hull of cost over size, from the smallest size to the least cost."""
    hull: list[int] = []
    for option in np.lexsort((cost, size)):
        if hull and cost[option] >= cost[hull[-1]]:
            continue  # larger and no better
        while len(hull) > 1:
            a, b = hull[-2], hull[-1]
            if (cost[a] - cost[b]) * (size[option] - size[b]) > (cost[b] - cost[option]) * (size[b] - size[a]):
                break
            hull.pop()
        hull.append(int(option))
    return hull


@dataclass(frozen=True)
class RateDistortionTable:
    """Options of every layer, one codebook each.

    options: the whole network coded, once an option. bytes: (layers, options) in a real file.
    divergence: (layers, options) of the network's outputs when that layer alone takes that option, nats an image.
    rest: bytes of a file that belong to no layer.
    """

    options: tuple[Coded, ...]
    bytes: np.ndarray
    divergence: np.ndarray
    rest: int

    @property
    def least(self) -> int:
        """Bytes of the smallest file."""
        return int(self.bytes.min(1).sum()) + self.rest

    def within(self, budget: float) -> Coded:
        """Return the codes of least summed divergence whose file keeps the budget.

        That divergences add up is an assumption: they nearly do while they are small. Raises ValueError for a budget
        below what the smallest options take.
        """
        chosen = allocate(self.divergence, self.bytes, budget - self.rest)
        own = {name: self.options[option] for name, option in zip(self.options[0].codes, chosen, strict=True)}
        codes = {name: coded.codes[name] for name, coded in own.items()}
        return Coded(codes, {name: coded.codebooks[name] for name, coded in own.items()})


def rate_distortion_table(
    network: nn.Module,
    tensors: Mapping[str, np.ndarray],
    options: Sequence[Coded],
    divergence: Divergence,
    *,
    folder: Path | None = None,
    moments: Mapping[str, Moments] | None = None,
    rate_weight: float = 0.1,
) -> RateDistortionTable:
    """Measure what each option takes and costs in each layer, one pass over the divergence's images each.

    tensors: the weights, by name. options: with a codebook of the layer's own name for each layer.
    folder: keeps each option's measurements, so that a stopped table resumes; None keeps nothing. moments: of
    `input_moments`; then rounding is GPTQ rounding, at this rate-distortion weight. Raises ValueError where the folder
    holds the measurements of another network or of other images.
    """
    factors = {name: factored(moment) for name, moment in (moments or {}).items()}
    options = tuple(compensate(tensors, coded, factors, rate_weight=rate_weight) for coded in options)
    sizes, costs = np.zeros((2, len(tensors), len(options)))
    images = checksum({"images": divergence.images, "logits": divergence.float_logits})
    identity = {"network": checksum(network.state_dict()), "images": images}
    kept: Cache | dict = Cache(folder, identity) if folder else {}
    scratch = copy.deepcopy(network)
    weights = dict(scratch.named_parameters())

    @torch.no_grad()
    def cost(name: str, decoded: np.ndarray) -> float:
        original = weights[name].clone()
        weights[name].copy_(torch.from_numpy(decoded))
        outputs = training.logits(scratch, divergence.images)
        weights[name].copy_(original)
        return training.kl_divergence(divergence.float_logits, outputs)

    with tqdm(total=costs.size, desc="layers and options", unit="pass") as bar:
        for o, coded in enumerate(options):
            ledger, decoded = assemble(network, coded).ledger(), coded.decode()
            option = checksum(decoded | {f"codebook of {name}": book for name, book in coded.codebooks.items()})
            sizes[:, o] = [sum(row.bytes for row in ledger.rows if row.section == name) for name in decoded]
            if option in kept:
                costs[:, o] = kept[option]
            for layer, (name, values) in enumerate(decoded.items()):
                if option not in kept:
                    costs[layer, o] = cost(name, values)
                bar.update()
            if isinstance(kept, Cache) and option not in kept:
                kept.add(option, costs[:, o].tolist())
    return RateDistortionTable(options, sizes, costs, ledger.total - int(sizes[:, -1].sum()))
