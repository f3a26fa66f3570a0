"""The whole method: permute, quantise, fine-tune."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from bitbook import training
from bitbook.codes import Coded, Compressed
from bitbook.compression import Retraining, assemble, input_moments, retrain, weight_tensors
from bitbook.methods.permuted_vq._blocks import Blocks
from bitbook.methods.permuted_vq._permute import Permuted, permute
from bitbook.methods.permuted_vq._quantise import fitted_to_outputs, quantise
from bitbook.networks import plain_copy
from bitbook.tasks import Task

IMAGES = 1000  # for the moments of the layers' inputs


@dataclass(frozen=True, kw_only=True)
class Quantisation:
    """How weights become codewords.

    search: see `permute`, or None for no permutation. annealing, iterations, shared, sparsity:
    see `quantise`. rounding: "nearest" codewords, as in the paper, or those for the "outputs" of each layer.
    """

    search: str | None = "annealed"
    annealing: str = "SR-C"
    iterations: int = 100
    shared: bool = False
    sparsity: float = 0.0
    rounding: str = "nearest"

    def __post_init__(self) -> None:
        training.require_ranges(self, iterations=(1, 1e6), sparsity=(0, 0.999))
        if self.rounding not in ("nearest", "outputs"):
            raise ValueError(f"rounding is 'nearest' or 'outputs', not {self.rounding!r}")
        if self.sparsity and self.rounding == "outputs":
            raise ValueError("rounding for the outputs takes whole blocks: give no sparsity, or rounding='nearest'")


@dataclass(frozen=True)
class Quantised:
    """A permuted network, its codes, and what became of its groups of channels."""

    network: nn.Module
    coded: Coded
    groups: list[Permuted]


def permute_and_quantise(
    network: nn.Module, task: Task, blocks: Blocks, how: Quantisation | None = None, *, seed: int = 0
) -> Quantised:
    """Permute a copy of a network and quantise its weights (arXiv 2010.15703); the network is left as it is."""
    how = how or Quantisation()
    network = plain_copy(network)
    sizes = blocks.sizes(network)
    options: dict[str, Any] = {"annealing": how.annealing, "iterations": how.iterations, "seed": seed}
    groups = permute(network, sizes, search=how.search, **options) if how.search else []
    tensors = weight_tensors(network)
    coded = quantise(tensors, sizes, shared=how.shared, sparsity=how.sparsity, **options)
    if how.rounding == "outputs":
        images = task.calibration(IMAGES, seed=seed)
        coded = fitted_to_outputs(tensors, coded, input_moments(network, images, only=sizes))
    return Quantised(network, coded, groups)


def finish(
    quantised: Quantised, task: Task, tuning: Retraining | None, *, seed: int = 0, folder: Path | None = None
) -> Compressed:
    """Train codebooks, batch norms, biases and dense layers with the codes fixed, and return the file's content.

    tuning: the constants, by Adam in the paper; None: batch norms are re-estimated only. seed: of order and
    augmentation. folder: keeps a checkpoint after every epoch.
    """
    if tuning is None:
        return assemble(quantised.network, quantised.coded, calibration=task.calibration(seed=seed))
    labels: dict[str, Any] = {} if tuning.distil else {"objective": training.cross_entropy(), "name": "labels"}
    scheme = training.CodebookTuning(quantised.coded)
    return retrain(quantised.network, task, scheme, tuning, seed=seed, folder=folder, **labels)


def compress(
    network: nn.Module,
    task: Task,
    blocks: Blocks,
    how: Quantisation | None = None,
    *,
    tuning: Retraining | None = None,
    seed: int = 0,
    folder: Path | None = None,
) -> Compressed:
    """Permute, quantise and fine-tune a classifier, which is left as it is; see `permute_and_quantise` and `finish`."""
    quantised = permute_and_quantise(network, task, blocks, how, seed=seed)
    return finish(quantised, task, tuning, seed=seed, folder=folder)
