"""Compressed to a torch module that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from bitbook import networks

if TYPE_CHECKING:
    from torch import nn

    from bitbook.codes import Compressed


def to_module(compressed: Compressed, *, into: nn.Module | None = None) -> nn.Module:
    """Return a module in evaluation mode with the decoded weights.

    The network is rebuilt from its specification, or `into` is filled: needed for a module that bitbook.networks
    does not know. Raises ValueError naming the entries where weights and module do not fit.
    """
    module = networks.build(compressed.specification) if into is None else into
    state = {name: torch.from_numpy(values) for name, values in compressed.decode().items()}
    expected = {name: v.shape for name, v in module.state_dict().items() if not name.endswith("num_batches_tracked")}
    wrong = [
        name
        for name in sorted(state.keys() | expected.keys())
        if name not in state or expected.get(name) != state[name].shape
    ]
    if wrong:
        raise ValueError(f"the module and the file differ in {', '.join(wrong)}; give the matching module as into=")
    module.load_state_dict(state, strict=False)
    return module.eval()
