"""MOEA bins: one codebook of uniform bins for the whole network (arXiv 2501.03095).

In the paper's symbols: theta, the weights of all convolutions and linear layers as one vector of N; k, the number of
uniform bins; d <= k, the number of non-empty ones, which are the shared weights.
"""

from .bins import compress, shared_bins

__all__ = ["compress", "shared_bins"]
