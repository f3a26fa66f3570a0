"""The baseline: one uniform step for the whole network, entropy-coded, batch norm re-estimated; twenty lines."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bitbook.codes import Coded, ScalarCode


def grid(tensors: Mapping[str, np.ndarray], step: float) -> Coded:
    """Return codes and codebook of all tensors rounded to whole multiples of one step.

    tensors: float arrays by parameter name. The codebook holds the multiples between the smallest and the largest
    weight as float16. Raises ValueError unless the step is positive and finite and gives at most 65,536 levels.
    """
    if not (np.isfinite(step) and step > 0):
        raise ValueError(f"step must be positive and finite, not {step}")
    levels = {name: np.rint(tensor.astype(np.float64) / step) for name, tensor in tensors.items()}
    low = min(level.min() for level in levels.values())
    high = max(level.max() for level in levels.values())
    if high - low >= 65536:
        raise ValueError(f"a step of {step} gives {high - low + 1:.0f} levels, more than 65,536; take a larger one")
    codes = {name: ScalarCode((level - low).astype(np.uint16), "grid") for name, level in levels.items()}
    return Coded(codes, {"grid": stored_values(np.arange(low, high + 1) * step)})


def stored_values(values: np.ndarray) -> np.ndarray:
    """Codebook entries as float16, or as float32 where float16 is out of range or too coarse for the smallest."""
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    smallest = np.abs(values[values != 0]).min(initial=1.0)
    return half if np.isfinite(half).all() and smallest > 2**-16 else values.astype(np.float32)
