"""Training a network so that a killed run, started again, ends in the same weights."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from bitbook.networks import checksum
from bitbook.training import checkpoint
from bitbook.training.augmentation import augment
from bitbook.training.evaluation import inputs
from bitbook.training.recipe import Recipe

Objective = Callable[[nn.Module, Tensor, Tensor], Tensor]  # network, float images (N, C, H, W), labels (N,) -> loss ()


@dataclass(frozen=True)
class History:
    """What a training went through: the mean training loss of every epoch."""

    loss: tuple[float, ...]


def cross_entropy(label_smoothing: float = 0.0) -> Objective:
    """The ordinary objective: mean cross-entropy between outputs and labels, in nats."""
    return lambda network, images, labels: F.cross_entropy(network(images), labels, label_smoothing=label_smoothing)


def fit(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    *,
    seed: int,
    folder: Path | None = None,
    progress: bool = True,
    objective: Objective | None = None,
    parameters: Iterable[dict[str, Any]] | None = None,
    after_step: Callable[[int, int], None] | None = None,
) -> History:
    """Train a network in place on images uint8 or float (N, C, H, W) and labels (N,), on the device where it is.

    `seed` determines order, augmentation and whatever the network draws itself. With `folder`, a checkpoint is kept
    there after every epoch: run again with the same arguments, a killed training loses at most one epoch and ends in
    the same weights, and a finished one returns at once. `objective` replaces the cross-entropy; `parameters` are
    optimiser groups, whose own `lr` and `weight_decay` replace the recipe's; `after_step(step, steps)` runs after
    every optimiser step, steps counted from 1 (what it keeps must be in the network's buffers, or follow from the
    step). The last images of an epoch that fill no batch are left out.

    Raises ValueError where the folder holds the checkpoint of another training.
    """
    device = next(network.parameters()).device
    objective = objective or cross_entropy(recipe.label_smoothing)
    optimiser = _optimiser(network, recipe, parameters)
    batch_size = min(recipe.batch_size, len(images))
    epoch_steps = len(images) // batch_size
    steps = recipe.epochs * epoch_steps
    state_path = folder / "checkpoint.pt" if folder else None
    identity = _identity(network, images, labels, recipe, seed) if folder else None
    images, labels = images.to(device), labels.to(device)

    with torch.random.fork_rng(), tqdm(total=steps, unit="step", disable=not progress, mininterval=1) as bar:
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        average = [value.detach().clone() for value in _floats(network)] if recipe.averaging else []
        losses: list[float] = []
        if state_path and (state := checkpoint.load(state_path)):
            if state["identity"] != identity:
                raise ValueError(f"{state_path} belongs to another training: give an empty folder, or delete it")
            network.load_state_dict(state["network"])
            optimiser.load_state_dict(state["optimiser"])
            average = [value.to(device) for value in state["average"]]
            losses = state["losses"]
            generator.set_state(state["generator"])
            checkpoint.restore_generators(state["generators"])
            bar.update(len(losses) * epoch_steps)
        network.train()
        for epoch in range(len(losses), recipe.epochs):
            total = torch.zeros((), device=device)
            order = torch.randperm(len(images), generator=generator)  # (N,)
            for step, index in enumerate(order[: epoch_steps * batch_size].split(batch_size), epoch * epoch_steps):
                batch = inputs(network, augment(images[index], policy=recipe.augmentation, generator=generator))
                for group in optimiser.param_groups:
                    group["lr"] = group["peak"] * recipe.rate((step + 0.5) / steps)
                optimiser.zero_grad()
                with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
                    loss = objective(network, batch, labels[index])
                loss.backward()
                optimiser.step()
                if after_step:
                    after_step(step + 1, steps)
                if average:
                    torch._foreach_lerp_(average, _floats(network), 1 - min(recipe.averaging, (1 + step) / (10 + step)))
                total += loss.detach()
                bar.update()
            losses.append(total.item() / epoch_steps)
            bar.set_postfix(loss=f"{losses[-1]:.4f}")
            if state_path:
                state = {
                    "identity": identity,
                    "network": network.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "average": average,
                    "losses": losses,
                    "generator": generator.get_state(),
                    "generators": checkpoint.generator_states(),
                }
                checkpoint.save(state_path, state)
    if average:
        with torch.no_grad():
            torch._foreach_copy_(_floats(network), average)
    return History(loss=tuple(losses))


def _optimiser(network: nn.Module, recipe: Recipe, groups: Iterable[dict[str, Any]] | None) -> torch.optim.Optimizer:
    groups = [dict(group) for group in groups or [{"params": network.parameters()}]]
    common = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    if recipe.optimiser == "adam":
        optimiser: torch.optim.Optimizer = torch.optim.Adam(groups, **common)
    else:
        optimiser = torch.optim.SGD(groups, momentum=recipe.momentum, nesterov=recipe.momentum > 0, **common)
    for group in optimiser.param_groups:
        group["peak"] = group["lr"]
    return optimiser


def _floats(network: nn.Module) -> list[Tensor]:
    """Every parameter and floating-point buffer that the state dict holds, without gradients."""
    return [value.detach() for value in network.state_dict().values() if value.is_floating_point()]


def _identity(network: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe, seed: int) -> str:
    """What makes two trainings the same: start, recipe, seed and data."""
    pixels = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    data = f"{tuple(images.shape)} {zlib.crc32(pixels):08x} {zlib.crc32(labels.contiguous().cpu().numpy()):08x}"
    return f"{checksum(network.state_dict())} {recipe} {seed} {data}"
