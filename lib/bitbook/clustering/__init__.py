"""Numbers in, numbers out: clusterings of weights, with NumPy and Numba alone."""

from .sorted_weights import SortedWeights, sort_weights
from .uniform_bins import UniformBins, uniform_bins

__all__ = ["SortedWeights", "UniformBins", "sort_weights", "uniform_bins"]
