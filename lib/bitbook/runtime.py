"""Compressed to a torch module that runs."""

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim.swa_utils import AveragedModel
from torch.overrides import TorchFunctionMode

from bitbook import networks
from bitbook.codes import Compressed, ScalarCode
from bitbook.codes._compressed import COUNTER

SHOWN = 20  # names in a message


def to_module(
    compressed: Compressed, *, into: nn.Module | None = None, kernel: Literal["dense", "lookup", "lookup8"] = "dense"
) -> nn.Module:
    """Return a module in evaluation mode with the weights of a file.

    Args:
        compressed: what a file holds.
        into: the module to fill, needed where bitbook.networks does not know the network. It may be wrapped (compiled,
            parallel, averaged). Parameters that it shares between layers are filled once; weights that it computes
            (weight norm, spectral norm) become ordinary parameters with the decoded values.
        kernel: "dense" decodes all weights. "lookup" keeps those of linear layers and 2-d convolutions as codes and
            computes with these (bitbook.kernels): for inference on the CPU, in little memory, and faster where a layer
            has few inputs at a time. Weights of other layers are decoded. "lookup8" also rounds the inputs of linear
            layers with scalar codes to 8 bits: faster still, and another result.

    Raises:
        ValueError: naming the entries where weights and module do not fit.
    """
    if kernel not in ("dense", "lookup", "lookup8"):
        raise ValueError(f"kernel must be 'dense', 'lookup' or 'lookup8', not {kernel!r}")
    coded = {} if kernel == "dense" else compressed.codes
    rest = {name: code for name, code in compressed.codes.items() if name not in coded}
    state = {name: torch.from_numpy(v) for name, v in dataclasses.replace(compressed, codes=rest).decode().items()}
    state |= {name: torch.empty(code.shape, device="meta") for name, code in coded.items()}
    built = into is None
    if into is None:
        # Shapes alone first, so that a file cannot ask for more weights than it holds; torchvision's RegNets, which
        # compute their widths in tensors, know no shapes without values.
        with networks.at_most(state.values()), contextlib.suppress(NotImplementedError), torch.device("meta"):
            _check(networks.build(compressed.specification), state, compressed)
        with networks.at_most(state.values()), _WithoutWeights() if coded else contextlib.nullcontext():
            into = networks.build(compressed.specification)
    module = networks.unwrapped(into)
    if coded:
        networks.unwrap_inside(module)  # what torch.compile has made of a layer would go on computing with its weights
    if state.keys() - set(networks.plain_names(module).values()):
        networks.bake(module)
    names = _check(module, state, compressed)
    if coded:
        module = _with_lookup(module, names, compressed, eight_bits=kernel == "lookup8")
        into = module if built or isinstance(into, nn.Linear | nn.Conv2d) else into
        names = {name: names[name] for name in module.state_dict() if name in names}
        for name in coded.keys() & set(names.values()):
            state[name] = torch.from_numpy(compressed.codes[name].decode(compressed.codebooks))
    values = {name: state[stored] for name, stored in names.items()}
    for entry in module.state_dict(keep_vars=True).values():
        if isinstance(entry, torch.Tensor) and 0 in entry.stride() and entry.numel() > 1:  # one number for many
            entry.data = entry.data.clone(memory_format=torch.contiguous_format)
    module.load_state_dict(values, strict=False, assign=built and bool(coded))
    return into.eval()


class _WithoutWeights(TorchFunctionMode):
    """Parameters are made without memory, while buffers that are made with their values keep these."""

    def __torch_function__(self, function, kinds, arguments=(), options=None):
        options = {**(options or {}), "device": "meta"} if function is torch.empty else options or {}
        return function(*arguments, **options)


def _with_lookup(module: nn.Module, names: Mapping[str, str], compressed: Compressed, *, eight_bits: bool) -> nn.Module:
    """Put lookup layers in place of all layers that there is one for; return the module, or what takes its place."""
    from bitbook.kernels import EightBitLookup, Lookup
    from bitbook.kernels.layers import EightBitLinear, LookupLayer

    lookups: dict[str, Any] = {}
    layers: dict[str, nn.Module] = {}
    for name, stored in names.items():
        path, _, entry = name.rpartition(".")
        layer = module.get_submodule(path)
        if entry != "weight" or stored not in compressed.codes or type(layer) not in (nn.Linear, nn.Conv2d):
            continue
        if layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer):
            continue  # which would be lost with it
        if stored not in lookups:
            code: Any = compressed.codes[stored]
            small = eight_bits and isinstance(layer, nn.Linear) and isinstance(code, ScalarCode)
            lookups[stored] = (EightBitLookup if small else Lookup)(code, compressed.codebooks)
        kind = EightBitLinear if isinstance(lookups[stored], EightBitLookup) else LookupLayer
        layers[path] = kind(layer, lookups[stored])
    for path, layer in layers.items():
        if not path:
            return layer
        parent, _, own = path.rpartition(".")
        setattr(module.get_submodule(parent), own, layer)
    return module


def _decoded(compressed: Compressed, state: Mapping[str, Tensor], name: str) -> Tensor:
    if not state[name].is_meta:
        return state[name]
    return torch.from_numpy(compressed.codes[name].decode(compressed.codebooks))


def _check(module: nn.Module, state: Mapping[str, Tensor], compressed: Compressed) -> dict[str, str]:
    """Return the file's name for each of the module's own; ValueError where one has what the other lacks."""
    plain = networks.plain_names(module)
    values = {name: v for name, v in module.state_dict(keep_vars=True).items() if isinstance(v, torch.Tensor)}
    entries = {name: value for name, value in values.items() if not _is_counter(module, name)}
    if lazy := [name for name, value in entries.items() if is_lazy(value)]:
        raise ValueError(f"{', '.join(lazy)}: a lazy layer has no shape yet; run the module once before it is filled")
    shared = {id(value): plain[name] for name, value in reversed(entries.items()) if plain[name] in state}
    names, wrong = {}, set()
    for name, value in entries.items():
        names[name] = stored = plain[name] if plain[name] in state else shared.get(id(value), plain[name])
        if stored not in state or state[stored].shape != value.shape:
            wrong.add(stored)
        elif not _holds(value.dtype, state[stored]):
            raise ValueError(f"{name}: the file has {state[stored].dtype} numbers that {value.dtype} cannot hold")
        first = shared.get(id(value), stored)
        if first != stored and not torch.equal(*(_decoded(compressed, state, part) for part in (first, stored))):
            raise ValueError(
                f"{first} and {stored} are one tensor in the module and two in the file; give one in which they are two"
            )
    wrong |= state.keys() - set(names.values())
    if wrong:
        listed = ", ".join(sorted(wrong)[:SHOWN]) + (f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else "")
        raise ValueError(f"the module and the file differ in {listed}; give the matching module as into=")
    return names


def _is_counter(module: nn.Module, name: str) -> bool:
    """Whether an entry counts what was seen in training, which no file holds."""
    path, _, entry = name.rpartition(".")
    if entry == "n_averaged":
        return isinstance(module.get_submodule(path), AveragedModel)
    return entry == COUNTER and hasattr(module.get_submodule(path), "running_var")


def _holds(dtype: torch.dtype, values: Tensor) -> bool:
    """Whether numbers keep what they say in a module's type: floats may lose precision, others nothing."""
    if values.is_meta or values.dtype == dtype:
        return True
    if values.is_floating_point() and dtype.is_floating_point:
        return bool(values.to(dtype).isfinite().all())
    return dtype.is_complex >= values.is_complex() and torch.equal(values.to(dtype).to(values.dtype), values)
