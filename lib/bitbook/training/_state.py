"""All that changes while a network trains: it is saved, taken up again, and shrinks together."""

import io
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from bitbook import files
from bitbook.networks import channel_graph

from ._recipe import Recipe

CHECKPOINT = "checkpoint.pt"
Channels = Mapping[str, Sequence[int] | np.ndarray]  # output channels by layer


class State:
    """Network, optimiser, average of the weights, generator of order and augmentation, losses, channels that left."""

    def __init__(self, network: nn.Module, groups: Iterable[dict[str, Any]], recipe: Recipe, seed: int) -> None:
        self.network = network
        self.optimiser = _optimiser(network, groups, recipe)
        self.generator = torch.Generator().manual_seed(seed)
        self.average = {name: value.clone() for name, value in _floats(network).items()} if recipe.averaging else {}
        self.losses: list[float] = []
        self.removals: list[dict[str, list[int]]] = []

    def update_average(self, decay: float) -> None:
        """Let the average follow the network by one step."""
        values = _floats(self.network)
        for name, mean in self.average.items():
            mean.lerp_(values[name], 1 - decay)

    def take_average(self) -> None:
        """Give the network its averaged weights, if an average is kept."""
        values = _floats(self.network)
        for name, mean in self.average.items():
            values[name].copy_(mean)

    def remove(self, channels: Channels) -> None:
        """Take output channels of layers out of the network, its optimiser's state and its average."""
        graph = channel_graph.trace(self.network)
        plan = channel_graph.removal(graph, channels).along(self.network)
        smaller = channel_graph.remove(self.network, graph, channels, tolerance=None)
        names = {id(value): name for name, value in self.network.named_parameters()}
        parameters = dict(smaller.named_parameters())
        slots: dict[str, dict[str, Any]] = {}  # momentum and the like, by what it is and parameter name
        for value, state in self.optimiser.state.items():
            for slot, content in state.items():
                slots.setdefault(slot, {})[names[id(value)]] = content
        self.optimiser.state.clear()
        for group in self.optimiser.param_groups:
            own = [names[id(value)] for value in group["params"]]
            group["params"] = [parameters[name] for name in own if name in parameters]
        for slot, contents in slots.items():
            tensors = {name: content for name, content in contents.items() if isinstance(content, Tensor)}
            for name, content in (contents | _shrunk(plan, tensors)).items():
                if name in parameters:
                    self.optimiser.state[parameters[name]][slot] = content
        self.average = _shrunk(plan, self.average)
        self.network = smaller
        self.removals.append({layer: [int(c) for c in gone] for layer, gone in channels.items()})

    def save(self, folder: Path, identity: str) -> None:
        """Write the checkpoint of a folder: whatever happens there is the old one or the whole new one."""
        state = {
            "identity": identity,
            "removals": self.removals,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "average": self.average,
            "losses": self.losses,
            "generators": _generator_states(),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        files.write_checked(folder / CHECKPOINT, buffer.getvalue())

    def resume(self, folder: Path, identity: str) -> bool:
        """Take up the checkpoint of a folder, if there is one; ValueError where it is another training's."""
        state = load_checkpoint(folder)
        if state is None:
            return False
        if state["identity"] != identity:
            raise ValueError(f"{folder} holds the checkpoint of another training: give an empty folder, or delete it")
        for channels in state["removals"]:
            self.remove(channels)
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])
        for name, mean in self.average.items():
            mean.copy_(state["average"][name])
        self.losses = state["losses"]
        _restore_generators(state["generators"])
        return True


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Read a folder's checkpoint onto the CPU, executing nothing; None where there is none, or a damaged one."""
    data = files.read_checked(folder / CHECKPOINT)
    return None if data is None else torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _generator_states() -> dict[str, Any]:
    """The states of Python's, NumPy's and torch's own generators, on the CPU and on every GPU in use."""
    kind, keys, *rest = cast(tuple, np.random.get_state(legacy=True))  # noqa: NPY002 - the state that users' code may draw from
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def _restore_generators(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])


def _shrunk(plan: channel_graph.Plan, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by parameter name, those along channels that leave shrunken."""
    return dict(tensors) | plan.apply({name: value for name, value in tensors.items() if name in plan})


def _optimiser(network: nn.Module, groups: Iterable[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    groups = [dict(group) for group in groups if group["params"]]
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


def _floats(network: nn.Module) -> dict[str, Tensor]:
    """Every parameter and floating-point buffer that the state dict holds, without gradients."""
    return {name: value.detach() for name, value in network.state_dict().items() if value.is_floating_point()}
