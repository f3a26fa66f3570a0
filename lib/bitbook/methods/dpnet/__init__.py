"""DP-Net: every layer clustered optimally by dynamic programming (arXiv 2003.09615).

In the paper's symbols: K, the clusters of a layer. What the abstract and introduction say is in the modules; the body
of the paper could not be read, so how layers share a budget, what a cluster's bits cost, and how strongly and how long
training makes a network clustering-friendly is our choice.
"""

from ._combined import Schedule, combined
from ._compress import (
    clustering_costs,
    compress,
    entropy_constrained_layers,
    entropy_constrained_options,
    optimal_layers,
)
from ._quantised import DPQ
from ._regularised import DPR
from ._robust import Attack, accuracies, compress_robust, train_robust

__all__ = [
    "DPQ", "DPR", "Attack", "Schedule", "accuracies", "clustering_costs", "combined", "compress", "compress_robust",
    "entropy_constrained_layers", "entropy_constrained_options", "optimal_layers", "train_robust",
]  # fmt: skip
