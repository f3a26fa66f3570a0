"""Self-compression: bit depths learned by gradient, and channels that leave at zero bits (arXiv 2301.13142).

In the paper's symbols: x, a layer's weights; b and e, the bit depth and exponent of each output channel; q(x, b, e),
the quantised weights (equation 1); Q, the size (equations 2 to 5); gamma, its weight in the loss.
"""

from bitbook.methods.self_compression._compress import Record, compress
from bitbook.methods.self_compression._quantiser import LearnedDepth, levels, quantised
from bitbook.methods.self_compression._removal import empty_channels, leaving
from bitbook.methods.self_compression._scheme import SelfCompression
from bitbook.methods.self_compression._size import CHARGES, reachable_bits, size

__all__ = [
    "CHARGES",
    "LearnedDepth",
    "Record",
    "SelfCompression",
    "compress",
    "empty_channels",
    "leaving",
    "levels",
    "quantised",
    "reachable_bits",
    "size",
]
