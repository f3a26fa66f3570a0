"""From codes to the file that they make, which is where every method ends."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bitbook import training
from bitbook.codes import Coded, Compressed
from bitbook.datasets import ImageFiles
from bitbook.tasks import Task


def weight_tensors(network: nn.Module) -> dict[str, np.ndarray]:
    """Return the weights of convolutions and linear layers, by state-dict name, as float32.

    Raises ValueError for a network without such weights.
    """
    tensors = {name: _array(value) for name, value in network.named_parameters() if value.ndim > 1}
    if not tensors:
        raise ValueError("the network has no weights to share: give one with convolutions or linear layers")
    return tensors


def assemble(
    network: nn.Module,
    coded: Coded,
    task: Task,
    *,
    reestimate: bool = True,
    seed: int = 0,
    images: Tensor | ImageFiles | None = None,
    mantissa: int = 10,
) -> Compressed:
    """Return a network with these codes as Compressed; the network itself is left as it is.

    reestimate: whether the batch norms' statistics are taken again, on augmented training images drawn by the seed from
    `images`, by default the task's, which are then read from disk: a search reads them once and gives them. mantissa:
    bits that the float16 numbers of batch norms and biases keep of their 10. A network without a `specification`, of
    which bitbook.networks knows nothing, can be loaded back only `into` a module.
    Raises ValueError where batch norms differ in their epsilon.
    """
    epsilons = {module.eps for module in network.modules() if isinstance(module, _BatchNorm)} or {1e-5}
    if len(epsilons) > 1:
        raise ValueError(f"batch norms with different epsilons {sorted(epsilons)} do not go into one file: unify them")
    rounded = copy.deepcopy(network)
    parameters = dict(rounded.named_parameters())
    with torch.no_grad():
        for name, weights in coded.decode().items():
            parameters[name].copy_(torch.from_numpy(weights))
    if reestimate:
        images = task.calibration_images().images if images is None else images
        training.reestimate_batch_norm(rounded, images, seed=seed, augmentation=task.recipe.augmentation)
    return Compressed.from_state(
        {name: _array(value) for name, value in rounded.state_dict().items()},
        codes=coded.codes,
        codebooks=coded.codebooks,
        specification=getattr(network, "specification", {"factory": type(network).__qualname__, "arguments": {}}),
        original_parameters=sum(value.numel() for value in network.parameters()),
        epsilon=epsilons.pop(),
        mantissa=mantissa,
    )


def _array(value: Tensor) -> np.ndarray:
    return value.detach().float().cpu().numpy()
