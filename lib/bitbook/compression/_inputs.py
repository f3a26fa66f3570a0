"""What layers multiply their weights with, and the second moments of that, from data without labels or gradients."""

import itertools
import math
import warnings
from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd

from bitbook import training

Moments = np.ndarray | tuple[np.ndarray, ...]
POSITIONS = 64  # of each image's feature map; neighbouring ones say nearly the same


def input_moments(
    network: nn.Module,
    data: Tensor | Iterable[training.Batch],
    *,
    memory: int = 2**32,
    only: Collection[str] | None = None,
) -> dict[str, Moments]:
    """Return the sum of x x^T over the inputs x of every layer that can be watched, by the weight's name.

    Linear layers and convolutions of one to three axes can, whatever their padding, and the first projections of
    attention; transposed convolutions, recurrent layers and weights that are used without their layer's being called
    cannot. Of an image's positions in a feature map, or of a sequence's, 64 are taken, evenly spread.

    Args:
        network: any module.
        data: images (N, C, H, W) as for `training.logits`, or batches as `training.run` takes them.
        memory: bytes that the moments and their factors may take; where they would take more, the widest layers get
            moments of blocks of their inputs, and a warning says so.
        only: names of the weights that are asked for; by default all.

    Returns:
        Moments (groups, inputs, inputs) float64, where inputs counts C_in / groups * kernel area, in the weight's own
        order; those of a layer in blocks are a tuple of such arrays, a block of consecutive inputs each.
    """
    names = {id(value): name for name, value in network.named_parameters()}
    layers = {
        module: names[id(weight)]
        for module in network.modules()
        if id(weight := _weight(module)) in names and (only is None or names[id(weight)] in only)
    }
    block = _block_size([_width(module) for module in layers], memory)
    if wide := [name for module, name in layers.items() if _width(module)[1] > block]:
        warnings.warn(
            f"{', '.join(wide)}: rounded in blocks of {block} inputs, to stay within {memory / 2**30:.1f} GiB; "
            "give more memory= for whole layers",
            stacklevel=2,
        )
    sums: dict[str, list[Tensor]] = {}

    def add(module: nn.Module, arguments: tuple, keywords: dict, *_: object) -> None:
        rows = _rows(module, arguments, keywords)  # (groups, inputs, n)
        if rows is not None:
            rows = rows if rows.dtype == torch.float64 else rows.float()
            parts = [(part @ part.transpose(1, 2)).double() for part in rows.split(block, dim=1)]
            before = sums.get(layers[module], [0.0] * len(parts))
            sums[layers[module]] = [part + total for part, total in zip(parts, before, strict=True)]

    with ExitStack() as undone, training.evaluating(network), torch.inference_mode():
        undone.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)  # it calls no layer, so that nothing could be watched
        for module in layers:
            undone.enter_context(module.register_forward_hook(add, with_kwargs=True))
        try:
            for _ in training.run(network, data, batch_size=100):
                pass
        except (TypeError, RuntimeError, IndexError) as error:
            raise ValueError(f"the network cannot take all batches of the calibration data: {error}") from error
    for name, parts in sums.items():
        if not all(part.isfinite().all() for part in parts):
            raise ValueError(f"{name}: inputs of this layer are not finite, or too large to be squared: scale the data")
    arrays = {name: tuple(part.cpu().numpy() for part in parts) for name, parts in sums.items()}
    return {name: parts if len(parts) > 1 else parts[0] for name, parts in arrays.items()}


def is_torch_s_own(layer: nn.Module) -> bool:
    """Whether a layer computes what the class of torch's does that it is, or derives from."""
    own = next((kind for kind in type(layer).__mro__ if kind.__module__.startswith("torch.nn.modules.")), nn.Module)
    same = all(getattr(type(layer), part, None) is getattr(own, part, None) for part in ("forward", "_conv_forward"))
    return same and "forward" not in vars(layer)


def _weight(module: nn.Module) -> nn.Parameter | None:
    """The weight whose inputs can be watched, if any."""
    if not is_torch_s_own(module):
        return None
    if isinstance(module, nn.MultiheadAttention):
        return module.in_proj_weight
    watched = isinstance(module, nn.Linear) or (isinstance(module, _ConvNd) and not module.transposed)
    return module.weight if watched else None


def _width(module: nn.Module) -> tuple[int, int]:
    """Groups and inputs of a layer's moments."""
    if isinstance(module, nn.MultiheadAttention):
        return 3, module.embed_dim
    return getattr(module, "groups", 1), module.weight[0].numel()


def _block_size(widths: Sequence[tuple[int, int]], memory: int) -> int:
    """The largest power of two such that moments in blocks of it, and the factors of one layer, keep the memory."""
    block = 1 << max((inputs - 1 for _, inputs in widths), default=1).bit_length()
    while block > 64:
        kept = [8 * groups * inputs * min(inputs, block) for groups, inputs in widths]
        scratch = 4 * 8 * min(block, max(inputs for _, inputs in widths)) ** 2  # while one block is factored
        if sum(kept) + max(kept) + scratch <= memory:
            break
        block //= 2
    return block


def _rows(module: nn.Module, arguments: tuple, keywords: dict) -> Tensor | None:
    """What a call multiplies the weights with, (groups, inputs, n); None for a call that gives none."""
    if not isinstance(module, nn.MultiheadAttention):
        x = arguments[0] if arguments else next(iter(keywords.values()))
        return layer_inputs(module, x) if isinstance(x, Tensor) and x.numel() else None
    given = [*arguments[:3], *(keywords[name] for name in ("query", "key", "value")[len(arguments) :])]
    if not module.batch_first:
        given = [x.transpose(0, 1) if x.ndim == 3 else x for x in given]
    rows = [_tokens(x, POSITIONS) for x in given]
    return torch.cat([x[..., : min(x.shape[2] for x in rows)] for x in rows])


def _tokens(x: Tensor, positions: int) -> Tensor:
    """Rows (1, inputs, n) of inputs (N, ..., inputs), of at most so many positions each."""
    if x.ndim > 2:
        x = x.flatten(1, -2)  # (N, T, inputs)
        x = x[:, _spread(x.shape[1], positions)]
    return x.reshape(1, -1, x.shape[-1]).transpose(1, 2)


def layer_inputs(layer: nn.Module, x: Tensor, *, positions: int = POSITIONS) -> Tensor:
    """Return what a convolution or linear layer multiplies its weights with, (groups, inputs, n), for inputs (N, ...).

    Of the positions of a feature map or a sequence at most so many an image are taken, evenly spread.
    """
    if isinstance(layer, nn.Linear):
        return _tokens(x, positions)
    kernel, steps, holes = layer.kernel_size, layer.stride, layer.dilation  # an entry an axis
    if x.ndim == len(kernel) + 1:
        x = x[None]
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    x = F.pad(x, layer._reversed_padding_repeated_twice, mode=mode)
    lengths = zip(x.shape[2:], kernel, steps, holes, strict=True)
    sizes = [(n - hole * (k - 1) - 1) // step + 1 for n, k, step, hole in lengths]
    taken = _spread(math.prod(sizes), positions)
    # The corners of what the kernel covers, along each axis.
    corners = [place * step for place, step in zip(torch.unravel_index(taken, sizes), steps, strict=True)]
    places = itertools.product(*(range(0, hole * k, hole) for k, hole in zip(kernel, holes, strict=True)))
    columns = [x[:, :, *(c + offset for c, offset in zip(corners, place, strict=True))] for place in places]
    stacked = torch.stack(columns, dim=2)  # (N, C_in, places, positions)
    return stacked.flatten(1, 2).transpose(0, 1).reshape(layer.groups, -1, len(taken) * len(x))


def _spread(count: int, most: int) -> Tensor:
    return torch.linspace(0, count - 1, min(count, most)).round().long()
