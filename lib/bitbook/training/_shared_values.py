"""Training codebooks, the assignment of weights to their entries fixed."""

import zlib
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from bitbook.codes import Code, Coded, GridCode, ScalarCode, SparseCode, VectorCode
from bitbook.networks import bake

from ._parametrisation import attach, attached, original
from ._scheme import Scheme


class _Lookup(torch.autograd.Function):
    """values[indices]; the gradient of a value is the sum over its members in float64 (and in order, on the CPU)."""

    @staticmethod
    def forward(context: Any, values: Tensor, indices: Tensor, share: Tensor | None) -> Tensor:
        context.save_for_backward(values, indices, share)
        return values[indices]

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        values, indices, share = context.saved_tensors
        members = gradient.reshape(indices.numel(), *values.shape[1:]).double()
        total = torch.zeros_like(values, dtype=torch.float64).index_add_(0, indices.reshape(-1), members)
        return total.to(values.dtype) * (1 if share is None else share), None, None


def lookup(values: Tensor, indices: Tensor, share: Tensor | None = None) -> Tensor:
    """Look codebook entries up, for training: values (k,) or (k, d), indices int64 of shape S give S or S x d.

    The gradient of an entry is the sum of its members' gradients (Han et al. 2016, equation 3), times a share if
    there is one, (k,) or (k, 1).
    """
    return _Lookup.apply(values, indices, share)


class SharedValues(nn.Module):
    """A parametrisation: the weights are `values[indices]`, and `values` is what trains.

    One `values` parameter may serve several layers, or all. The parameter that it replaces keeps its place, unused.
    members: (k,) or (k, 1) weights in all layers that share each value; then a value's gradient is the mean of its
    members'. scales: factors that broadcast to the indices. positions: bool in the shape of the weights, where those
    stand that are not zero.
    """

    def __init__(
        self,
        values: nn.Parameter,
        indices: Tensor,
        *,
        members: Tensor | None = None,
        scales: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.values = values
        self.register_buffer("indices", indices.long())
        self.register_buffer("share", None if members is None else (1 / members.clamp(min=1).double()).to(values))
        self.register_buffer("scales", scales)
        self.register_buffer("positions", positions)

    def forward(self, unused: Tensor) -> Tensor:
        weights = lookup(self.values, self.indices, self.share)
        if self.scales is not None:
            weights = weights * self.scales
        if self.positions is None:
            return weights.view_as(unused)
        return torch.zeros_like(unused).masked_scatter(self.positions, weights.reshape(-1))


@dataclass(frozen=True)
class CodebookTuning(Scheme):
    """Trains codebooks with everything that has no code; the assignments stay (Han et al. 2016; arXiv 2010.15703).

    coded: codes of any family with codebooks, (k,) or (k, d). A codebook entry's gradient is the mean of its members'
    (Han et al. sum them): a step then moves the weights as far as one that trains them freely, projected on what the
    codes allow, whatever their number. Weight decay is left out for the codebooks. Raises ValueError for a grid code.
    """

    coded: Coded = field(repr=False)
    checksum: str = field(init=False)

    def __post_init__(self) -> None:
        for name, code in self.coded.codes.items():
            if isinstance(getattr(code, "inner", code), GridCode):
                raise ValueError(f"{name}: a grid code has no codebook to train: leave it out of what is tuned")
        mark = 0
        for name, weights in sorted(self.coded.decode().items()):
            mark = zlib.crc32(weights.data, zlib.crc32(name.encode(), mark))
        object.__setattr__(self, "checksum", f"{mark:08x}")

    def prepare(self, network: nn.Module) -> None:
        """Put the codebooks in the weights' place."""
        like = next(network.parameters())
        values = {name: nn.Parameter(torch.tensor(book).to(like)) for name, book in self.coded.codebooks.items()}
        counts = self.coded.counts()
        for name, code in self.coded.codes.items():
            positions = code.positions if isinstance(code, SparseCode) else None
            inner = _indexed(code)
            members = torch.from_numpy(counts[inner.codebook]).reshape(-1, *[1] * (values[inner.codebook].ndim - 1))
            module = SharedValues(
                values[inner.codebook],
                torch.from_numpy(inner.indices.astype(np.int64)),
                members=members.to(like.device),
                scales=_scales(inner, like),
                positions=None if positions is None else torch.from_numpy(positions.copy()),
            )
            attach(network, name, module.to(like.device))
            original(network, name).requires_grad_(False)  # several processes wait for gradients of all others

    def parameters(self, network: nn.Module) -> list[dict[str, Any]]:
        """Return two groups: the codebooks, and the parameters without codes."""
        values = {id(module.values): module.values for module in attached(network, SharedValues).values()}
        rest = [value for value in network.parameters() if value.requires_grad and id(value) not in values]
        return [{"params": list(values.values()), "weight_decay": 0.0}, {"params": rest}]

    def finish(self, network: nn.Module) -> Coded:
        """Leave the network with the trained codebooks, and return the codes with these as float16."""
        books = dict(self.coded.codebooks)
        for name, module in attached(network, SharedValues).items():
            code = self.coded.codes[name]
            books[_indexed(code).codebook] = module.values.detach().cpu().numpy().astype(np.float16)
        bake(network)
        for name in self.coded.codes:
            original(network, name).requires_grad_(True)
        return Coded(self.coded.codes, books)


def _indexed(code: Code) -> ScalarCode | VectorCode:
    return cast(ScalarCode | VectorCode, getattr(code, "inner", code))


def _scales(code: Code, like: Tensor) -> Tensor | None:
    scales = getattr(code, "scales", None)
    if scales is None:
        return None
    return torch.from_numpy(scales.astype(np.float32)).to(like).reshape(-1, *[1] * (len(code.shape) - 1))
