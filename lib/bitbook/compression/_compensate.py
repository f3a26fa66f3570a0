"""GPTQ rounding: indices chosen for a layer's outputs instead of its weights."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from bitbook.clustering import InputFactor, compensated_rounding, input_factor
from bitbook.codes import Code, Coded, GridCode, ScalarCode, SparseCode
from bitbook.compression._inputs import Moments

PASSES = 3  # with a rate weight, code lengths and indices are found in turn; after three passes sizes stay within 0.1 %
Factors = list[list[InputFactor]]


def compensate(
    tensors: Mapping[str, np.ndarray],
    coded: Coded,
    moments: Mapping[str, Moments | Factors],
    *,
    rate_weight: float = 0.0,
) -> Coded:
    """Return the same codes with indices that keep each layer's outputs close; codebooks and scales stay.

    tensors: the weights, by name, of at least the coded layers. moments: of `input_moments`, or already `factored`,
    which serves many codebooks; a layer without keeps its indices. rate_weight: what a bit may cost of squared
    error, in units of the squared mean distance between the values in use, where a uniform quantiser trades them at
    about 0.1; zero takes no account of bits. Raises ValueError for codes of other kinds than scalar ones, alone or
    beside positions, and grids.
    """
    found = dict(coded.codes)
    for name in coded.codes.keys() & moments.keys():
        given = moments[name]
        blocks = given if isinstance(given, list) else factored(given)
        found[name] = _rounded(name, tensors[name], coded.codes[name], coded.codebooks, blocks, rate_weight)
    return Coded(found, coded.codebooks)


def factored(moments: Moments, *, damping: float = 0.01) -> Factors:
    """Return the factors of a layer's moments: of each block of columns, a `clustering.input_factor` for each group."""
    blocks = moments if isinstance(moments, tuple) else (moments,)
    return [[input_factor(part, damping=damping) for part in block] for block in blocks]


def _rounded(
    name: str, tensor: np.ndarray, code: Code, codebooks: Mapping[str, np.ndarray], blocks: Factors, rate_weight: float
) -> Code:
    if isinstance(code, ScalarCode):
        return _scalar(tensor, code, codebooks, blocks, rate_weight)
    if isinstance(code, SparseCode) and isinstance(code.inner, ScalarCode) and not np.ndim(code.inner.scales):
        inner = code.inner
        whole = np.zeros(code.shape, inner.indices.dtype)
        whole[code.positions] = inner.indices.ravel()
        found = _scalar(
            tensor, dataclasses.replace(inner, indices=whole), codebooks, blocks, rate_weight, code.positions
        )
        indices = found.indices[code.positions].reshape(inner.shape)
        return dataclasses.replace(code, inner=dataclasses.replace(inner, indices=indices))
    if isinstance(code, GridCode) and len(blocks) == len(blocks[0]) == 1:
        values = code.values.copy()
        for depth in np.unique(code.depths[code.depths > 0]).tolist():
            rows, half = code.depths == depth, 1 << depth - 1
            scales = np.ldexp(np.float32(1), code.exponents[rows])
            levels = ScalarCode(values[rows].astype(np.int32) + half, "levels", scales)
            found = _scalar(tensor[rows], levels, {"levels": np.arange(-half, half)}, blocks, rate_weight)
            values[rows] = found.indices.astype(np.int32) - half
        return dataclasses.replace(code, values=values)
    kind = f"{code.kind} code" + (f" of {code.inner.kind} codes" if isinstance(code, SparseCode) else "")
    raise ValueError(f"{name}: GPTQ rounding takes each weight alone and ungrouped grids, not a {kind}: leave it out")


def _scalar(
    tensor: np.ndarray,
    code: ScalarCode,
    codebooks: Mapping[str, np.ndarray],
    blocks: Factors,
    rate_weight: float,
    kept: np.ndarray | None = None,
) -> ScalarCode:
    """The code with other indices; kept: where weights are not zero for good."""
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
    for _ in range(PASSES if rate_weight else 1):
        options: dict[str, Any] = {"code_lengths": code_lengths(counts), "rate_weight": rate_weight * spacing**2}
        columns = []
        for block, part, own in zip(blocks, *(np.split(x, borders, axis=1) for x in (weights, kept)), strict=True):
            groups = zip(np.split(part, len(block)), np.split(own, len(block)), block, strict=True)
            rows = [compensated_rounding(w, factor, values, kept=left, **options) for w, left, factor in groups]
            columns.append(np.concatenate(rows))
        found = np.concatenate(columns, axis=1)
        counts = np.bincount(found[kept], minlength=len(values))
    indices = order[first][found].reshape(tensor.shape)
    return dataclasses.replace(code, indices=indices.astype(code.indices.dtype))


def code_lengths(counts: np.ndarray) -> np.ndarray:
    """Bits of symbols that occur so often, (k,), finite for those that do not."""
    return np.log2((counts.sum() + 0.05 * len(counts)) / (counts + 0.05))
