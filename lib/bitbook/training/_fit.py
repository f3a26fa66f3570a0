"""Training a network so that a killed run, started again, ends in the same weights."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from bitbook.datasets import ImageFiles
from bitbook.networks import checksum
from bitbook.training import _checkpoint as checkpoint
from bitbook.training import _distributed as distributed
from bitbook.training._augmentation import apply, draw
from bitbook.training._evaluation import inputs
from bitbook.training._recipe import Recipe

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
    images: Tensor | ImageFiles,
    labels: Tensor,
    recipe: Recipe,
    *,
    seed: int,
    folder: Path | None = None,
    progress: bool = True,
    objective: Objective | None = None,
    parameters: Iterable[dict[str, Any]] | None = None,
    after_step: Callable[[int, int], None] | None = None,
    name: str = "",
) -> History:
    """Train a network in place on images uint8 or float (N, C, H, W) and labels (N,), on the device where it is.

    `seed` determines order, augmentation and whatever the network draws itself. With `folder`, a checkpoint is kept
    there after every epoch: run again with the same arguments, a killed training loses at most one epoch and ends in
    the same weights, and a finished one returns at once. `objective` replaces the cross-entropy; `parameters` are
    optimiser groups, whose own `lr` and `weight_decay` replace the recipe's; `after_step(step, steps)` runs after
    every optimiser step, steps counted from 1 (what it keeps must be in the network's buffers, or follow from the
    step). A checkpoint cannot tell these three apart, so with `folder` they need a `name` that says what they are and
    do. The last images of an epoch that fill no batch are left out.

    Inside `distributed.processes` every process trains on an equal share of each batch, with batch-norm statistics of
    its own, of which the first process's are kept.

    Raises ValueError where the folder holds the checkpoint of another training, for one without the name it needs, and
    for a batch that cannot be shared; FloatingPointError for an epoch whose mean loss is not finite, which is not kept.
    """
    if folder and not name and (objective, parameters, after_step) != (None, None, None):
        raise ValueError("fit: with a folder, an objective, parameters or after_step need a name: give name=")
    rank, processes = distributed.place()
    batch_size = min(recipe.batch_size, len(images))
    if batch_size % processes:
        raise ValueError(f"recipe: a batch of {batch_size} cannot be shared equally by {processes} processes")
    epoch_steps = len(images) // batch_size
    steps = recipe.epochs * epoch_steps
    device = next(network.parameters()).device
    policy = recipe.augmentation
    objective = objective or cross_entropy(recipe.label_smoothing)
    identity = _identity(network, images, labels, recipe, seed, name) if folder else ""
    images, labels = images.to(device), labels.to(device)

    bar = tqdm(total=steps, unit="step", disable=rank > 0 or not progress, mininterval=1)
    with bar, torch.random.fork_rng(), torch.backends.cudnn.flags(enabled=True, deterministic=True):
        torch.manual_seed(seed)
        state = _State(network, _optimiser(network, recipe, parameters), seed, averaging=recipe.averaging > 0)
        if folder and state.resume(folder, identity):
            bar.update(len(state.losses) * epoch_steps)
        network.train()
        model = distributed.wrapped(network)
        for epoch in range(len(state.losses), recipe.epochs):
            total = torch.zeros((), device=device)
            # The numbers of a whole epoch, drawn on the CPU, travel at once: a step then waits for no copy.
            order = torch.randperm(len(images), generator=state.generator)[: epoch_steps * batch_size]  # (N,)
            parts = [draw(batch_size, policy=policy, generator=state.generator) for _ in range(epoch_steps)]
            drawn = [torch.stack(part).to(device) for part in zip(*parts, strict=True)]
            indices = (order.to(device) if isinstance(images, Tensor) else order).split(batch_size)
            for step, index in enumerate(indices, epoch * epoch_steps):
                numbers = [part[step - epoch * epoch_steps] for part in drawn]
                # Every process draws for the whole batch, so that what is drawn does not depend on their number.
                batch = apply(images[index], policy=policy, drawn=numbers)[rank::processes]
                for group in state.optimiser.param_groups:
                    group["lr"] = group["peak"] * recipe.rate((step + 0.5) / steps)
                state.optimiser.zero_grad()
                with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
                    loss = objective(model, inputs(network, batch), labels[index[rank::processes]])
                loss.backward()
                state.optimiser.step()
                if after_step:
                    after_step(step + 1, steps)
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
            if folder and rank == 0:
                state.save(folder, identity)
    if recipe.averaging:
        for value, mean in zip(_floats(network), state.average, strict=True):
            value.copy_(mean)
    return History(loss=tuple(state.losses))


class _State:
    """All that changes while a network trains."""

    def __init__(self, network: nn.Module, optimiser: torch.optim.Optimizer, seed: int, *, averaging: bool) -> None:
        self.network = network
        self.optimiser = optimiser
        self.generator = torch.Generator().manual_seed(seed)  # of order and augmentation
        self.average = [value.clone() for value in _floats(network)] if averaging else []
        self.losses: list[float] = []

    def update_average(self, decay: float) -> None:
        for mean, value in zip(self.average, _floats(self.network), strict=True):
            mean.lerp_(value, 1 - decay)

    def save(self, folder: Path, identity: str) -> None:
        state = {
            "identity": identity,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "average": self.average,
            "losses": self.losses,
            "generators": checkpoint.generator_states(),
        }
        checkpoint.save(folder / "checkpoint.pt", state)

    def resume(self, folder: Path, identity: str) -> bool:
        """Take up the checkpoint of a folder, if there is one."""
        state = checkpoint.load(folder / "checkpoint.pt")
        if state is None:
            return False
        if state["identity"] != identity:
            raise ValueError(f"{folder} holds the checkpoint of another training: give an empty folder, or delete it")
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])
        for mean, value in zip(self.average, state["average"], strict=True):
            mean.copy_(value)
        self.losses = state["losses"]
        checkpoint.restore_generators(state["generators"])
        return True


def _optimiser(network: nn.Module, recipe: Recipe, groups: Iterable[dict[str, Any]] | None) -> torch.optim.Optimizer:
    groups = [dict(group) for group in groups or [{"params": network.parameters()}]]
    common = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    if next(network.parameters()).is_cuda:
        common["fused"] = True  # one kernel for all parameters; the CPU's numbers stay those of the plain loop
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


def _identity(
    network: nn.Module, images: Tensor | ImageFiles, labels: Tensor, recipe: Recipe, seed: int, name: str
) -> str:
    """What makes two trainings the same: start, recipe, seed, data and the name of what the caller gave."""
    if isinstance(images, Tensor):
        content = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    else:
        content = repr(images.paths).encode()
    data = f"{tuple(images.shape)} {zlib.crc32(content):08x} {zlib.crc32(labels.contiguous().cpu().numpy()):08x}"
    return f"{checksum(network.state_dict())} {recipe} {seed} {data} {name!r}"
