"""Training the values that weights share, their assignment fixed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class _Lookup(torch.autograd.Function):
    """values[indices]; the gradient of a value is the sum over its members in float64 (and in order, on the CPU)."""

    @staticmethod
    def forward(context: Any, values: Tensor, indices: Tensor) -> Tensor:
        context.save_for_backward(values, indices)
        return values[indices]

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        values, indices = context.saved_tensors
        members = gradient.reshape(indices.numel(), *values.shape[1:]).double()
        total = torch.zeros_like(values, dtype=torch.float64).index_add_(0, indices.reshape(-1), members)
        return total.to(values.dtype), None


def lookup(values: Tensor, indices: Tensor) -> Tensor:
    """Look shared values up, for training: values (k,) or (k, d), indices int64 of shape S give S or S x d.

    The gradient of a shared value is the sum of its members' gradients (Han et al. 2016, equation 3).
    """
    return _Lookup.apply(values, indices)


class SharedValues(nn.Module):
    """A parametrisation: the weights are `values[indices]`, and `values` is what trains.

    One `values` parameter may serve several layers, or all. The parameter that it replaces keeps its place, unused.
    """

    def __init__(self, values: nn.Parameter, indices: Tensor) -> None:
        super().__init__()
        self.values = values
        self.register_buffer("indices", indices.long())

    def forward(self, unused: Tensor) -> Tensor:
        return lookup(self.values, self.indices).view_as(unused)
