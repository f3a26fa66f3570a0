"""DP-Net: every layer clustered optimally by dynamic programming (arXiv 2003.09615).

In the paper's symbols: K, the clusters of a layer. What the abstract and introduction say is in the modules; the body
of the paper could not be read, so how layers share a budget and what a cluster's bits cost is our choice.
"""

from .cluster import clustering_costs, entropy_constrained_layers, optimal_layers
from .combined import Schedule, combined
from .compress import compress, entropy_constrained_options
from .menu import Menu, menu

__all__ = [
    "Menu",
    "Schedule",
    "clustering_costs",
    "combined",
    "compress",
    "entropy_constrained_layers",
    "entropy_constrained_options",
    "menu",
    "optimal_layers",
]
