"""A walk over a traced network: what every operation's rule needs."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import fx, nn

from bitbook.networks.channel_graph.graph import ChannelGraphError, Site, Step
from bitbook.networks.channel_graph.operations import Value, described


class Walk:
    """The state of one pass over the operations in order: each gets the channels it makes from those it reads."""

    def __init__(self, network: nn.Module, operations: fx.Graph) -> None:
        self.network, self.operations = network, operations
        self.values: dict[fx.Node, Value | None] = {}  # None: not a tensor (a size)
        self.steps: list[Step] = []
        self.sites: list[Site] = []
        self.fixed: list[np.ndarray] = []
        self.count = 0

    def error(self, node: fx.Node, fault: str) -> ChannelGraphError:
        return ChannelGraphError(f"{described(self.network, node)} {fault}")

    def step(self, node: fx.Node, kind: str, ids: np.ndarray | None, **more: Any) -> None:
        more.setdefault("operands", tuple(each for each in node.all_input_nodes if self.values[each] is not None))
        more.setdefault("operand_ids", tuple(self.values[operand].ids for operand in more["operands"]))
        self.steps.append(Step(kind=kind, node=node, ids=ids, **more))

    def fresh(self, count: int) -> np.ndarray:
        self.count += count
        return np.arange(self.count - count, self.count)  # (count,)

    def operand(self, node: fx.Node) -> Value:
        return next(self.values[each] for each in node.all_input_nodes if self.values[each] is not None)

    def keeps_zero(self, node: fx.Node) -> Value:
        x = self.operand(node)
        self.step(node, "keeps_zero", x.ids)
        return x

    def no_padding(self, node: fx.Node, ids: np.ndarray) -> None:
        if (ids < 0).any():
            raise self.error(node, "makes something of channels padded with zeros")
