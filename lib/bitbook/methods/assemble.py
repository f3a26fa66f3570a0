"""From codes to the file that they make, which is where every method ends."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from bitbook import training
from bitbook.codes import Code, Compressed
from bitbook.tasks import Task


def weight_tensors(network: nn.Module) -> dict[str, np.ndarray]:
    """Return the weights of convolutions and linear layers, by state-dict name, as float32.

    Raises ValueError for a network without such weights.
    """
    tensors = {name: value.detach().numpy() for name, value in network.named_parameters() if value.ndim > 1}
    if not tensors:
        raise ValueError("the network has no weights to share: give one with convolutions or linear layers")
    return tensors


def assemble(
    network: nn.Module,
    task: Task,
    codes: Mapping[str, Code],
    codebooks: Mapping[str, np.ndarray],
    *,
    reestimate: bool = True,
    seed: int = 0,
) -> Compressed:
    """Return a network with these codes as Compressed; the network itself is left as it is.

    reestimate: whether the batch norms' statistics are taken again, on augmented training images drawn by the seed.
    """
    coded = copy.deepcopy(network)
    parameters = dict(coded.named_parameters())
    with torch.no_grad():
        for name, code in codes.items():
            parameters[name].copy_(torch.from_numpy(code.decode(codebooks)))
    if reestimate:
        training.reestimate_batch_norm(coded, task.train().images, seed=seed, augmentation=task.recipe.augmentation)
    state = {name: value.numpy() for name, value in coded.state_dict().items()}
    return Compressed.from_state(state, codes=codes, codebooks=codebooks, specification=network.specification)
