"""The baseline: one uniform step for the whole network, entropy-coded, batch norm re-estimated; twenty lines."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from bitbook.codes import Coded, ScalarCode, small_floats

Scales = Mapping[str, np.ndarray]  # by parameter name, of layers whose steps differ from the common one


def grid(tensors: Mapping[str, np.ndarray], step: float, scales: Scales = MappingProxyType({})) -> Coded:
    """Return codes and codebook of all tensors rounded to whole multiples of one step, times the scale of a layer.

    tensors: float arrays by parameter name. The codebook holds the multiples between the smallest and the largest
    weight as float16. Raises ValueError unless the step is positive and finite and gives at most 65,536 levels.
    """
    if not (np.isfinite(step) and step > 0):
        raise ValueError(f"step must be positive and finite, not {step}")
    steps = {name: step * float(scales.get(name, 1)) for name in tensors}
    levels = {name: np.rint(tensor.astype(np.float64) / steps[name]) for name, tensor in tensors.items()}
    return on_grid(levels, step, scales)


def on_grid(levels: Mapping[str, np.ndarray], step: float, scales: Scales = MappingProxyType({})) -> Coded:
    """Return codes of whole numbers, each standing for so many steps; ValueError for more than 65,536 of them."""
    low = min(level.min() for level in levels.values())
    high = max(level.max() for level in levels.values())
    if high - low >= 65536:
        raise ValueError(f"a step of {step} gives {high - low + 1:.0f} levels, more than 65,536; take a larger one")
    codes = {
        name: ScalarCode((level - low).astype(np.uint16), "grid", scales.get(name)) for name, level in levels.items()
    }
    return Coded(codes, {"grid": small_floats(np.arange(low, high + 1) * step)})
