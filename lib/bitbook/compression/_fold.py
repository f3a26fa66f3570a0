"""Which batch norms may be stored as a scale and a shift: those whose own four tensors nothing else reads."""

import copy
import dis
import inspect
from collections import Counter
from collections.abc import Iterator, Sequence
from types import CodeType, FunctionType

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bitbook import training
from bitbook.networks import batch_norms

STATISTICS = {"running_mean", "running_var"}
LOOKED_UP = STATISTICS | {"batch_norm", "buffers", "named_buffers", "state_dict", "_buffers"}
SAMPLES = 8  # that the network and the folded one are compared on
ALIKE = 1e-3  # of the largest output; float32 differs by far less


def foldable(network: nn.Module, data: Tensor | Sequence[training.Batch] | None) -> dict[str, _BatchNorm]:
    """Return the batch norms whose file may hold a scale and a shift for weight, bias, mean and variance.

    Left out are those that share a tensor, have hooks, or are read from outside, whose readers would get other numbers.
    With data, that shows in the outputs of a folded copy; without, the code of the network's `forward` is looked
    through for what it reads.
    """
    uses = Counter(
        id(value) for module in network.modules() for value in (*module.parameters(False), *module.buffers(False))
    )

    def alone(norm: _BatchNorm) -> bool:
        values = norm.weight, norm.bias, norm.running_mean, norm.running_var
        return all(uses[id(value)] == 1 for value in values) and not (norm._forward_hooks or norm._forward_pre_hooks)

    norms = {name: norm for name, norm in batch_norms(network).items() if name and alone(norm)}
    if not norms:
        return {}
    if data is None or not len(data):
        return {} if _reads_norms(network, {name.rpartition(".")[2] for name in norms}) else norms
    first = data[:SAMPLES] if isinstance(data, Tensor) else data[0]
    expected = _outputs(network, first)
    if _alike(expected, _outputs(_folded(network, norms), first)):
        return norms
    return {name: norm for name, norm in norms.items() if _alike(expected, _outputs(_folded(network, [name]), first))}


def _outputs(network: nn.Module, batch: training.Batch) -> Tensor:
    with training.evaluating(network), torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        return training.joined(next(training.run(network, [batch], batch_size=SAMPLES)))


def _alike(expected: Tensor, found: Tensor) -> bool:
    most = expected.abs().amax().item() if expected.numel() else 0.0
    return expected.shape == found.shape and torch.allclose(found, expected, rtol=0.0, atol=ALIKE * most)


@torch.no_grad()
def _folded(network: nn.Module, names: Sequence[str] | dict[str, _BatchNorm]) -> nn.Module:
    """A copy in which these batch norms have a mean of 0 and a variance of 1."""
    network = copy.deepcopy(network)
    for name in names:
        norm = network.get_submodule(name)
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        norm.bias -= norm.running_mean * scale
        norm.weight.copy_(scale * (1 + norm.eps) ** 0.5)
        norm.running_mean.zero_()
        norm.running_var.fill_(1.0)
    return network


def _reads_norms(network: nn.Module, norms: set[str]) -> bool:
    """Tell whether the code that modules run names statistics, or the weights of an attribute called as a norm is."""
    for module in network.modules():
        if not type(module).__module__.startswith("torch.") and not STATISTICS & module._buffers.keys():
            for code in _called(type(module), "forward"):
                before = None
                for step in dis.get_instructions(code):
                    of_norm = before in norms and step.argval in ("weight", "bias")
                    if of_norm or (isinstance(step.argval, str) and step.argval in LOOKED_UP):
                        return True
                    before = step.argval if step.opname in ("LOAD_ATTR", "LOAD_METHOD") else None
    return False


def _called(owner: type, method: str) -> Iterator[CodeType]:
    """The code of a method, and of the methods and functions of its file that it names, and so on."""
    waiting, seen = [getattr(owner, method, None)], set[CodeType]()
    while waiting:
        function = inspect.unwrap(waiting.pop()) if callable(waiting[-1]) else waiting.pop()
        parts = [function.__code__] if isinstance(function, FunctionType) else []
        while parts:
            code = parts.pop()
            if code in seen:
                continue
            seen.add(code)
            yield code
            parts += [part for part in code.co_consts if isinstance(part, CodeType)]
            for name in code.co_names:
                found = function.__globals__.get(name, inspect.getattr_static(owner, name, None))
                if isinstance(found, FunctionType) and found.__module__ == function.__module__:
                    waiting.append(found)
