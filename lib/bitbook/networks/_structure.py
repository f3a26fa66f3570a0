"""What a network is beneath its wrappers: plain names, plain weights, and the batch norms that can be folded."""

import copy
from collections.abc import Callable, Iterator

from torch import nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.prune import remove as remove_pruning
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.optim.swa_utils import AveragedModel

WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)
_REMOVE = {WeightNorm: remove_weight_norm, SpectralNorm: remove_spectral_norm, BasePruningMethod: remove_pruning}


def unwrapped(network: nn.Module) -> nn.Module:
    """Return the network that torch.compile, DataParallel, DistributedDataParallel or AveragedModel was made of."""
    while True:
        if isinstance(network, WRAPPERS):
            network = network.module
        elif any(kind.__module__.startswith("torch._dynamo") for kind in type(network).__mro__):  # torch.compile
            network = network._orig_mod
        else:
            return network


def plain_names(network: nn.Module) -> dict[str, str]:
    """Return the name of every state-dict entry without the parts that compiled or parallel modules inside add."""
    wrapped = {
        name for name, module in network.named_modules(remove_duplicate=False) if unwrapped(module) is not module
    }

    def plain(name: str) -> str:
        parts = name.split(".")
        before = [".".join(parts[:i]) for i in range(len(parts))]
        return ".".join(part for part, module in zip(parts, before, strict=True) if module not in wrapped)

    return {name: plain(name) for name in network.state_dict()}


def is_plain(network: nn.Module) -> bool:
    """Whether a network has no wrappers in it and all its weights are ordinary parameters."""
    return not any(
        unwrapped(module) is not module or parametrize.is_parametrized(module) or any(_computed(module))
        for module in network.modules()
    )


def _computed(module: nn.Module) -> Iterator[tuple[str, Callable]]:
    """The weights that hooks of torch's compute before a module runs, and what makes ordinary parameters of them."""
    for hook in module._forward_pre_hooks.values():
        for kind, remove in _REMOVE.items():
            if isinstance(hook, kind):
                yield getattr(hook, "_tensor_name", None) or hook.name, remove


def bake(network: nn.Module) -> None:
    """Make every parametrised weight an ordinary parameter again, with the value that the network computed with.

    Weight norm, spectral norm and pruning are such, of the old kind (hooks) and of the new (parametrisations).
    """
    for module in network.modules():
        if parametrize.is_parametrized(module):
            values = {name: getattr(module, name).detach().clone() for name in module.parametrizations}
            lists = module.parametrizations.items()
            trains = {name: any(p.requires_grad for p in part.parameters(recurse=False)) for name, part in lists}
            del module._modules["parametrizations"]
            # torch's own removal takes the attribute off the class, which copies of a module share.
            module.__class__ = type(module).__bases__[0]
            for name, value in values.items():
                module.register_parameter(name, nn.Parameter(value, requires_grad=trains[name]))
        for name, remove in list(_computed(module)):
            remove(module, name)


def plain_copy(network: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode, unwrapped and with its parametrised weights baked; the network stays.

    Raises ValueError for a network that cannot be copied.
    """
    network = unwrapped(network)
    derived = {}  # weights that hooks compute cannot be copied while they hang in a gradient's graph
    for module in network.modules():
        for name, _ in _computed(module):
            value = getattr(module, name)
            derived[id(value)] = value.detach().clone()
    try:
        duplicate = copy.deepcopy(network, derived).eval()
    except Exception as error:  # whatever a class of the user's own may raise
        raise ValueError(f"the network cannot be copied by copy.deepcopy: {error}") from error
    unwrap_inside(duplicate)
    bake(duplicate)
    return duplicate


def unwrap_inside(network: nn.Module) -> None:
    """Take the wrappers off all modules inside a network."""
    for module in network.modules():
        for name, child in list(module.named_children()):
            if (inner := unwrapped(child)) is not child:
                setattr(module, name, inner)


def batch_norms(network: nn.Module) -> dict[str, _BatchNorm]:
    """Return the modules by name that compute what torch's batch norms do, with running statistics."""
    own = (_BatchNorm.forward, SyncBatchNorm.forward)
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm) and type(module).forward in own and module.running_var is not None
    }
