"""A plan: where the channels of a changed network come from, for its tensors and between its operations."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn


class ChannelGraphError(ValueError):
    """A network cannot be traced, or a change along its channel graph is not possible."""


@dataclass(frozen=True, eq=False)
class Index:
    """Where the entries of a moved or shrunken tensor come from; it serves any tensor of the same shape.

    rows: (n,) along axis 0. columns: (groups, m) along axis 1, one row for each group of rows, or None: left alone.
    lengths: of the first axis, or the first two, before the change.
    """

    rows: np.ndarray
    columns: np.ndarray | None
    lengths: tuple[int, ...]

    def take(self, values: Tensor) -> Tensor:
        """Return the entries that the index names, (n, m, ...) or (n, ...)."""
        values = values.index_select(0, torch.from_numpy(self.rows).to(values.device))
        if self.columns is None:
            return values
        columns = torch.from_numpy(self.columns).to(values.device)
        parts = zip(values.chunk(len(columns)), columns, strict=True)
        return torch.cat([part.index_select(1, own) for part, own in parts])


class Plan(dict[str, Index]):
    """The index of every parameter and buffer that lies along channels, by state-dict name."""

    def apply(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Move or shrink tensors that are named and shaped as the network's parameters and buffers.

        Args:
            state: a state dict, momentum buffers or averages by parameter name. A weight that trains under
                torch.nn.utils.parametrize goes by `layer.parametrizations.weight.original` as well; what else such a
                module holds per channel can follow `plan["layer.weight"].rows`.

        Returns:
            The tensors after the change. Numbers of shape () and tensors that lie along no channels are passed on.

        Raises:
            ChannelGraphError: a tensor has another shape than before the change, or no name is the network's.
        """
        own = {name: re.sub(r"\bparametrizations\.(\w+)\.original$", r"\1", name) for name in state}
        if state and not any(name in self for name in own.values()):
            raise ChannelGraphError(f"{next(iter(state))}: the network has no such name; it has {next(iter(self))}")
        changed = dict(state)
        for name, value in state.items():
            if own[name] in self and value.ndim:
                index, shape = self[own[name]], tuple(value.shape)
                if shape[: len(index.lengths)] != index.lengths:
                    fault = f"has shape {shape}; the plan is for one that starts with {index.lengths}"
                    raise ChannelGraphError(f"{name}: {fault}: apply it once, before the change")
                changed[name] = index.take(value)
        return changed

    def along(self, network: nn.Module) -> Self:
        """Return the plan with the weights that train under parametrisations, and what these hold along the channels.

        A parametrisation says so in an attribute `along`: by tensor name, 1 for a tensor along the weight's axis 0 (a
        number for each output channel), 2 for one in the shape of the weight. Raises ChannelGraphError for one that has
        no such attribute.
        """
        more = type(self)(self)
        for prefix, owner in network.named_modules():
            for attribute, parts in getattr(owner, "parametrizations", {}).items():
                index = self.get(f"{prefix}.{attribute}")
                if index is None:
                    continue
                place = f"{prefix}.parametrizations.{attribute}"
                more[f"{place}.original"] = index
                for number, part in enumerate(parts):
                    if not hasattr(part, "along"):
                        fault = f"its {type(part).__name__} does not say what it holds along channels"
                        raise ChannelGraphError(f"{prefix}.{attribute}: {fault}: give it `along`, or bake it in first")
                    for name, axes in part.along.items():
                        own = index if axes > 1 else Index(index.rows, None, index.lengths[:1])
                        more[f"{place}.{number}.{name}"] = own
        return more


class IndexMap(nn.Module):
    """Give output channel c the input channel source[c], or zeros where source[c] is -1: (N, C, ...) to (N, C', ...).

    It has no state of its own: the map stands in the specification.
    """

    def __init__(self, source: Sequence[int] | np.ndarray) -> None:
        super().__init__()
        self.source = np.asarray(source, dtype=np.int64)  # (C',)
        self.register_buffer("read", torch.from_numpy(self.source[self.source >= 0]), persistent=False)
        self.register_buffer("written", torch.from_numpy(np.flatnonzero(self.source >= 0)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        picked = x.index_select(1, self.read)
        if len(self.read) == len(self.source):
            return picked
        return x.new_zeros(len(x), len(self.source), *x.shape[2:]).index_copy(1, self.written, picked)

    def extra_repr(self) -> str:
        return f"{len(self.source)} channels, {int((self.source < 0).sum())} of them zero"
