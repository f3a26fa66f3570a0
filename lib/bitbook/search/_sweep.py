"""Try every setting of a method that has one number to set, and keep what each costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn
from tqdm import tqdm

from bitbook.codes import Coded, fixed_bits, huffman_bits
from bitbook.compression._assemble import assemble
from bitbook.compression._compensate import compensate
from bitbook.compression._divergence import Divergence
from bitbook.compression._inputs import input_moments
from bitbook.compression._select import weight_tensors
from bitbook.files import Cache
from bitbook.networks import checksum
from bitbook.tasks import Task

TREATMENTS = ("plain", "re-estimated", "compensated")
Coding = Callable[[Mapping[str, np.ndarray], float], Coded]


@dataclass(frozen=True)
class Candidate:
    """One setting tried: its size by each way of coding the indices, its real file, its divergence.

    fixed_bytes, huffman_bytes, entropy_bytes: the indices alone, with one table a codebook, as papers count.
    file_bytes: the whole file. divergence: from the float outputs on training images, nats an image.
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

    coding: turns weights and a setting into codes. treatments: "plain" (nearest values, batch
    norm as it was), "re-estimated" (nearest values, batch norm re-estimated), "compensated" (indices chosen for the
    layers' outputs at this price of a bit, see `compensate`, and batch norm re-estimated). images: how many augmented
    training images the divergence and the layers' inputs are taken on. A stopped sweep resumes: what has its record in
    the folder is not evaluated again. Raises ValueError where there is no setting, and for an unknown treatment.
    """
    settings = sorted({s.item() if isinstance(s, np.generic) else s for s in settings})
    treatments = sorted(set(treatments))
    if not settings:
        raise ValueError("a sweep needs at least one setting: the range given is empty")
    if unknown := [t for t in treatments if t not in TREATMENTS]:
        raise ValueError(f"treatments are {', '.join(TREATMENTS)}, not {', '.join(unknown)}")
    tensors = weight_tensors(network)
    identity = {
        "network": checksum(network.state_dict()),
        "task": task.name,
        "images": images,
        "seed": seed,
        "price": price,
    }
    kept = Cache(folder, identity)
    names = {(setting, t): f"{setting!r}-{t}.bitbook" for t in treatments for setting in settings}
    divergence, moments, calibration = None, None, None
    for (setting, treatment), name in tqdm(names.items(), desc="candidates", unit="candidate"):
        if name in kept:
            continue
        if divergence is None:
            calibration = task.calibration(seed=seed)  # drawn once for all settings
            divergence = Divergence(network, task, images=images, seed=seed)
        coded = coding(tensors, setting)
        if treatment == "compensated":
            moments = moments or input_moments(network, divergence.images)
            coded = compensate(tensors, coded, moments, price=price)
        compressed = assemble(network, coded, calibration=None if treatment == "plain" else calibration)
        data = compressed.to_bytes()
        values = {
            "setting": setting,
            "treatment": treatment,
            **index_sizes(coded),
            "file_bytes": len(data),
            "divergence": divergence(compressed),
        }
        kept.add(name, values, data)
    return [Candidate(kept.path(name), **kept[name]) for name in names.values()]


def index_sizes(coded: Coded) -> dict[str, float]:
    """Return the codebook entries in use and the bytes of the indices by each way of coding, with a table a codebook.

    The names are those of a Candidate's fields: shared, fixed_bytes, huffman_bytes, entropy_bytes. Codes without a
    codebook, and the positions of sparse ones, count by their own tables, see `Coded.counts`.
    """
    tables = coded.counts()
    used = {name: int(np.count_nonzero(counts)) for name, counts in tables.items()}
    return {
        "shared": sum(used[name] for name in used if name in coded.codebooks),
        "fixed_bytes": sum(fixed_bits(used[name]) * int(counts.sum()) for name, counts in tables.items()) / 8,
        "huffman_bytes": sum(map(huffman_bits, tables.values())) / 8,
        "entropy_bytes": coded.entropy() / 8,
    }
