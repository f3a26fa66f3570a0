"""Layers with weights, in the channel graph."""

from __future__ import annotations

import numpy as np
from torch import fx

from bitbook.networks.channel_graph.graph import Site
from bitbook.networks.channel_graph.operations import Value
from bitbook.networks.channel_graph.walk import Walk


class Layers(Walk):
    """Rules for convolutions, linear layers and batch norm: what they read, what they make, where their weights lie."""

    def convolution(self, node: fx.Node) -> Value:
        module, x = self.network.get_submodule(node.target), self.operand(node)
        if x.form != "map":
            raise self.error(node, "reads something else than a map (N, C, H, W)")
        read = None if x.ids is None else self.features(node, x, module.in_channels)
        if read is not None and module.groups == module.in_channels > 1:
            ids = np.repeat(read, module.out_channels // module.in_channels)
            self.no_padding(node, ids)
            self.site(node, 0, ids)
            self.step(node, "scale", ids)
            return Value(ids, "map")
        return self.layer(node, read, module.out_channels, module.groups, "map")

    def linear(self, node: fx.Node) -> Value:
        module, x = self.network.get_submodule(node.target), self.operand(node)
        if x.ids is not None and x.form == "map":
            raise self.error(node, "reads a map (N, C, H, W) that was not flattened")
        read = None if x.ids is None else self.features(node, x, module.in_features)
        return self.layer(node, read, module.out_features, 1, "vector")

    def layer(self, node: fx.Node, read: np.ndarray | None, width: int, groups: int, form: str) -> Value:
        ids = self.fresh(width)
        self.site(node, 0, ids, groups)
        if read is not None:
            self.site(node, 1, read, groups)
        self.step(node, "layer", ids, operand_ids=(read,))
        return Value(ids, form)

    def batch_norm(self, node: fx.Node) -> Value:
        module, x = self.network.get_submodule(node.target), self.operand(node)
        if module.running_var is None:
            raise self.error(node, "has no running statistics")
        ids = self.features(node, x, module.num_features)
        self.no_padding(node, ids)
        self.site(node, 0, ids)
        self.step(node, "scale", ids)
        return Value(ids, "vector" if x.form == "flat" else x.form)

    def features(self, node: fx.Node, value: Value, width: int) -> np.ndarray:
        """Channels (width,) of the features that a layer reads: a channel of a flattened map is a run of features."""
        run, rest = divmod(width, len(value.ids))
        if rest or (run != 1 and value.form != "flat"):
            raise self.error(node, f"reads {width} features but gets {len(value.ids)} channels")
        return np.repeat(value.ids, run)

    def site(self, node: fx.Node, axis: int, ids: np.ndarray, groups: int = 1) -> None:
        module = self.network.get_submodule(node.target)
        if any(site.module == node.target and site.axis == axis for site in self.sites):
            raise self.error(node, "is called twice: its channels would have to move in two places at once")
        tensors = dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))
        if "weight" not in tensors and getattr(module, "affine", True):
            raise self.error(node, "has no weight of its own (torch.nn.utils.parametrize?)")
        names = ["weight"] if axis else [name for name, value in tensors.items() if value.ndim]
        odd = [name for name in names if not axis and len(tensors[name]) != len(ids)]
        if odd:
            raise self.error(node, f"has {', '.join(odd)} with another first axis than its {len(ids)} channels")
        self.sites.append(Site(node.target, axis, tuple(f"{node.target}.{name}" for name in names), ids, groups))
