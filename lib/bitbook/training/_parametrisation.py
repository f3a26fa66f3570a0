"""Putting functions of the weights in the weights' place while a network trains, and baking them in afterwards."""

from typing import TypeVar

from torch import Tensor, nn
from torch.nn.utils import parametrize

Kind = TypeVar("Kind", bound=nn.Module)


def attach(network: nn.Module, name: str, parametrisation: Kind) -> Kind:
    """Let a network compute with `parametrisation(weights)` in place of the parameter of that name; return it.

    Several on one parameter act one after the other. Raises AttributeError where the network has no such parameter.
    """
    module, _, attribute = name.rpartition(".")
    parametrize.register_parametrization(network.get_submodule(module), attribute, parametrisation)
    return parametrisation


def attached(network: nn.Module, kind: type[Kind]) -> dict[str, Kind]:
    """The parametrisations of a kind in a network, by parameter name: of several on one parameter the last."""
    return {
        f"{prefix}.{attribute}".lstrip("."): part
        for prefix, owner in network.named_modules()
        if parametrize.is_parametrized(owner)
        for attribute, parts in owner.parametrizations.items()
        for part in parts
        if isinstance(part, kind)
    }


def original(network: nn.Module, name: str) -> nn.Parameter:
    """The parameter of that name that trains, be it parametrised or not."""
    module, _, attribute = name.rpartition(".")
    owner = network.get_submodule(module)
    if parametrize.is_parametrized(owner, attribute):
        return owner.parametrizations[attribute].original
    return getattr(owner, attribute)


def entering(network: nn.Module, name: str, parametrisation: nn.Module) -> Tensor:
    """The input of a parametrisation of that parameter: the one that trains, after all that stands before."""
    module, _, attribute = name.rpartition(".")
    parts = network.get_submodule(module).parametrizations[attribute]
    weights = parts.original
    for part in parts:
        if part is parametrisation:
            break
        weights = part(weights)
    return weights
