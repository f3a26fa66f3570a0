"""Self-compression: bit depths learned by gradient, and channels that leave at zero bits (arXiv 2301.13142).

In the paper's symbols: x, a layer's weights; b and e, the bit depth and exponent of each output channel; q(x, b, e),
the quantised weights (equation 1); Q, the size (equations 2 to 5); gamma, its weight in the loss.

`compress` trains a task's network. Any network of one's own trains through the scheme and ends in a file:

    scheme = SelfCompression(gamma=0.1)
    recipe = training.Recipe(epochs=20, optimiser="adam", learning_rate=1e-3)
    done = training.fit(network, images, labels, recipe, seed=0, scheme=scheme)
    assemble(done.network, done.coded).save("network.bitbook")

In a training loop of one's own, the quantiser is a parametrisation, and the size a term of the loss:

    torch.nn.utils.parametrize.register_parametrization(layer, "weight", LearnedDepth(layer.weight))
    loss = criterion(network(x), y) + 0.1 * size(network, "depth")
"""

from bitbook.methods.self_compression._compress import Record, compress
from bitbook.methods.self_compression._quantiser import LearnedDepth, levels, quantised
from bitbook.methods.self_compression._removal import empty_channels, leaving
from bitbook.methods.self_compression._scheme import SelfCompression
from bitbook.methods.self_compression._size import CHARGES, reachable_bits, size

__all__ = [
    "CHARGES", "LearnedDepth", "Record", "SelfCompression", "compress", "empty_channels", "leaving", "levels",
    "quantised", "reachable_bits", "size",
]  # fmt: skip
