"""Compressing a file of weights, of which no network is known."""

import glob
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from bitbook.codes import Compressed
from bitbook.compression._compress import compress

WRAPPED = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before every name
NESTED = ("state_dict", "model_state_dict", "model")  # where checkpoints keep their weights


def compress_state_dict(state: Mapping[str, Tensor], **options: Any) -> Compressed:
    """Compress a state dict: floating tensors with two axes or more are coded, batch norms stay whole.

    Whether a tensor is an embedding its name does not say: `exclude` takes away what shall stay dense. Tensors that are
    one in memory are stored once, under the first of their names.

    Args:
        state: tensors by name, as a module's.
        options: as for `compress`, but calibration and task, which need a network.

    Raises:
        ValueError: as `compress` does.
    """
    root = nn.Module()
    known: dict[object, nn.Parameter] = {}
    for name, value in _plain(state).items():
        same = value.data_ptr(), value.dtype, value.shape, value.stride()  # of tied weights
        *path, entry = name.split(".")
        owner = root
        try:
            for part in path:
                if part not in owner._modules:
                    owner.add_module(part, nn.Module())
                owner = owner._modules[part]
            if value.is_floating_point() and not entry.startswith("running_"):
                owner.register_parameter(entry, known.setdefault(same if value.numel() else name, nn.Parameter(value)))
            else:
                owner.register_buffer(entry, value)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{name!r} cannot be the name of a module's tensor: {error}") from None
    several = [glob.escape(name) for name, value in root.named_parameters() if value.ndim > 1 and value.numel()]
    return compress(root, **{**options, "include": [*several, *options.get("include", ())]})


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a .safetensors file, or of a .pt or .pth file without running any code that it holds.

    Raises ValueError, naming the file, where it holds no state dict.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # unpickling raises whatever it likes
        remedy = "save a network's state_dict(), as .safetensors or with torch.save"
        raise ValueError(f"{path} is no file of weights alone ({type(error).__name__}): {remedy}") from None
    for key in NESTED:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not found:
        raise ValueError(f"{path} holds {type(found).__name__}, no state dict")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"{path}: {name!r} is {type(value).__name__}, no tensor; save the state dict alone")
    return dict(found)


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    while True:
        own = {name: value for name, value in state.items() if name != "n_averaged"}  # of an averaged model
        prefix = next((prefix for prefix in WRAPPED if own and all(name.startswith(prefix) for name in own)), None)
        if prefix is None:
            return dict(state)
        state = {name.removeprefix(prefix): value for name, value in own.items()}
