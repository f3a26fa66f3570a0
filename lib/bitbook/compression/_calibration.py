"""Calibration data of a user's own: batches as the network takes them, few enough to be kept."""

import inspect
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from bitbook import training

SAMPLES = 4096  # images, sequences or rows at most: more say nothing new, and they are kept in memory
TOGETHER = 64  # rows of a tensor in one batch


def batches(network: nn.Module, calibration: Tensor | Iterable) -> list[tuple | dict]:
    """Return calibration data as batches of arguments, and see that the network takes them.

    Args:
        network: any module.
        calibration: a tensor (N, ...), of which at most 4,096 rows are drawn; or an iterable of batches, from which at
            most as many rows are taken: tensors, tuples of arguments, or dicts of arguments by name. Of a tuple, what
            the network's forward does not take is left out, and from a DataLoader what it does not need: the labels.

    Returns:
        Batches as `training.run` takes them, the numbers as they are.

    Raises:
        ValueError: where there is no batch, for NaN and infinity, and where the network fails on the first batch or its
            outputs there are not finite.
    """
    if not isinstance(calibration, Iterable) or (isinstance(calibration, Tensor) and not calibration.ndim):
        raise ValueError(f"calibration is a tensor (N, ...) or an iterable of batches, not {calibration!r:.60}")
    if isinstance(calibration, Tensor):
        if len(calibration) > SAMPLES:
            drawn = torch.randperm(len(calibration), generator=torch.Generator().manual_seed(0))[:SAMPLES]
            calibration = calibration[drawn.to(calibration.device)]
        parts = -(-len(calibration) // TOGETHER)
        calibration = calibration.tensor_split(parts) if parts else []  # of nearly equal size: no batch of one
    needed, taken = _positional(network)
    most = max(needed, 1) if isinstance(calibration, torch.utils.data.DataLoader) else max(taken, 1)
    found: list[tuple | dict] = []
    count = 0
    for batch in calibration:
        if isinstance(batch, dict):
            found.append(dict(batch))
        else:
            arguments = batch if isinstance(batch, tuple | list) and not isinstance(batch, PackedSequence) else (batch,)
            found.append(tuple(arguments[:most]))
        count += training.batch_length(found[-1])
        if count >= SAMPLES:
            break
    if not found:
        raise ValueError("calibration is empty: give at least one batch, or calibration=None")
    for i, batch in enumerate(found):
        for value in batch.values() if isinstance(batch, dict) else batch:
            if isinstance(value, Tensor) and value.is_floating_point() and not value.isfinite().all():
                raise ValueError(f"calibration: batch {i} holds NaN or infinity")
    try:
        outputs = training.logits(network, found[:1])
    except Exception as error:  # whatever a network of the user's own may raise
        raise ValueError(f"the network cannot take the calibration's first batch: {error}") from error
    if not outputs.isfinite().all():
        raise ValueError(
            "the network's outputs on the calibration's first batch are not finite: check weights and inputs"
        )
    return found


def _positional(network: nn.Module) -> tuple[int, int]:
    """How many arguments by position a network's forward needs, and how many it takes."""
    parameters = list(inspect.signature(network.forward).parameters.values())
    own = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = sum(p.default is p.empty for p in own)
    return needed, 1000 if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len(own)
