"""Putting functions of the weights in the weights' place while a network trains, and baking them in afterwards."""

from __future__ import annotations

from torch import nn
from torch.nn.utils import parametrize


def attach(network: nn.Module, name: str, parametrisation: nn.Module) -> nn.Module:
    """Let a network compute with `parametrisation(weights)` in place of the parameter of that name; return it.

    Several on one parameter act one after the other. Raises AttributeError where the network has no such parameter.
    """
    module, _, attribute = name.rpartition(".")
    parametrize.register_parametrization(network.get_submodule(module), attribute, parametrisation)
    return parametrisation


def original(network: nn.Module, name: str) -> nn.Parameter:
    """The parameter of that name that trains, be it parametrised or not."""
    module, _, attribute = name.rpartition(".")
    owner = network.get_submodule(module)
    if parametrize.is_parametrized(owner, attribute):
        return owner.parametrizations[attribute].original
    return getattr(owner, attribute)


def bake(network: nn.Module) -> None:
    """Make every parametrised weight an ordinary parameter again, with the value that the network computed with."""
    for module in network.modules():
        if parametrize.is_parametrized(module):
            for attribute in list(module.parametrizations):
                parametrize.remove_parametrizations(module, attribute, leave_parametrized=True)
