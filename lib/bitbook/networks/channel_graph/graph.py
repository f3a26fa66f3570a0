"""The channel graph: which channel is which, at every operation of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, fx


class ChannelGraphError(ValueError):
    """A network cannot be traced, or a change along its channel graph is not possible."""


@dataclass(frozen=True, eq=False)
class Step:
    """One operation as it acts on channels.

    kind: "layer" (mixes channels: convolution, linear), "scale" (weights per channel: batch norm, depthwise
    convolution), "elementwise", "keeps_zero" (pooling, dropout, spatial slices), "gather", "cat", "flatten", "sum",
    "product", "softmax" or "output". operands: the nodes it reads. operand_ids: the channels of each, one per feature
    where a layer reads a flattened map; None for the network's input. ids: the channels it makes. source: for "gather",
    which operand channel each of them is, -1 a zero.
    """

    kind: str
    node: fx.Node
    operands: tuple[fx.Node, ...]
    operand_ids: tuple[np.ndarray | None, ...]
    ids: np.ndarray | None
    source: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Site:
    """One axis of a layer's parameters with the channels that lie along it.

    parameters: the state-dict names that move along this axis: 0 for a layer's outputs and all of a batch norm, 1 for
    the inputs of a weight. ids: (n,), n the axis length, or groups times that for the inputs of a grouped convolution.
    """

    module: str
    axis: int
    parameters: tuple[str, ...]
    ids: np.ndarray
    groups: int = 1


@dataclass(frozen=True, eq=False)
class ChannelGraph:
    """A network's operations on channels, without its weights.

    Every output channel of a layer has a number (id), and so has every sum or product of two channels; an operation
    that treats channels separately passes the ids on. -1 stands for a channel of zeros (option-A shortcuts).
    count: number of ids. fixed: ids that may neither move nor go: the classes.
    """

    operations: fx.Graph
    steps: tuple[Step, ...]
    sites: tuple[Site, ...]
    fixed: np.ndarray
    count: int

    @cached_property
    def layers(self) -> dict[str, np.ndarray]:
        """Output ids (C_out,) of every layer that makes new channels, by module name."""
        return {step.node.target: step.ids for step in self.steps if step.kind == "layer"}


@dataclass(frozen=True, eq=False)
class Index:
    """Where the entries of a moved or shrunken tensor come from; it serves optimiser state of the same shape as well.

    rows: (n,) along axis 0. columns: (groups, m) along axis 1, one row for each group of rows, or None: left alone.
    """

    rows: np.ndarray
    columns: np.ndarray | None = None

    def take(self, values: Tensor) -> Tensor:
        """Return the entries that the index names, (n, m, ...) or (n, ...)."""
        values = values.index_select(0, torch.from_numpy(self.rows).to(values.device))
        if self.columns is None:
            return values
        columns = torch.from_numpy(self.columns).to(values.device)
        parts = values.chunk(len(columns)) if len(columns) > 1 else (values,)
        return torch.cat([part.index_select(1, own) for part, own in zip(parts, columns, strict=True)])


def indices(graph: ChannelGraph, taken: Sequence[np.ndarray]) -> dict[str, Index]:
    """Return the index of every parameter and buffer that lies along channels, by state-dict name.

    taken: for each of graph.sites the old positions (n,), or (groups, m) for the inputs of a grouped convolution.
    """
    rows, columns = {}, {}
    for site, positions in zip(graph.sites, taken, strict=True):
        for name in site.parameters:
            if site.axis == 0:
                rows[name] = positions.reshape(-1)
            else:
                columns[name] = positions.reshape(site.groups, -1)
    return {name: Index(rows=rows[name], columns=columns.get(name)) for name in rows}
