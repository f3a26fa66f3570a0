"""Numbers in, numbers out: clusterings of weights, with NumPy and Numba alone."""

from ._clusters import Clusters
from ._compensated_rounding import InputFactor, compensated_rounding, input_factor
from ._entropy_constrained import entropy_constrained
from ._kmeans1d import clusters_beside_zero, kmeans1d, kmeans1d_layers
from ._nearest import nearest_codewords
from ._permutation_search import BlockCovariance, ChannelOrder, greedy_order, log_determinant, search_order
from ._sorted_weights import SortedWeights, sort_weights
from ._uniform_bins import UniformBins, uniform_bins
from ._vector_kmeans import VectorClusters, vector_kmeans

__all__ = [
    "BlockCovariance", "ChannelOrder", "Clusters", "InputFactor", "SortedWeights", "UniformBins", "VectorClusters",
    "clusters_beside_zero", "compensated_rounding", "entropy_constrained", "greedy_order", "input_factor", "kmeans1d",
    "kmeans1d_layers", "log_determinant", "nearest_codewords", "search_order", "sort_weights", "uniform_bins",
    "vector_kmeans",
]  # fmt: skip
