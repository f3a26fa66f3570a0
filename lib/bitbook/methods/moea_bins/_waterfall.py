"""Where the bytes go: what each step takes off the file, at no more than the same divergence on training images."""

from collections.abc import Callable, Mapping

import numpy as np
from tqdm import tqdm

from bitbook import training
from bitbook.codes import Coded, coded_bytes, small_floats
from bitbook.compression import assemble, compensate, weight_tensors
from bitbook.compression import front as best_of
from bitbook.files import Cache
from bitbook.methods.moea_bins._bins import merge_neighbours, merged_values, shared_bins
from bitbook.search import FastDivergence, GeneSearch, index_sizes, round_again

MERGE_IMAGES = 200  # on which merging bins by trial takes hundreds of passes


def waterfall(
    search: GeneSearch, *, target: float, fewest: int, bins: int, rate_weight: float = 0.1, again: int = 500
) -> dict[str, float]:
    """Return the bytes of the file after each step, by the step's name, without steps that do not reach the target.

    search: over genes, evolved; its images and folder are used. target: the divergence allowed, nats an image. fewest,
    bins: bounds of k; its least value that reaches the target is found by bisection, as if divergence fell with k.
    rate_weight: the rate-distortion weight of GPTQ rounding. again: images for `round_again`; 0 leaves that step out.

    Files whose indices have fixed length or Huffman codes are not written: the coded indices of the real file are
    replaced by their length, without a table for the Huffman code. From batch norm on bins are not merged by trial,
    which costs hundreds of passes and gives little once indices are entropy-coded.
    """
    fast, task, genes = search.cost.divergence, search.task, search.genes
    settings = {"target": target, "fewest": fewest, "bins": bins, "rate_weight": rate_weight, "again": again}
    records = Cache(search.folder / f"waterfall-{target!r}", search.identity | settings)
    tensors = weight_tensors(search.network)
    bar = tqdm(desc="waterfall", unit="trial")

    def tried(name: str, make: Callable[[], Coded], *, reestimate: bool = True, mantissa: int = 10) -> dict[str, float]:
        if name not in records:
            coded = make()
            divergence = fast(coded.decode(), reestimate=reestimate, mantissa=mantissa)
            file = assemble(fast.module, coded, mantissa=mantissa)
            rest = len(file.to_bytes()) - coded_bytes(coded.codes, coded.codebooks)
            sizes = {"file": len(file.to_bytes()), "rest": rest, **index_sizes(coded)}
            records.add(name, {"divergence": divergence, **sizes})
            bar.update()
        return records[name]

    def plain(k: int) -> dict[str, float]:
        return tried(f"plain {k}", lambda: shared_bins(tensors, k), reestimate=False)

    def reestimated(k: int) -> dict[str, float]:
        return tried(f"re-estimated {k}", lambda: shared_bins(tensors, k))

    def compensated(k: int) -> dict[str, float]:
        make = lambda: compensate(tensors, shared_bins(tensors, k), genes.factors, rate_weight=rate_weight)  # noqa: E731
        return tried(f"compensated {k}", make)

    steps: dict[str, float] = {}
    most = plain(bins)
    if most["divergence"] <= target:
        steps[f"{bins} bins, fixed length"] = most["fixed_bytes"] + most["rest"]
        k = _least(plain, fewest, bins, target)
        searched = plain(k)
        steps["bin count searched"] = searched["fixed_bytes"] + searched["rest"]
        room = target / max(searched["divergence"], 1e-12)
        merged = tried("merged", lambda: _merged(fast, shared_bins(tensors, k), room, bar), reestimate=False)
        steps["neighbours merged"] = merged["fixed_bytes"] + merged["rest"]
        steps["Huffman code"] = merged["huffman_bytes"] + merged["rest"]
        steps["our entropy coder"] = merged["file"]
    for name, step in (("batch norm re-estimated", reestimated), ("GPTQ rounding", compensated)):
        if step(bins)["divergence"] <= target:
            steps[name] = step(_least(step, fewest, bins, target))["file"]
    front = best_of(search.front())  # by bytes, so divergence falls
    reached = [point.file_bytes for point in front if point.divergence <= target]
    if reached:
        steps["a step for each layer"] = min(reached)
    if again and front:
        policy, train = task.recipe.augmentation, task.calibration_images().images
        own = training.sample(train, again, policy=policy, seed=search.seed + 3_000_000)

        def rounded(place: int) -> dict[str, float]:
            point = front[place]
            mantissa = genes.mantissa(point.genes)
            return tried(
                f"again {point.genes}", lambda: round_again(genes, point.genes, search.network, own), mantissa=mantissa
            )

        if rounded(len(front) - 1)["divergence"] <= target:
            steps["rounded again"] = rounded(_least(rounded, 0, len(front) - 1, target, exact=True))["file"]
    bar.close()
    return {name: float(bytes_) for name, bytes_ in steps.items()}


def _least(
    step: Callable[[int], Mapping[str, float]], low: int, high: int, target: float, *, exact: bool = False
) -> int:
    """The least number that reaches the target, by bisection, down to 2 % unless exact; `high` is known to reach it."""
    while low < high and (exact or high - low > 0.02 * high):
        middle = (low + high) // 2 if exact else int(np.sqrt(low * high))
        low, high = (low, middle) if step(middle)["divergence"] <= target else (middle + 1, high)
    return high


def _merged(fast: FastDivergence, coded: Coded, room: float, bar: tqdm) -> Coded:
    """The bins merged from left to right while the divergence on a few images grows by no more than `room`."""
    values, counts = coded.codebooks["shared"].astype(np.float64), coded.counts()["shared"]

    def joined(groups: np.ndarray) -> Coded:
        codes = {name: code.renumbered({"shared": groups}) for name, code in coded.codes.items()}
        return Coded(codes, {"shared": small_floats(merged_values(values, counts, groups))})

    def score(groups: np.ndarray) -> float:
        bar.update()
        return -fast(joined(groups).decode(), reestimate=False, images=MERGE_IMAGES)

    reference = score(np.arange(len(values))) * max(room, 1.0)
    return joined(merge_neighbours(len(values), score, reference=reference))
