"""MOEA bins: one codebook of uniform bins for the whole network (arXiv 2501.03095).

In the paper's symbols: theta, the weights of all convolutions and linear layers as one vector of N; k, the number of
uniform bins; d <= k, the number of non-empty ones, which are the shared weights.
"""

from ._bins import compress, merge_neighbours, merged_values, shared_bins
from ._faithful import BinSearch, Merged
from ._loss import BinLoss, Solution, taking_part
from ._waterfall import waterfall

__all__ = [
    "BinLoss", "BinSearch", "Merged", "Solution", "compress", "merge_neighbours", "merged_values", "shared_bins",
    "taking_part", "waterfall",
]  # fmt: skip
