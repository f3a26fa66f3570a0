"""The last step of every way: assignments stay, and what a layer's weights share is trained."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bitbook import training
from bitbook.codes import Coded
from bitbook.tasks import Task


def tune_values(
    network: nn.Module,
    task: Task,
    coded: Coded,
    *,
    objective: training.Objective,
    recipe: training.Recipe,
    seed: int = 0,
    folder: Path | None = None,
    name: str = "",
) -> Coded:
    """Train the codebooks of a network with everything that has no code, and leave it with them; return the codes too.

    coded: ScalarCodes by parameter name, and their codebooks. objective, recipe, seed, folder, name: as for
    `training.fit`. A value's gradient is the mean of its members' (Han et al. 2016 sum them): a step then moves the
    weights as far as one that trains them freely, projected on what the codes allow, whatever their number. Weight
    decay is left out for the values.
    """
    codes, books, members = coded.codes, coded.codebooks, coded.counts()
    like = next(network.parameters())
    rest = [value for parameter, value in network.named_parameters() if parameter not in codes]
    values = {book: nn.Parameter(torch.from_numpy(array).to(like)) for book, array in books.items()}
    for book, value in values.items():
        value.register_hook(partial(torch.mul, torch.from_numpy(1 / np.maximum(members[book], 1)).to(like)))
    for parameter, code in codes.items():
        indices = torch.from_numpy(code.indices.astype(np.int64)).to(like.device)
        training.attach(network, parameter, training.SharedValues(values[code.codebook], indices))
    groups = [{"params": list(values.values()), "weight_decay": 0.0}, {"params": rest}]
    train = task.train()
    options = {"objective": objective, "parameters": groups, "name": f"shared values {name}"}
    training.fit(network, train.images, train.labels, recipe, seed=seed, folder=folder, **options)
    training.bake(network)
    return Coded(codes, {book: value.detach().cpu().numpy().astype(np.float16) for book, value in values.items()})
