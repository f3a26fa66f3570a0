"""Into which blocks a layer's weights are cut, and how many codewords it gets."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from bitbook.compression._select import select
from bitbook.training import require_ranges

FEWEST = 4  # blocks for each codeword


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Codewords and blocks by kind of layer; the defaults are the paper's small blocks.

    k, linear_k: codewords of a layer, or of a linear one (by default k). kernels: kernels of neighbouring input
    channels that make a block, 2 for the paper's large blocks; less than 1 for a part of one, such as 1/3, a row of a
    3 x 3. pointwise, linear: weights of a block in 1 x 1 convolutions and linear layers. own: (k, d) of layers, by
    parameter name. dense: fnmatch patterns of weights that stay dense, beside the first convolution's and those of
    depthwise convolutions.
    """

    k: int = 256
    linear_k: int | None = None
    kernels: float = 1
    pointwise: int = 4
    linear: int = 4
    own: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    dense: Sequence[str] = ()

    def __post_init__(self) -> None:
        require_ranges(
            self, k=(1, 65536), linear_k=(1, 65536), kernels=(1e-3, 1e6), pointwise=(1, 1e6), linear=(1, 1e6)
        )

    def sizes(self, network: nn.Module) -> dict[str, tuple[int, int]]:
        """Return (k, d) of every weight tensor to quantise, by parameter name.

        k is at most the largest power of two with four blocks to each codeword; a layer too small for two codewords
        stays dense. Where d does not cut a row of weights, it is their greatest common divisor.
        """
        convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
        kept = convolutions[:1] + [m for m in convolutions if m.groups == m.in_channels]
        apart = {name for name, value in network.named_parameters() if any(value is m.weight for m in kept)}
        found = {}
        for name, weights in select(network, exclude=self.dense).tensors.items():
            area = math.prod(weights.shape[2:])
            if name in self.own:
                found[name] = self.own[name]
            elif name not in apart:
                d = max(1, round(self.kernels * area))
                if area == 1:
                    d = self.linear if weights.ndim == 2 else self.pointwise
                d = math.gcd(d, weights[0].size)
                most = weights.size // (FEWEST * d)
                k = self.linear_k if weights.ndim == 2 and self.linear_k else self.k
                if most > 1:
                    found[name] = min(k, 1 << most.bit_length() - 1), d
        return found
