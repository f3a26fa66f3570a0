"""Training a network, plainly or through codes, so that a killed run, started again, ends in the same weights."""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from bitbook.codes import Coded
from bitbook.datasets import ImageFiles, batches
from bitbook.networks import checksum

from . import _distributed as distributed
from ._augmentation import apply, draw
from ._evaluation import inputs
from ._objective import Objective, cross_entropy
from ._recipe import Recipe
from ._scheme import Scheme
from ._state import State

Callback = Callable[[int, nn.Module], None]  # epochs done, the network


@dataclass(frozen=True)
class History:
    """What a training went through and ended in.

    loss: the mean training loss of every epoch. network: the trained one, the same object unless channels have left.
    coded: what the scheme handed over.
    """

    loss: tuple[float, ...]
    network: nn.Module = field(compare=False)
    coded: Coded = field(compare=False)


def fit(
    network: nn.Module,
    images: Tensor | ImageFiles,
    labels: Tensor,
    recipe: Recipe,
    *,
    seed: int,
    scheme: Scheme | None = None,
    objective: Objective | None = None,
    name: str = "",
    folder: Path | None = None,
    progress: bool = True,
    callback: Callback | None = None,
) -> History:
    """Train a network in place on images uint8 or float (N, C, H, W) and labels (N,), on the device where it is.

    Inside `distributed.processes` every process trains on an equal share of each batch, with batch-norm statistics of
    its own, of which the first process's are kept. The last images of an epoch that fill no batch are left out.

    Args:
        seed: determines order, augmentation and whatever the network draws itself.
        scheme: trains through codes, prunes, or takes channels out; without one the training is plain.
        objective: replaces the cross-entropy, such as `distillation`.
        name: says what the objective is, for the checkpoint, which cannot tell objectives apart.
        folder: keeps a checkpoint after every epoch: run again with the same arguments, a killed training loses at most
            one epoch and ends in the same weights, and a finished one returns at once.
        callback: called with the number of epochs done, from 0, and the network, before each checkpoint.

    Raises:
        ValueError: the folder holds the checkpoint of another training, an objective has no name there, a scheme has no
            `repr` of its own, or a batch cannot be shared by the processes.
        FloatingPointError: an epoch's mean loss is not finite; that epoch is not kept.
    """
    if folder and objective and not name:
        raise ValueError("fit: with a folder, an objective needs a name that says what it is: give name=")
    if folder and " object at 0x" in repr(scheme):
        raise ValueError(f"fit: with a folder, {type(scheme).__name__} needs a repr that says all: make it a dataclass")
    plain, scheme = scheme is None, scheme or Scheme()
    scheme.check(recipe)
    rank, processes = distributed.place()
    batch_size = min(recipe.batch_size, len(images))
    if batch_size % processes:
        raise ValueError(f"recipe: a batch of {batch_size} cannot be shared equally by {processes} processes")
    epoch_steps = len(images) // batch_size
    steps = recipe.epochs * epoch_steps
    device = next(network.parameters()).device
    policy = recipe.augmentation
    base = objective or cross_entropy(recipe.label_smoothing)
    identity = _identity(network, images, labels, recipe, seed, "" if plain else repr(scheme), name) if folder else ""
    images, labels = images.to(device), labels.to(device)

    bar = tqdm(total=steps, unit="step", disable=rank > 0 or not progress, mininterval=1)
    with bar, torch.random.fork_rng(), torch.backends.cudnn.flags(enabled=True, deterministic=True):
        torch.manual_seed(seed)
        scheme.prepare(network)
        torch.manual_seed(seed)
        state = State(network, scheme.parameters(network), recipe, seed)
        if folder and state.resume(folder, identity):
            bar.update(len(state.losses) * epoch_steps)
        if callback:
            callback(len(state.losses), state.network)
        model = None
        for epoch in range(len(state.losses), recipe.epochs):
            if model is None:  # at the start, and after channels have left
                model = distributed.wrapped(state.network.train())
                minimised = scheme.objective(state.network, base)
            total = torch.zeros((), device=device)
            # The numbers of a whole epoch, drawn on the CPU, travel at once: a step then waits for no copy. Every
            # process draws for the whole batch, so that what is drawn does not depend on their number.
            order = torch.randperm(len(images), generator=state.generator)[: epoch_steps * batch_size]  # (N,)
            parts = [draw(batch_size, policy=policy, generator=state.generator) for _ in range(epoch_steps)]
            drawn = [torch.stack(part).to(device) for part in zip(*parts, strict=True)]
            places = (order.to(device) if isinstance(images, Tensor) else order).split(batch_size)
            indices = [index[rank::processes] for index in places]
            for place, (index, batch) in enumerate(zip(indices, batches(images, indices), strict=True)):
                step = epoch * epoch_steps + place
                batch = apply(
                    batch.to(device), policy=policy, drawn=[part[place][..., rank::processes, :] for part in drawn]
                )
                for group in state.optimiser.param_groups:
                    group["lr"] = group["peak"] * recipe.rate((step + 0.5) / steps)
                state.optimiser.zero_grad()
                with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
                    loss = minimised(model, inputs(state.network, batch), labels[index])
                loss.backward()
                state.optimiser.step()
                scheme.after_step(state.network, step + 1, steps)
                if recipe.averaging:
                    state.update_average(min(recipe.averaging, (1 + step) / (10 + step)))
                total += loss.detach()
                bar.update()
            state.losses.append(distributed.mean(total).item() / epoch_steps)
            if not math.isfinite(state.losses[-1]):
                rate = max(group["peak"] for group in state.optimiser.param_groups)
                raise FloatingPointError(
                    f"training diverged: the mean loss of epoch {epoch + 1} of {recipe.epochs} is {state.losses[-1]}"
                    f" with learning rate {rate}: lower learning_rate in the recipe, or lengthen its warmup"
                )
            bar.set_postfix(loss=f"{state.losses[-1]:.4f}")
            distributed.same_buffers(state.network)
            if channels := scheme.after_epoch(state.network, epoch + 1, recipe.epochs):
                state.remove(channels)
                model = None
            if callback:
                callback(epoch + 1, state.network)
            if folder and rank == 0:
                state.save(folder, identity)
        state.take_average()
        coded = Coded({}, {}) if plain else scheme.finish(state.network)
    return History(tuple(state.losses), state.network, coded)


def _identity(
    network: nn.Module, images: Tensor | ImageFiles, labels: Tensor, recipe: Recipe, seed: int, scheme: str, name: str
) -> str:
    """What makes two trainings the same: start, recipe, seed, data, scheme and the name of the objective."""
    if isinstance(images, Tensor):
        content = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    else:
        content = repr(images.paths).encode()
    data = f"{tuple(images.shape)} {zlib.crc32(content):08x} {zlib.crc32(labels.contiguous().cpu().numpy()):08x}"
    return f"{checksum(network.state_dict())} {recipe} {seed} {data} {scheme} {name!r}"
