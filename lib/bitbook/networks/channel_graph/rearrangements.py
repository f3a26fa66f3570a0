"""Operations that change a tensor's shape or put channels in other places, in the channel graph."""

from __future__ import annotations

import numpy as np
from torch import fx

from bitbook.networks.channel_graph.operations import Value, argument, called
from bitbook.networks.channel_graph.walk import Walk


class Rearrangements(Walk):
    """Rules for pooling, means, flattening, slices, padding, concatenation and index maps."""

    def pool(self, node: fx.Node) -> Value:
        if self.operand(node).form != "map":
            raise self.error(node, "pools something else than a map (N, C, H, W)")
        return self.keeps_zero(node)

    def mean(self, node: fx.Node) -> Value:
        dims = argument(node, 1, "dim", None)
        dims = sorted(d % 4 for d in dims) if isinstance(dims, (list, tuple)) else dims
        if dims != [2, 3] or self.operand(node).form != "map":
            raise self.error(node, "takes the mean over something else than a map's pixels, dimensions 2 and 3")
        x = self.keeps_zero(node)
        return x if argument(node, 2, "keepdim", False) else Value(x.ids, "vector")

    def flatten(self, node: fx.Node) -> Value:
        x = self.operand(node)
        if called(self.network, node) in ("view", "reshape"):
            shape = node.args[1:] if len(node.args) > 2 else argument(node, 1, "shape", ())
            fits = isinstance(shape, (list, tuple)) and len(shape) == 2
        elif node.op == "call_module":
            module = self.network.get_submodule(node.target)
            fits = (module.start_dim, module.end_dim) == (1, -1)
        else:
            fits = (argument(node, 1, "start_dim", 0), argument(node, 2, "end_dim", -1)) == (1, -1)
        if not fits:
            raise self.error(node, "makes another shape than (N, features)")
        self.step(node, "flatten", x.ids)
        return Value(x.ids, "flat" if x.form == "map" else x.form)

    def gather(self, node: fx.Node, source: np.ndarray) -> Value:
        x = self.operand(node)
        if x.form == "flat":
            raise self.error(node, "picks among the features of a flattened map")
        ids = np.where(source < 0, -1, x.ids[source])  # (C,)
        self.step(node, "gather", ids, source=source)
        return Value(ids, x.form)

    def index_map(self, node: fx.Node) -> Value:
        return self.gather(node, self.network.get_submodule(node.target).source)

    def getitem(self, node: fx.Node) -> Value:
        x, pick = self.operand(node), node.args[1]
        pick = pick if isinstance(pick, tuple) else (pick,)
        slices = all(isinstance(part, slice) for part in pick) and pick[0] == slice(None)
        if not slices or any(isinstance(edge, fx.Node) for part in pick for edge in (part.start, part.stop, part.step)):
            raise self.error(node, "picks by something else than slices with fixed bounds")
        if x.form == "flat" or len(pick) < 2 or pick[1] == slice(None):
            return self.keeps_zero(node)
        return self.gather(node, np.arange(len(x.ids))[pick[1]])

    def pad(self, node: fx.Node) -> Value:
        x, widths = self.operand(node), tuple(argument(node, 1, "pad", ()))
        mode, value = argument(node, 2, "mode", "constant"), argument(node, 3, "value", None)
        if not all(isinstance(width, int) for width in widths) or min(widths[4:], default=0) < 0:
            raise self.error(node, "pads by something else than fixed, positive widths")
        if mode != "constant" or value or x.form != "map" or len(widths) > 6:
            raise self.error(node, "pads by something else than zeros in a map (N, C, H, W)")
        if not any(widths[4:]):
            return self.keeps_zero(node)
        return self.gather(node, np.pad(np.arange(len(x.ids)), widths[4:], constant_values=-1))

    def cat(self, node: fx.Node) -> Value:
        operands = tuple(argument(node, 0, "tensors", ()))
        parts = [self.values[operand] for operand in operands]
        form = parts[0].form
        if argument(node, 1, "dim", 0) != 1 or form == "flat" or any(part.form != form for part in parts):
            raise self.error(node, "joins along something else than the channels, dimension 1, of unflattened maps")
        ids = np.concatenate([part.ids for part in parts])
        self.step(node, "cat", ids, operands=operands)
        return Value(ids, form)
