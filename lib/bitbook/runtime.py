"""Compressed to a torch module that runs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch

from bitbook import networks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from bitbook.codes import Compressed


def to_module(compressed: Compressed, *, into: nn.Module | None = None) -> nn.Module:
    """Return a module in evaluation mode with the decoded weights.

    The network is rebuilt from its specification, or `into` is filled: needed for a module that bitbook.networks
    does not know. Raises ValueError naming the entries where weights and module do not fit.
    """
    state = {name: torch.from_numpy(values) for name, values in compressed.decode().items()}
    if into is None:
        # Shapes alone first, so that a file cannot ask for more weights than it holds; torchvision's RegNets, which
        # compute their widths in tensors, know no shapes without values.
        with networks.at_most(state.values()):
            with contextlib.suppress(NotImplementedError), torch.device("meta"):
                _check(networks.build(compressed.specification), state)
            into = networks.build(compressed.specification)
    _check(into, state)
    into.load_state_dict(state, strict=False)
    return into.eval()


def _check(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    expected = {name: v.shape for name, v in module.state_dict().items() if not name.endswith("num_batches_tracked")}
    wrong = [
        name
        for name in sorted(state.keys() | expected.keys())
        if name not in state or expected.get(name) != state[name].shape
    ]
    if wrong:
        raise ValueError(f"the module and the file differ in {', '.join(wrong)}; give the matching module as into=")
