"""MOEA bins: one codebook of uniform bins for the whole network (arXiv 2501.03095), and a search over real bytes.

In the paper's symbols: theta, the weights of all convolutions and linear layers as one vector of N; k, the number of
uniform bins; d <= k, the number of non-empty ones, which are the shared weights.
"""

from .again import round_again
from .bins import compress, shared_bins
from .cost import Point
from .evaluation import FastDivergence
from .evolution import Generation, evolve, hypervolume, polynomial, simulated_binary
from .faithful import BinSearch, Merged
from .genes import Genes
from .honest import GeneSearch, spread
from .loss import BinLoss, Solution, taking_part
from .merge import merge_neighbours, merged_values
from .waterfall import waterfall

__all__ = [
    "BinLoss",
    "BinSearch",
    "FastDivergence",
    "GeneSearch",
    "Generation",
    "Genes",
    "Merged",
    "Point",
    "Solution",
    "compress",
    "evolve",
    "hypervolume",
    "merge_neighbours",
    "merged_values",
    "polynomial",
    "round_again",
    "shared_bins",
    "simulated_binary",
    "spread",
    "taking_part",
    "waterfall",
]
