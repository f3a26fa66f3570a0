"""The quantiser of self-compression: a bit depth and an exponent for each output channel, both learned."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from bitbook import training
from bitbook.codes import GridCode

MAX_DEPTH = 16  # of a GridCode; without a limit of its own a channel has this one


def levels(x: Tensor, b: Tensor, e: Tensor) -> Tensor:
    """round(clamp(2^-e x, -2^(b-1), 2^(b-1) - 1)): whole numbers, half to even, passed straight through.

    Args:
        x: weights (out, ...).
        b: bit depths >= 0, broadcast against x.
        e: exponents, broadcast against x.
    """
    half = torch.exp2(b - 1)
    u = torch.minimum(torch.maximum(x * torch.exp2(-e), -half), half - 1)
    return training.straight_through(u, u.round())  # torch rounds half to even: no bits, limits of -0.5, give zero


def quantised(x: Tensor, b: Tensor, e: Tensor) -> Tensor:
    """q(x, b, e) = 2^e round(clamp(2^-e x, -2^(b-1), 2^(b-1) - 1)) (equation 1), in the shape of x.

    Inside the clamp x has the gradient 1, and e has ln2 2^e (round(u) - u); only weights outside move b.
    """
    return torch.exp2(e) * levels(x, b, e)


class LearnedDepth(nn.Module):
    """A parametrisation: the weights that the network computes with are q(x, b, e), with b and e for each channel.

    Use it by itself through `torch.nn.utils.parametrize`, or with `SelfCompression`, which trains it as it needs.

    Args:
        weights: (out, ...), the start. Each e begins where the channel's largest weight just fits.
        depth: bits of every channel at the start.
        whole_depths: computes with bit depths rounded to whole numbers, which pass straight through.
        learned: whether b is learned; if not, the levels of a channel have no limit, and e alone decides.
    """

    along: ClassVar = {"depths": 1, "exponents": 1, "channels": 1}
    whole: Tensor
    starting: Tensor
    channels: Tensor

    def __init__(
        self, weights: Tensor, *, depth: float = 8.0, whole_depths: bool = False, learned: bool = True
    ) -> None:
        super().__init__()
        largest = weights.detach().float().flatten(1).abs().amax(1)  # (out,)
        e = torch.log2(torch.where(largest > 0, largest, 1.0)) - (depth - 1)
        self.exponents = nn.Parameter(e)
        self.depths = nn.Parameter(torch.full_like(e, depth if learned else MAX_DEPTH), requires_grad=learned)
        self.whole_depths = whole_depths
        self.register_buffer("whole", torch.tensor(False))  # exponents are rounded, as the file needs them
        self.register_buffer("starting", torch.tensor(weights.shape))  # shape before any channel left
        self.register_buffer("channels", torch.arange(len(e)))  # where each channel stood then

    def depth(self) -> Tensor:
        """b of each channel, (out,), as it is computed with and charged."""
        b = self.depths.relu()
        return training.straight_through(b, b.round()) if self.whole_depths else b

    def exponent(self) -> Tensor:
        """e of each channel, (out,), as it is computed with."""
        return torch.where(
            self.whole, training.straight_through(self.exponents, self.exponents.round()), self.exponents
        )

    def levels(self, weights: Tensor) -> Tensor:
        """The whole number of each weight, in the shape of the weights."""
        return levels(weights, *self._broadcast(weights))

    def forward(self, weights: Tensor) -> Tensor:
        return quantised(weights, *self._broadcast(weights))

    def _broadcast(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        shape = (-1, *[1] * (weights.ndim - 1))
        return self.depth().reshape(shape), self.exponent().reshape(shape)

    @torch.no_grad()
    def needed(self, weights: Tensor) -> Tensor:
        """Return the fewest bits that hold each channel's levels in two's complement, (out,); 0 for zeros alone."""
        rows = self.levels(weights).flatten(1)
        low, high = rows.aminmax(dim=1)
        reach = torch.maximum(high, -1 - low)
        return torch.where(rows.any(1), torch.log2(reach + 1).ceil() + 1, 0.0)

    @torch.no_grad()
    def code(self, weights: Tensor) -> GridCode:
        """Return the code that decodes to exactly what the network computes with, in no more bits than `needed`.

        Raises ValueError while exponents are not whole (`whole`).
        """
        if not self.whole:
            raise ValueError("exponents are not whole yet: set `whole`, and train on, before making a code")
        depths = self.needed(weights)
        exponents = torch.where(depths > 0, self.exponent(), 0.0)
        return GridCode(*(array.int().cpu().numpy() for array in (self.levels(weights), depths, exponents)))
