"""Where the bytes go: what each step takes off the file, at no more than the same divergence on training images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from bitbook.clustering import InputFactor
from bitbook.codes import ScalarCode
from bitbook.codes.container import coded_bytes
from bitbook.methods.assemble import assemble, weight_tensors
from bitbook.methods.compensate import compensate
from bitbook.methods.moea_bins.bins import shared_bins
from bitbook.methods.moea_bins.evaluation import FastDivergence
from bitbook.methods.moea_bins.honest import Point
from bitbook.methods.moea_bins.merge import merge_neighbours, merged_values
from bitbook.methods.records import Records
from bitbook.methods.sweep import index_sizes
from bitbook.tasks import Task

Coded = tuple[dict[str, ScalarCode], dict[str, np.ndarray]]


def waterfall(
    fast: FastDivergence,
    task: Task,
    factors: Mapping[str, Sequence[InputFactor]],
    points: Iterable[Point],
    *,
    target: float,
    fewest: int,
    bins: int,
    price: float = 0.1,
    folder: Path,
) -> dict[str, float]:
    """Return the bytes of the file after each step, by the step's name, without steps that do not reach the target.

    fast: of the float network. factors: of the layers' inputs. points: the front of the search over genes. target: the
    divergence allowed, nats an image. fewest, bins: bounds of k, whose least value that reaches the target is found by
    bisection, as if divergence fell with k. price: of a bit in compensated rounding. folder: keeps what was evaluated.
    Files whose indices have fixed length or Huffman codes are not written: the coded indices of the real file are
    replaced by their length, without a table for the Huffman code. From batch norm on bins are not merged by trial;
    that costs hundreds of passes and gives little once indices are entropy-coded.
    """
    identity = {"target": target, "fewest": fewest, "bins": bins, "price": price, "images": len(fast.images)}
    records = Records(folder / "waterfall.jsonl", identity=identity)
    tensors = weight_tensors(fast.network)
    bar = tqdm(desc="waterfall", unit="trial")

    def tried(name: str, codes: Coded, reestimate: bool) -> dict[str, float]:
        if name not in records:
            weights = {layer: code.decode(codes[1]) for layer, code in codes[0].items()}
            divergence = fast(weights, reestimate=reestimate)[1]
            file = len(assemble(fast.module, task, *codes, reestimate=False).to_bytes())
            rest = file - coded_bytes(*codes)
            records.add(name, {"divergence": divergence, "file": file, "rest": rest, **index_sizes(*codes)})
            bar.update()
        return records[name]

    def plain(k: int) -> dict[str, float]:
        return tried(f"plain {k}", shared_bins(tensors, k), False)

    def reestimated(k: int) -> dict[str, float]:
        return tried(f"re-estimated {k}", shared_bins(tensors, k), True)

    def compensated(k: int) -> dict[str, float]:
        codes, books = shared_bins(tensors, k)
        return tried(f"compensated {k}", (compensate(tensors, codes, books, factors, price=price), books), True)

    steps: dict[str, float] = {}
    most = plain(bins)
    if most["divergence"] <= target:
        steps[f"{bins} bins, fixed length"] = most["fixed_bytes"] + most["rest"]
        k = _least(plain, fewest, bins, target)
        searched = plain(k)
        steps["bin count searched"] = searched["fixed_bytes"] + searched["rest"]
        if "merged" not in records:
            merged = _merged(fast, shared_bins(tensors, k), target / max(searched["divergence"], 1e-12), bar)
            tried("merged", merged, False)
        merged = records["merged"]
        steps["neighbours merged"] = merged["fixed_bytes"] + merged["rest"]
        steps["Huffman code"] = merged["huffman_bytes"] + merged["rest"]
        steps["our entropy coder"] = merged["file"]
    for name, step in (("batch norm re-estimated", reestimated), ("rounding compensated", compensated)):
        if step(bins)["divergence"] <= target:
            steps[name] = step(_least(step, fewest, bins, target))["file"]
    reached = [point.file_bytes for point in points if point.divergence is not None and point.divergence <= target]
    if reached:
        steps["genes per layer"] = min(reached)
    bar.close()
    return {name: float(bytes_) for name, bytes_ in steps.items()}


def _least(step: Callable[[int], Mapping[str, float]], fewest: int, bins: int, target: float) -> int:
    """The least k that reaches the target, by bisection down to 2 %; `bins` is known to reach it."""
    while fewest < bins and bins - fewest > 0.02 * bins:
        k = int(np.sqrt(fewest * bins))
        fewest, bins = (fewest, k) if step(k)["divergence"] <= target else (k + 1, bins)
    return bins


def _merged(fast: FastDivergence, coded: Coded, room: float, bar: tqdm) -> Coded:
    """The bins merged from left to right while the divergence on the first images grows by no more than `room`."""
    codes, books = coded
    values = books["shared"].astype(np.float64)
    counts = sum(np.bincount(code.indices.ravel(), minlength=len(values)) for code in codes.values())

    def joined(groups: np.ndarray) -> Coded:
        own = {name: dataclasses.replace(code, indices=groups[code.indices]) for name, code in codes.items()}
        return own, {"shared": merged_values(values, counts, groups).astype(np.float16)}

    def score(groups: np.ndarray) -> float:
        bar.update()
        own, book = joined(groups)
        weights = {name: code.decode(book) for name, code in own.items()}
        return -fast(weights, reestimate=False, hopeless=lambda first: True)[0]

    reference = score(np.arange(len(values))) * max(room, 1.0)
    return joined(merge_neighbours(len(values), score, reference=reference))
