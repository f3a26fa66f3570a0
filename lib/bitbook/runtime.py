"""Compressed to a torch module that runs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch
from torch.nn.parameter import is_lazy

from bitbook import networks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from bitbook.codes import Compressed

_NOT_STORED = ("num_batches_tracked", "n_averaged", "_extra_state")


def to_module(compressed: Compressed, *, into: nn.Module | None = None) -> nn.Module:
    """Return a module in evaluation mode with the decoded weights.

    Args:
        compressed: what a file holds.
        into: the module to fill, needed where bitbook.networks does not know the network. It may be wrapped (compiled,
            parallel, averaged). Parameters that it shares between layers are filled once; weights that it computes
            (weight norm, spectral norm) become ordinary parameters with the decoded values.

    Raises:
        ValueError: naming the entries where weights and module do not fit.
    """
    state = {name: torch.from_numpy(values) for name, values in compressed.decode().items()}
    if into is None:
        # Shapes alone first, so that a file cannot ask for more weights than it holds; torchvision's RegNets, which
        # compute their widths in tensors, know no shapes without values.
        with networks.at_most(state.values()), contextlib.suppress(NotImplementedError), torch.device("meta"):
            _check(networks.build(compressed.specification), state)
        with networks.at_most(state.values()):
            into = networks.build(compressed.specification)
    module = networks.unwrapped(into)
    if state.keys() - set(networks.plain_names(module).values()):
        networks.bake(module)
    names = _check(module, state)
    module.load_state_dict({name: state[stored] for name, stored in names.items()}, strict=False)
    return into.eval()


def _check(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the file's name for each of the module's own; ValueError where one has what the other lacks."""
    plain = networks.plain_names(module)
    values = {name: v for name, v in module.state_dict(keep_vars=True).items() if isinstance(v, torch.Tensor)}
    entries = {name: value for name, value in values.items() if not name.endswith(_NOT_STORED)}
    if lazy := [name for name, value in entries.items() if is_lazy(value)]:
        raise ValueError(f"{', '.join(lazy)}: a lazy layer has no shape yet; run the module once before it is filled")
    shared = {id(value): plain[name] for name, value in entries.items() if plain[name] in state}
    names, wrong = {}, set()
    for name, value in entries.items():
        names[name] = stored = plain[name] if plain[name] in state else shared.get(id(value), plain[name])
        if stored not in state or state[stored].shape != value.shape:
            wrong.add(stored)
    wrong |= state.keys() - set(names.values())
    if wrong:
        listed = ", ".join(sorted(wrong))
        raise ValueError(f"the module and the file differ in {listed}; give the matching module as into=")
    return names
