"""A trained network trained on through codes, and compressed."""

import copy
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from bitbook import training
from bitbook.codes import Compressed
from bitbook.compression._assemble import assemble
from bitbook.tasks import Task
from bitbook.training._fit import Callback


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """The constants of a training through codes; batch size and augmentation are the task's.

    epochs: through the scheme. codebook_epochs: after them, of the codebooks with all that has no code, or 0.
    learning_rate, codebook_learning_rate: the largest of each part, along a cosine. distil: the
    share of the loss that is distilled from the network itself. optimiser, precision: as in `training.Recipe`.
    """

    epochs: int
    codebook_epochs: int = 0
    learning_rate: float = 0.02
    codebook_learning_rate: float = 0.01
    weight_decay: float = 1e-4
    distil: float = 0.8
    optimiser: str = "sgd"
    precision: str = "bfloat16"

    def __post_init__(self) -> None:
        training.require_ranges(self, epochs=(0, 1e6), codebook_epochs=(0, 1e6), weight_decay=(0, 1e3), distil=(0, 1))
        training.require_ranges(self, learning_rate=(0, 1e3), codebook_learning_rate=(0, 1e3))


def retrain(
    network: nn.Module,
    task: Task,
    scheme: training.Scheme,
    options: Retraining,
    *,
    objective: training.Objective | None = None,
    name: str = "",
    reestimate: bool = True,
    seed: int = 0,
    folder: Path | None = None,
    callback: Callback | None = None,
) -> Compressed:
    """Train a network through a scheme and return it compressed; the network itself is left as it is.

    Args:
        objective: instead of distillation from the network itself; with a folder it needs a `name`.
        reestimate: whether batch norms are re-estimated in the end, on clean images.
        folder: keeps checkpoints, from which a killed training resumes; asked for other codebook_epochs, it
            begins where those begin.
        callback: as for `fit`, in the scheme's epochs.

    Raises ValueError for an objective without a name, and as `fit` does.
    """
    if folder and objective and not name:
        raise ValueError("with a folder, an objective needs a name that says what it is: give name=")
    student, data = copy.deepcopy(network), task.train()
    common: dict[str, Any] = {
        "objective": objective or training.distillation(copy.deepcopy(network), share=options.distil),
        "name": name or f"distillation {options.distil}",
        "seed": seed,
    }
    recipe = training.Recipe(
        epochs=options.epochs,
        batch_size=task.recipe.batch_size,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        optimiser=options.optimiser,
        augmentation=task.recipe.augmentation,
        precision=options.precision,
    )
    own: dict[str, Any] = {"scheme": scheme, "folder": folder and folder / "weights", "callback": callback}
    done = training.fit(student, data.images, data.labels, recipe, **common, **own)
    if options.codebook_epochs:
        rate = options.codebook_learning_rate
        recipe = dataclasses.replace(recipe, epochs=options.codebook_epochs, learning_rate=rate)
        own = {"scheme": training.CodebookTuning(done.coded), "folder": folder and folder / "codebooks"}
        done = training.fit(done.network, data.images, data.labels, recipe, **common, **own)
    return assemble(done.network, done.coded, calibration=task.calibration(seed=seed) if reestimate else None)
