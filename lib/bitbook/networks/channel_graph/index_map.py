"""Channels picked, moved and padded with zeros by a fixed map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn


class IndexMap(nn.Module):
    """Give output channel c the input channel source[c], or zeros where source[c] is -1: (N, C, ...) to (N, C', ...).

    It has no state of its own: the map stands in the specification.
    """

    def __init__(self, source: Sequence[int]) -> None:
        super().__init__()
        self.source = np.asarray(source, dtype=np.int64)  # (C',)
        self.register_buffer("read", torch.from_numpy(self.source[self.source >= 0]), persistent=False)
        self.register_buffer("written", torch.from_numpy(np.flatnonzero(self.source >= 0)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        picked = x.index_select(1, self.read)
        if len(self.read) == len(self.source):
            return picked
        return x.new_zeros(len(x), len(self.source), *x.shape[2:]).index_copy(1, self.written, picked)

    def extra_repr(self) -> str:
        return f"{len(self.source)} channels, {int((self.source < 0).sum())} of them zero"
