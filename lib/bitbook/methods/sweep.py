"""Try every setting of a method that has one number to set, and keep what each costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from bitbook.codes import Code, entropy_bits, fixed_bits, huffman_bits
from bitbook.methods.assemble import assemble, weight_tensors
from bitbook.methods.compensate import compensate, input_moments
from bitbook.methods.divergence import Divergence
from bitbook.methods.trials import Trials
from bitbook.tasks import Task

TREATMENTS = ("plain", "re-estimated", "compensated")
Coding = Callable[[Mapping[str, np.ndarray], float], tuple[dict[str, Code], dict[str, np.ndarray]]]


@dataclass(frozen=True)
class Candidate:
    """One setting tried: its size by each way of coding the indices, its real file, its divergence.

    fixed_bytes, huffman_bytes, entropy_bytes: the indices alone, over the whole network with one table, as papers
    count. file_bytes: the whole file. divergence: from the float outputs on training images, nats an image.
    """

    file: Path
    setting: float
    treatment: str
    shared: int
    fixed_bytes: float
    huffman_bytes: float
    entropy_bytes: float
    file_bytes: int
    divergence: float


def sweep(
    network: nn.Module,
    task: Task,
    coding: Coding,
    settings: Iterable[float],
    *,
    folder: Path,
    treatments: Iterable[str] = TREATMENTS,
    price: float = 0.0,
    images: int = 2000,
    seed: int = 0,
) -> list[Candidate]:
    """Try every setting, keep each file in the folder, and return what each costs, by treatment and setting.

    coding: turns weights and a setting into codes that share one codebook. treatments: "plain" (nearest values, batch
    norm as it was), "re-estimated" (nearest values, batch norm re-estimated), "compensated" (indices chosen for the
    layers' outputs at this price of a bit, see `compensate`, and batch norm re-estimated). images: how many augmented
    training images the divergence and the layers' inputs are taken on. A stopped sweep resumes: what has its record in
    the folder is not evaluated again. Raises ValueError where there is no setting, and for an unknown treatment.
    """
    settings, treatments = sorted(set(settings)), list(treatments)
    if not settings:
        raise ValueError("a sweep needs at least one setting: the range given is empty")
    if unknown := set(treatments) - set(TREATMENTS):
        raise ValueError(f"treatments are {', '.join(TREATMENTS)}, not {', '.join(sorted(unknown))}")
    tensors = weight_tensors(network)
    trials = Trials(Candidate, folder)
    divergence, moments = None, None
    for setting, treatment in trials.progress([(s, t) for s in settings for t in treatments]):
        name = f"{setting:g}-{treatment}"
        if name in trials:
            continue
        divergence = divergence or Divergence(network, task, images=images, seed=seed)
        codes, codebooks = coding(tensors, setting)
        if treatment == "compensated":
            moments = moments or input_moments(network, divergence.images)
            codes = compensate(tensors, codes, codebooks, moments, price=price)
        compressed = assemble(network, task, codes, codebooks, reestimate=treatment != "plain", seed=seed)
        (codebook,) = codebooks.values()
        counts = sum(np.bincount(code.indices.ravel(), minlength=len(codebook)) for code in codes.values())  # (k,)
        shared = int(np.count_nonzero(counts))
        trials.add(
            name,
            compressed,
            setting=setting,
            treatment=treatment,
            shared=shared,
            fixed_bytes=fixed_bits(shared) * int(counts.sum()) / 8,
            huffman_bytes=huffman_bits(counts) / 8,
            entropy_bytes=entropy_bits(counts) / 8,
            file_bytes=len(compressed.to_bytes()),
            divergence=divergence(compressed),
        )
    return sorted(trials.all(), key=lambda candidate: (candidate.treatment, candidate.setting))
