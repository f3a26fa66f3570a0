"""A network trained to compress itself, and the file that it becomes."""

import copy
import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bitbook import files, training
from bitbook.codes import Compressed
from bitbook.compression import assemble
from bitbook.methods.self_compression._quantiser import LearnedDepth
from bitbook.methods.self_compression._scheme import SelfCompression
from bitbook.methods.self_compression._size import reachable_bits
from bitbook.tasks import Task


@dataclass(frozen=True)
class Record:
    """The state of a network in training.

    epoch: epochs done. charged: bits, each weight at its channel's depth (equation 4). reachable: bits, each at the
    log2 of its channel's levels. weights: how many are left. depths: bits of each channel that the layer had at the
    start, by parameter name, 0 where it is empty or has left; where depths are not learned, the bits that hold its
    levels. seconds: since the record before.
    """

    epoch: int
    charged: float
    reachable: float
    weights: int
    depths: dict[str, list[float]]
    seconds: float


def compress(
    network: nn.Module,
    task: Task,
    scheme: SelfCompression,
    recipe: training.Recipe,
    *,
    distil: float = 0.0,
    seed: int = 0,
    folder: Path | None = None,
) -> tuple[Compressed, list[Record]]:
    """Train a copy of a network, fresh or trained, through the scheme; return its file and a record of each epoch.

    Batch norms are re-estimated in the end, as for all methods.

    Args:
        distil: the share of the loss that is distilled from the network's own outputs; for a trained one.
        folder: keeps checkpoint and records, so that a killed training resumes.

    Raises:
        ValueError: as the scheme's `check` does, for a network whose channels cannot be traced, and as `fit` does.
    """
    data = task.train()
    path = folder / "records.json" if folder else None
    records = [Record(**record) for record in json.loads(path.read_text())] if path and path.exists() else []
    started = time.monotonic()

    def callback(epoch: int, current: nn.Module) -> None:
        nonlocal started
        del records[epoch:]  # of a run that was killed before its checkpoint
        records.append(_record(epoch, current, time.monotonic() - started))
        started = time.monotonic()
        if path:
            files.write_atomically(path, json.dumps([dataclasses.asdict(record) for record in records]))

    teacher = training.distillation(copy.deepcopy(network), share=distil) if distil else None
    name = f"distillation {distil}" if distil else ""
    options: dict[str, Any] = {"objective": teacher, "name": name, "folder": folder}
    done = training.fit(
        copy.deepcopy(network), data.images, data.labels, recipe, seed=seed, scheme=scheme, callback=callback, **options
    )
    file = assemble(done.network, done.coded, calibration=task.calibration(seed=seed))
    count = sum(value.numel() for value in network.parameters())  # the ratio is to the network before channels left
    return dataclasses.replace(file, original_parameters=count), records


@torch.no_grad()
def _record(epoch: int, network: nn.Module, seconds: float) -> Record:
    charged, reachable, weights, depths = 0.0, 0.0, 0, {}
    for name, layer in training.attached(network, LearnedDepth).items():
        entering = training.entering(network, name, layer)
        needed = layer.needed(entering)
        b = layer.depth() if layer.depths.requires_grad else needed
        charged += entering[0].numel() * b.sum().item()
        reachable += entering[0].numel() * reachable_bits(b).sum().item()
        weights += entering.numel()
        bits = b.new_zeros(int(layer.starting[0])).index_copy(0, layer.channels, torch.where(needed > 0, b, 0.0))
        depths[name] = bits.tolist()
    return Record(epoch, charged, reachable, weights, depths, seconds)
