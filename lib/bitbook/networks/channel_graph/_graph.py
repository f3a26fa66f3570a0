"""Trace a classifier into its channel graph: which channel is which, at every operation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import fx, nn

from bitbook.networks._normalise import Normalise

from ._plan import ChannelGraphError, Index, IndexMap, Plan
from ._rules import RULES, Value, arithmetic, called, described, getitem, layer

LEAVES = (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, Normalise, IndexMap)


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
    """A network's operations on channels, without its weights; count: number of ids.

    fixed: ids that may neither move nor go: the classes.
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

    def plan(self, taken: Sequence[np.ndarray]) -> Plan:
        """Make a plan from the old positions that each site takes: (n,), or (groups, m) for inputs of a layer."""
        rows: dict[str, np.ndarray] = {}
        columns: dict[str, np.ndarray] = {}
        lengths: dict[str, tuple[int, ...]] = {}
        for site, positions in zip(self.sites, taken, strict=True):
            for name in site.parameters:
                if site.axis == 0:
                    rows[name], lengths[name] = positions.reshape(-1), (len(site.ids),)
                else:
                    columns[name] = positions.reshape(site.groups, -1)
                    lengths[name] += (len(site.ids) // site.groups,)
        return Plan({name: Index(rows[name], columns.get(name), lengths[name]) for name in rows})


def trace(network: nn.Module) -> ChannelGraph:
    """Return the channel graph of a classifier of images (N, C, H, W).

    Nothing is computed: no images, no weights are looked at. Raises ChannelGraphError, naming the module and the
    operation, for what torch.fx cannot trace and for an operation that the graph does not know.
    """
    tracer = _Tracer()
    try:
        operations = tracer.trace(network)
    except ChannelGraphError:
        raise
    except Exception as error:  # torch.fx raises many kinds; all of them mean the same here
        raise ChannelGraphError(f"{type(network).__name__}.forward cannot be traced by torch.fx: {error}") from error
    return Walk(network, operations).graph()


class _Tracer(fx.Tracer):
    """torch.fx's tracer; layers that own weights are leaves (subclasses too), and failures name the module."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, LEAVES) or super().is_leaf_module(module, name)

    def call_module(self, module: nn.Module, forward: Callable, args: tuple, kwargs: dict) -> Any:
        try:
            return super().call_module(module, forward, args, kwargs)
        except ChannelGraphError:
            raise
        except Exception as error:
            where = f"{self.path_of_module(module)} ({type(module).__name__})"
            raise ChannelGraphError(f"{where} cannot be traced by torch.fx: {error}") from error


class Walk:
    """One pass over the operations in order: the rule of each gives the channels it makes from those it reads."""

    def __init__(self, network: nn.Module, operations: fx.Graph) -> None:
        self.network, self.operations = network, operations
        self.values: dict[fx.Node, Value | None] = {}  # None: not a tensor (a size)
        self.steps: list[Step] = []
        self.sites: list[Site] = []
        self.fixed: list[np.ndarray] = []
        self.count = 0

    def graph(self) -> ChannelGraph:
        names: dict[nn.Parameter, str] = {}
        for name, parameter in self.network.named_parameters(remove_duplicate=False):
            if names.setdefault(parameter, name) != name:
                raise ChannelGraphError(f"{names[parameter]} and {name} are one parameter: it would move in two places")
        for node in self.operations.nodes:
            self.values[node] = self._visit(node)
        fixed = np.concatenate(self.fixed)
        return ChannelGraph(self.operations, tuple(self.steps), tuple(self.sites), fixed, self.count)

    def _visit(self, node: fx.Node) -> Value | None:
        if node.op == "placeholder":
            return Value(None, "map")
        if node.op == "output":
            return self._output(node)
        what = called(self.network, node)
        rule = RULES.get(what)
        read = [self.values[operand] for operand in node.all_input_nodes if self.values[operand] is not None]
        if node.op == "get_attr" or what in ("size", "shape") or (not read and rule in (arithmetic, getitem)):
            return None  # no tensor, or none with channels; nor is what is computed from sizes
        images = [value.ids is None for value in read]
        if read and all(images) and rule is not layer:
            return read[0]  # whatever happens to the images before the first layer leaves no channel of ours
        self.refuse(node, rule is None or not read, "is not an operation that the channel graph knows")
        self.refuse(node, any(images) and rule is not layer, "mixes the network's input with its channels")
        changed = node.all_input_nodes[0]
        later = any(user not in self.values for user in changed.users if user != node)
        fault = f"works in place on {changed.name}, which is read again later: give it a copy"
        self.refuse(node, later and self._works_in_place(node), fault)
        return rule(self, node, read[0])

    def _output(self, node: fx.Node) -> None:
        returned = self.values[node.args[0]] if isinstance(node.args[0], fx.Node) else None
        if returned is None or returned.ids is None:
            raise ChannelGraphError("the network does not return one tensor of logits (trace it in evaluation mode)")
        if (returned.ids < 0).any():
            raise ChannelGraphError("the network returns channels padded with zeros")
        self.fixed.append(returned.ids)
        self.step("output", node, None, "")

    def _works_in_place(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return getattr(self.module(node), "inplace", False)
        name = getattr(node.target, "__name__", str(node.target))
        return name.endswith("_") or name in ("iadd", "isub", "imul") or bool(node.kwargs.get("inplace"))

    def module(self, node: fx.Node) -> nn.Module:
        return self.network.get_submodule(node.target)

    def refuse(self, node: fx.Node, wrong: object, fault: str) -> None:
        """Raise ChannelGraphError, naming the operation and where it stands, where something is wrong with it."""
        if wrong:
            raise ChannelGraphError(f"{described(self.network, node)} {fault}")

    def fresh(self, count: int) -> np.ndarray:
        self.count += count
        return np.arange(self.count - count, self.count)  # (count,)

    def step(self, kind: str, node: fx.Node, ids: np.ndarray | None, form: str, **more: Any) -> Value:
        """Note what an operation does, and return the value that it makes."""
        more.setdefault("operands", tuple(each for each in node.all_input_nodes if self.values[each] is not None))
        more.setdefault("operand_ids", tuple(self.values[operand].ids for operand in more["operands"]))
        self.steps.append(Step(kind=kind, node=node, ids=ids, **more))
        return Value(ids, form)

    def site(self, node: fx.Node, axis: int, ids: np.ndarray, groups: int = 1) -> None:
        """Note that channels lie along an axis of a layer's parameters."""
        module = self.module(node)
        twice = any((site.module, site.axis) == (node.target, axis) for site in self.sites)
        self.refuse(node, twice, "is called twice: its channels would have to move in two places at once")
        tensors = dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))
        for attribute, parts in getattr(module, "parametrizations", {}).items():
            if hasattr(parts, "original"):  # weight_norm has several
                tensors[attribute] = parts.original
        without = "weight" not in tensors and getattr(module, "affine", True)
        self.refuse(node, without, "has no weight of its own (torch.nn.utils.parametrize?)")
        names = ["weight"] if axis else [name for name, value in tensors.items() if value.ndim]
        odd = [name for name in names if not axis and len(tensors[name]) != len(ids)]
        self.refuse(node, odd, f"has {', '.join(odd)} with another first axis than its {len(ids)} channels")
        self.sites.append(Site(node.target, axis, tuple(f"{node.target}.{name}" for name in names), ids, groups))
