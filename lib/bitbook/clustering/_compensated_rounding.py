"""GPTQ rounding to a codebook: column by column, each making up for the errors of those before it."""

from dataclasses import dataclass

import numba as nb
import numpy as np
from scipy.linalg import lapack

BLOCK = 256  # columns whose errors are taken to all later ones at once


@dataclass(frozen=True)
class InputFactor:
    """What rounding needs of a layer's inputs; it depends on them alone, so one serves many codebooks.

    order: (inputs,) columns as they are rounded. factor: (inputs, inputs) upper, of the inverse moments. importance:
    (inputs,) what a squared error in each column costs, one for a column of average weight.
    """

    order: np.ndarray
    factor: np.ndarray
    importance: np.ndarray


def input_factor(moments: np.ndarray, *, damping: float = 0.01) -> InputFactor:
    """Factor the moments (inputs, inputs), the sum of x x^T over a layer's inputs x, for `compensated_rounding`.

    damping: added to the diagonal, as a share of its mean, so that inputs that hardly occur do no harm. Raises
    ValueError for moments that are not square and finite.
    """
    moments = np.asarray(moments, np.float64)
    if moments.ndim != 2 or moments.shape[0] != moments.shape[1] or not np.isfinite(moments).all():
        raise ValueError(f"moments must be finite (inputs, inputs), not {moments.shape}")
    inputs = len(moments)
    diagonal = np.diagonal(moments)
    order = np.argsort(-diagonal, kind="stable")
    damped = moments[np.ix_(order, order)] + np.eye(inputs) * max(damping * diagonal.mean(), np.finfo(np.float64).tiny)
    backwards = np.linalg.cholesky((damped / damped.trace() * inputs)[::-1, ::-1])
    factor = lapack.dtrtri(np.asfortranarray(backwards[::-1, ::-1]))[0]  # upper, inverse = factor.T @ factor
    pivots = np.diagonal(factor) ** 2  # (inputs,) what a unit of rounding in a column leaves for good is 1 / this
    return InputFactor(order, np.ascontiguousarray(factor), np.exp(np.log(pivots).mean()) / pivots)


def compensated_rounding(
    weights: np.ndarray,
    moments: np.ndarray | InputFactor,
    values: np.ndarray,
    *,
    code_lengths: np.ndarray | None = None,
    rate_weight: float = 0.0,
    damping: float = 0.01,
    kept: np.ndarray | None = None,
) -> np.ndarray:
    """Return indices into a codebook such that a linear layer's outputs, not its weights, come out close.

    weights: (outputs, inputs). moments: (inputs, inputs), the sum of x x^T over the layer's inputs x, or their
    `input_factor`, which then settles the damping. values: (k,) ascending. Columns are rounded in falling order of
    their moment; what a column's rounding does to the outputs is taken back, as far as the later columns can, by
    changing those before they are rounded in turn. code_lengths: (k,) bits of each index; then `rate_weight` (the
    rate-distortion weight) x bits is added to each squared error, in units of a column of average weight. damping:
    added to the diagonal, as a share of its mean, so that inputs that hardly occur do no harm. kept: bool, (outputs,
    inputs); all other weights become zero, and their index is 0. Returns (outputs, inputs) of the smallest unsigned
    type. Raises ValueError for shapes that do not fit, for values that do not ascend, and for NaN or infinities.
    Source: arXiv 2210.17323 (GPTQ), equations 2 and 3 and the Cholesky form of section 3.3; the weighted bits are our
    addition.
    """
    weights, values = np.asarray(weights, np.float64), np.asarray(values, np.float64)
    outputs, inputs = weights.shape
    shape = moments.factor.shape if isinstance(moments, InputFactor) else np.shape(moments)
    if shape != (inputs, inputs):
        raise ValueError(f"moments: shape {shape}, but the weights have {inputs} inputs")
    if values.ndim != 1 or not values.size or (np.diff(values) <= 0).any():
        raise ValueError("values must be an ascending list without ties")
    lengths = np.zeros(len(values)) if code_lengths is None else np.asarray(code_lengths, np.float64)
    if lengths.shape != values.shape:
        raise ValueError(f"code_lengths: shape {lengths.shape}, but there are {len(values)} values")
    if not all(np.isfinite(a).all() for a in (weights, values, lengths)):
        raise ValueError("weights, moments, values and code lengths must be finite")
    by = moments if isinstance(moments, InputFactor) else input_factor(moments, damping=damping)
    indices = np.zeros((outputs, inputs), np.int32)
    kept = np.ones((outputs, inputs), bool) if kept is None else kept
    left, kept = weights[:, by.order], kept[:, by.order]
    for start in range(0, inputs, BLOCK):
        part = slice(start, start + BLOCK)
        own = np.ascontiguousarray(by.factor[part, part])
        block, found = left[:, part].copy(), np.zeros((outputs, len(own)), np.int32)
        _round(block, own, values, rate_weight * lengths, by.importance[part], kept[:, part], found)
        indices[:, part] = found
        left[:, start + BLOCK :] -= block @ by.factor[part, start + BLOCK :]
    result = np.empty((outputs, inputs), np.min_scalar_type(len(values) - 1))
    result[:, by.order] = indices
    return result


@nb.njit(cache=True, nogil=True)
def _round(weights, factor, values, costs, importance, kept, indices):
    """Round the rows one after the other: rows do not touch each other; weights become errors, in units of factor."""
    outputs, inputs = weights.shape
    last = len(values) - 1
    for row in range(outputs):
        w = weights[row]
        for j in range(inputs):
            value = 0.0
            if kept[row, j]:
                right = np.searchsorted(values, w[j])
                best, best_cost = 0, np.inf
                # With weighted bits a value beyond the two neighbours may be cheaper: one more on either side will do.
                for c in range(max(right - 2, 0), min(right + 1, last) + 1):
                    cost = (w[j] - values[c]) ** 2 * importance[j] + costs[c]
                    if cost < best_cost:
                        best, best_cost = c, cost
                indices[row, j] = best
                value = values[best]
            error = (w[j] - value) / factor[j, j]
            w[j] = error
            for later in range(j + 1, inputs):
                w[later] -= error * factor[j, later]
