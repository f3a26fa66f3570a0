"""Try every setting of a method that has one number to set, and keep what each costs."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from torch import nn
from tqdm import tqdm

from bitbook.codes import Coded, Compressed, entropy_bits, fixed_bits, huffman_bits
from bitbook.compression import Divergence, assemble, compensate, factored, input_moments, weight_tensors
from bitbook.files import Cache
from bitbook.networks import checksum
from bitbook.tasks import Task

MODES = ("plain", "re-estimated", "compensated")
Coding = Callable[[Mapping[str, np.ndarray], float], Coded]


@dataclass(frozen=True)
class Candidate:
    """One setting tried: its size by each way of coding the indices, its real file, its divergence.

    fixed_bytes, huffman_bytes, entropy_bytes: the indices alone, with one table a codebook, as papers count.
    file_bytes: the whole file. divergence: from the float outputs on training images, nats an image.
    """

    file: Path
    setting: float
    mode: str
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
    modes: Iterable[str] = MODES,
    rate_weight: float = 0.0,
    images: int = 2000,
    seed: int = 0,
) -> list[Candidate]:
    """Try every setting, keep each file in the folder, and return what each costs, by mode and setting.

    coding: turns weights and a setting into codes. modes: "plain" (nearest values, batch norm as it was),
    "re-estimated" (nearest values, batch norm re-estimated), "compensated" (GPTQ rounding at this rate-distortion
    weight, see `compensate`, and batch norm re-estimated). images: how many augmented training images the divergence
    and the layers' inputs are taken on. A stopped sweep resumes: what has its record in the folder is not evaluated
    again. Raises ValueError where there is no setting, and for an unknown mode.
    """
    given, settings = settings, sorted({s.item() if isinstance(s, np.generic) else s for s in settings})
    modes = sorted(set(modes))
    if not settings:
        raise ValueError(f"a sweep needs at least one setting, and {given!r:.50} holds none")
    if unknown := [t for t in modes if t not in MODES]:
        raise ValueError(f"modes are {', '.join(MODES)}, not {', '.join(unknown)}")
    tensors = weight_tensors(network)
    identity = {"network": checksum(network.state_dict()), "task": task.name, "images": images, "seed": seed}
    divergence = cache(lambda: Divergence(network, task, images=images, seed=seed))
    factors = cache(lambda: {n: factored(m) for n, m in input_moments(network, divergence().images).items()})
    calibration = cache(lambda: task.calibration(seed=seed))  # drawn once for all settings

    def made(setting: float, mode: str) -> tuple[Compressed, dict]:
        coded = coding(tensors, setting)
        if mode == "compensated":
            coded = compensate(tensors, coded, factors(), rate_weight=rate_weight)
        compressed = assemble(network, coded, calibration=None if mode == "plain" else calibration())
        return compressed, {"setting": setting, "mode": mode, **index_sizes(coded)}

    names = {f"{s!r}-{t}.bitbook": partial(made, s, t) for t in modes for s in settings}
    kept = Cache(folder, identity | {"rate_weight": rate_weight})
    return kept_candidates(kept, names, lambda file: divergence()(file))


def kept_candidates(
    kept: Cache, makers: Mapping[str, Callable[[], tuple[Compressed, dict]]], divergence: Callable[[Compressed], float]
) -> list[Candidate]:
    """Return candidates by the names of their files; those that are not kept yet are made and measured.

    makers: give a file and what else is known of it, see `Candidate`.
    """
    for name, make in tqdm(makers.items(), desc="candidates", unit="candidate"):
        if name not in kept:
            compressed, values = make()
            data = compressed.to_bytes()
            kept.add(name, {**values, "file_bytes": len(data), "divergence": divergence(compressed)}, data)
    return [Candidate(kept.path(name), **kept[name]) for name in makers]


def index_sizes(coded: Coded, tables: Mapping[str, np.ndarray] | None = None) -> dict[str, float]:
    """Return the codebook entries in use and the bytes of the indices by each way of coding, with a table a codebook.

    The names are those of a Candidate's fields: shared, fixed_bytes, huffman_bytes, entropy_bytes. tables: how often
    each symbol occurs, where that differs from `Coded.counts`; codes without a codebook and positions have own ones.
    """
    tables = tables or coded.counts()
    used = {name: int(np.count_nonzero(counts)) for name, counts in tables.items()}
    return {
        "shared": sum(used[name] for name in used if name in coded.codebooks),
        "fixed_bytes": sum(fixed_bits(used[name]) * int(counts.sum()) for name, counts in tables.items()) / 8,
        "huffman_bytes": sum(map(huffman_bits, tables.values())) / 8,
        "entropy_bytes": sum(map(entropy_bits, tables.values())) / 8,
    }
