"""Indices chosen for a layer's outputs instead of its weights, from training images without labels or gradients."""

from __future__ import annotations

import dataclasses
import itertools
import math
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd

from bitbook import training
from bitbook.clustering import InputFactor, compensated_rounding, input_factor
from bitbook.codes import Code, Coded, GridCode, ScalarCode

PASSES = 3  # with a price, code lengths and indices are found in turn; after three passes sizes stay within 0.1 %
Moments = np.ndarray | tuple[np.ndarray, ...]
POSITIONS = 64  # of each image's feature map; neighbouring ones say nearly the same


def input_moments(
    network: nn.Module,
    data: Tensor | Iterable[training.Batch],
    *,
    batch_size: int = 100,
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
        batch_size: of images.
        memory: bytes that the moments and their factors may take; where they would take more, the widest layers get
            moments of blocks of their inputs, and a warning says so.
        only: names of the weights that are asked for; by default all.

    Returns:
        Moments (groups, inputs, inputs) float64, where inputs counts C_in / groups * kernel area, in the weight's own
        order; those of a layer in blocks are a tuple of such arrays, a block of consecutive inputs each.
    """
    names = {id(value): name for name, value in network.named_parameters()}
    layers = {
        module: _width(module)
        for module in network.modules()
        if _watchable(module) and (only is None or names[id(_weight(module))] in only)
    }
    block = _block_size(list(layers.values()), memory)
    if wide := [names[id(_weight(m))] for m, (_, inputs) in layers.items() if inputs > block]:
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
            parts = [part @ part.transpose(1, 2) for part in rows.split(block, dim=1)]
            name = names[id(_weight(module))]
            if name not in sums:
                sums[name] = [part.double() for part in parts]
            else:
                for total, part in zip(sums[name], parts, strict=True):
                    total += part

    handles = [module.register_forward_hook(add, with_kwargs=True) for module in layers]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it calls no layer, so that nothing could be watched
    try:
        with training.evaluating(network), torch.inference_mode():
            for _ in training.run(network, data, batch_size=batch_size):
                pass
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for handle in handles:
            handle.remove()
    for name, parts in sums.items():
        if not all(part.isfinite().all() for part in parts):
            raise ValueError(f"{name}: inputs of this layer are not finite, or too large to be squared: scale the data")
    arrays = {name: tuple(part.cpu().numpy() for part in parts) for name, parts in sums.items()}
    return {name: parts if len(parts) > 1 else parts[0] for name, parts in arrays.items()}


def _watchable(module: nn.Module) -> bool:
    if isinstance(module, nn.MultiheadAttention):
        return module.in_proj_weight is not None
    return isinstance(module, nn.Linear) or (isinstance(module, _ConvNd) and not module.transposed)


def _weight(module: nn.Module) -> nn.Parameter:
    return module.in_proj_weight if isinstance(module, nn.MultiheadAttention) else module.weight


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
    sizes = [
        (n - hole * (k - 1) - 1) // step + 1 for n, k, step, hole in zip(x.shape[2:], kernel, steps, holes, strict=True)
    ]
    taken = _spread(math.prod(sizes), positions)
    corners = [
        place * step for place, step in zip(torch.unravel_index(taken, sizes), steps, strict=True)
    ]  # of what kernels cover
    places = itertools.product(*(range(0, hole * k, hole) for k, hole in zip(kernel, holes, strict=True)))
    columns = [x[:, :, *(c + offset for c, offset in zip(corners, place, strict=True))] for place in places]
    stacked = torch.stack(columns, dim=2)  # (N, C_in, places, positions)
    return stacked.flatten(1, 2).transpose(0, 1).reshape(layer.groups, -1, len(taken) * len(x))


def _spread(count: int, most: int) -> Tensor:
    return torch.linspace(0, count - 1, min(count, most)).round().long()


def compensate(
    tensors: Mapping[str, np.ndarray],
    coded: Coded,
    moments: Mapping[str, Moments | Sequence[InputFactor]],
    *,
    price: float = 0.0,
) -> Coded:
    """Return the same codes with indices that keep each layer's outputs close; codebooks and scales stay.

    tensors: the weights, by name, of at least the coded layers. moments: of `input_moments`, or already factored, a
    `clustering.input_factor` for each group; a layer without keeps its indices. price: what a bit may cost of squared
    error, in units of the squared mean distance between the values in use, where a uniform quantiser trades them at
    about 0.1; zero takes no account of bits.
    """
    found = {
        name: _one(name, tensors[name], code, coded.codebooks, moments[name], price) if name in moments else code
        for name, code in coded.codes.items()
    }
    return Coded(found, coded.codebooks)


def _one(
    name: str,
    tensor: np.ndarray,
    code: Code,
    codebooks: Mapping[str, np.ndarray],
    moments: Moments | Sequence[InputFactor],
    price: float,
) -> Code:
    blocks = [  # each a factor for each group
        [moment if isinstance(moment, InputFactor) else input_factor(moment) for moment in block]
        for block in (moments if isinstance(moments, tuple) else (moments,))
    ]
    if isinstance(code, ScalarCode):
        return _scalar(tensor, code, codebooks, blocks, price)
    inner = getattr(code, "inner", None)
    if isinstance(inner, ScalarCode) and (inner.scales is None or not inner.scales.ndim):
        whole = np.zeros(code.shape, inner.indices.dtype)
        whole[code.positions] = inner.indices.ravel()
        found = _scalar(tensor, dataclasses.replace(inner, indices=whole), codebooks, blocks, price, code.positions)
        indices = found.indices[code.positions].reshape(inner.shape)
        return dataclasses.replace(code, inner=dataclasses.replace(inner, indices=indices))
    if isinstance(code, GridCode) and len(blocks) == len(blocks[0]) == 1:
        values = code.values.copy()
        for depth in np.unique(code.depths[code.depths > 0]).tolist():
            rows, half = code.depths == depth, 1 << depth - 1
            scales = np.ldexp(np.float32(1), code.exponents[rows])
            levels = ScalarCode(values[rows].astype(np.int32) + half, "levels", scales)
            found = _scalar(tensor[rows], levels, {"levels": np.arange(-half, half)}, blocks, price)
            values[rows] = found.indices.astype(np.int32) - half
        return dataclasses.replace(code, values=values)
    kind = f"{code.kind} code" + (f" of {inner.kind} codes" if inner else "")
    raise ValueError(f"{name}: GPTQ rounding takes each weight alone and ungrouped grids, not a {kind}: leave it out")


def _scalar(
    tensor: np.ndarray,
    code: ScalarCode,
    codebooks: Mapping[str, np.ndarray],
    blocks: Sequence[Sequence[InputFactor]],
    price: float,
    kept: np.ndarray | None = None,
) -> ScalarCode:
    """Round for the factors of each block of columns and group of rows; kept: where weights are not zero for good."""
    book = codebooks[code.codebook].astype(np.float64)  # (k,)
    order = np.argsort(book, kind="stable")
    values, first = np.unique(book[order], return_index=True)  # equal values: the first index stands for all
    scales = 1.0 if code.scales is None else code.scales.astype(np.float64).reshape(-1, *[1] * (tensor.ndim - 1))
    weights = (tensor.astype(np.float64) / scales).reshape(tensor.shape[0], -1)  # (outputs, inputs)
    kept = np.ones(weights.shape, bool) if kept is None else kept.reshape(weights.shape)
    given = book[code.indices.reshape(weights.shape)[kept]]
    counts = np.bincount(np.searchsorted(values, given), minlength=len(values))
    spacing = np.average(np.gradient(values), weights=counts) if len(values) > 1 else 0.0
    borders = np.cumsum([len(block[0].order) for block in blocks])[:-1]
    for _ in range(PASSES if price else 1):
        lengths = np.log2((counts.sum() + 0.05 * len(counts)) / (counts + 0.05))  # finite for values not in use
        columns = []
        for block, part, own in zip(blocks, *(np.split(x, borders, axis=1) for x in (weights, kept)), strict=True):
            options = {"code_lengths": lengths, "price": price * spacing**2}
            groups = zip(np.split(part, len(block)), np.split(own, len(block)), block, strict=True)
            rows = [compensated_rounding(w, factor, values, kept=left, **options) for w, left, factor in groups]
            columns.append(np.concatenate(rows))
        found = np.concatenate(columns, axis=1)
        counts = np.bincount(found[kept], minlength=len(values))
    indices = order[first][found].reshape(tensor.shape)
    return dataclasses.replace(code, indices=indices.astype(code.indices.dtype))
