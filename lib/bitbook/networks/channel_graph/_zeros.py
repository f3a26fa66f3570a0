"""Which channels can go without changing what the network computes."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, fx, nn

from ._graph import ChannelGraph, Step
from ._plan import ChannelGraphError
from ._rules import evaluate

NAN = torch.tensor(float("nan"), dtype=torch.float64)


class Needs(NamedTuple):
    """Whether each channel is needed, and by whom; all (count,)."""

    needed: np.ndarray  # bool
    reader: np.ndarray  # the step that reads it as something else than zero
    value: np.ndarray  # the constant that it reads, NaN where it varies with the image


@torch.no_grad()
def zero_channels(network: nn.Module, graph: ChannelGraph, *, tolerance: float = 1e-6) -> dict[str, np.ndarray]:
    """Return the output channels of each layer that can be removed exactly, in evaluation mode, by module name.

    These are the channels that arrive as zero (at most `tolerance`, in the units of the activations) wherever they are
    read, after batch norm, bias and activation, and those that are read with zero weights only. A channel whose own
    weights are zero, but whose bias or batch-norm shift makes a positive constant of it, is not among them.
    """
    needed = _needs(network, graph, tolerance).needed
    dropped = {layer: np.flatnonzero(~needed[ids]) for layer, ids in graph.layers.items()}
    return {layer: channels for layer, channels in dropped.items() if len(channels)}


@torch.no_grad()
def check_zero(network: nn.Module, graph: ChannelGraph, channels: Mapping, *, tolerance: float) -> None:
    """Raise ChannelGraphError, naming layer, channel and reader, unless `zero_channels` would find these channels."""
    needs = _needs(network, graph, tolerance)
    for layer, gone in channels.items():
        for position in gone:
            each = graph.layers[layer][position]
            if needs.needed[each]:
                refused = f"{layer}: channel {position} cannot be removed"
                if needs.reader[each] < 0:
                    raise ChannelGraphError(f"{refused}: the network returns it")
                value, reader = needs.value[each], graph.steps[needs.reader[each]].node.name
                how = "varying with the image" if np.isnan(value) else f"as the constant {value:.3g}"
                remedy = "bring its weights, and the bias and batch-norm shift on its way, to zero first"
                raise ChannelGraphError(f"{refused}: it reaches {reader} {how}; {remedy}")


def _needs(network: nn.Module, graph: ChannelGraph, tolerance: float) -> Needs:
    """Follow constants forwards and what is read backwards; see zero_channels."""
    constants = _constants(network, graph, tolerance)
    needed = np.zeros(graph.count + 1, dtype=bool)  # the last entry serves id -1, and is not returned
    needed[graph.fixed] = True
    reader, value = np.full(graph.count + 1, -1), np.full(graph.count + 1, np.nan)
    for number, step in reversed(list(enumerate(graph.steps))):
        if step.kind not in ("layer", "sum", "product") or step.operand_ids[0] is None:
            continue
        pairs = zip(step.operands, step.operand_ids, strict=True)
        arriving = [_features(constants[operand], len(ids)).numpy() for operand, ids in pairs]  # (C_in,)
        zero = [np.abs(values) <= tolerance for values in arriving]
        if step.kind == "layer":
            nonzero = _nonzero(network, step)  # (groups, C_out / groups, C_in / groups)
            rows = torch.from_numpy(needed[step.ids]).reshape(*nonzero.shape[:2], 1)
            reads = [(nonzero & rows).any(1).flatten().numpy() & ~zero[0]]
        elif step.kind == "product":
            reads = [needed[step.ids]] * 2  # without either there is no product, not even a zero
        else:  # where a sum of zeros is needed, because a shift follows, one of them must stay
            first = step.operand_ids[0] >= 0
            reads = [needed[step.ids] & (~zero[0] | zero[1] & first), needed[step.ids] & (~zero[1] | zero[0] & ~first)]
        for ids, values, read in zip(step.operand_ids, arriving, reads, strict=True):
            needed[ids[read]] = True
            reader[ids[read]], value[ids[read]] = number, values[read]
    return Needs(needed[:-1], reader[:-1], value[:-1])


def _constants(network: nn.Module, graph: ChannelGraph, tolerance: float) -> dict[fx.Node, Tensor]:
    """Return, for every operation, the constant that each channel is whatever the image, NaN where it varies: (C,)."""
    constants: dict[fx.Node, Tensor] = {}
    for step in graph.steps:
        read = [constants.get(operand) for operand in step.operands]
        if step.kind in ("layer", "scale"):
            out = _weighted(network, step, read[0], tolerance)
        elif step.kind == "elementwise":
            out = evaluate(network, step.node, read[0])
        elif step.kind == "gather":
            out = torch.cat([read[0], torch.zeros(1, dtype=torch.float64)])[torch.from_numpy(step.source)]
        elif step.kind == "cat":
            out = torch.cat(read)
        elif step.kind in ("flatten", "output"):
            out = read[0]
        elif step.kind == "softmax":
            out = NAN.expand(len(step.ids))
        else:  # what is zero stays zero; other constants may change at the borders of the map
            zero = torch.stack([values.abs() <= tolerance for values in read])  # (operands, C)
            out = torch.where(zero.any(0) if step.kind == "product" else zero.all(0), 0.0, NAN)
        constants[step.node] = out
    return constants


def _weighted(network: nn.Module, step: Step, arriving: Tensor | None, tolerance: float) -> Tensor:
    """What a layer, batch norm or depthwise convolution makes of constants (C_in,), None for images: (C_out,)."""
    module, ids = network.get_submodule(step.node.target), step.operand_ids[0]
    if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
        scale = _vector(module.weight, 1.0) / torch.sqrt(_vector(module.running_var, 1.0) + module.eps)  # (C,)
        shifted = _features(arriving, len(step.ids)) - _vector(module.running_mean, 0.0)
        return torch.where(scale == 0, 0.0, shifted * scale) + _vector(module.bias, 0.0)
    nonzero = _nonzero(network, step)  # (groups, C_out / groups, C_in / groups)
    arriving = NAN if ids is None else _features(arriving, len(ids)).reshape(len(nonzero), 1, -1)
    varies = (nonzero & ~(arriving.abs() <= tolerance)).any(2).flatten()  # (C_out,)
    return torch.where(varies, NAN, _vector(module.bias, 0.0))


def _features(values: Tensor, width: int) -> Tensor:
    return values.repeat_interleave(width // len(values))  # (width,): each channel of a flattened map is a run


def _nonzero(network: nn.Module, step: Step) -> Tensor:
    """Where a layer's weight is not zero, kernels taken together: (groups, C_out / groups, C_in / groups) bool."""
    module = network.get_submodule(step.node.target)
    nonzero = module.weight.ne(0).flatten(2).any(2) if module.weight.ndim > 2 else module.weight.ne(0)
    return nonzero.cpu().reshape(getattr(module, "groups", 1), -1, nonzero.shape[1])


def _vector(values: Tensor | None, missing: float) -> Tensor:
    """Float64 on the CPU, (C,), or one number () where a layer does without."""
    return torch.tensor(missing, dtype=torch.float64) if values is None else values.detach().double().cpu()
