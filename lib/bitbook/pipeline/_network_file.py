"""Float networks as files: weights by name, with the specification, the task and the fingerprint of its data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitbook.files import write_atomically

if TYPE_CHECKING:
    from torch import nn


def write_network(path: Path, module: nn.Module, about: Mapping[str, str]) -> None:
    """Write a network's weights and what is to be known about it; equal content gives equal bytes."""
    from safetensors.torch import save

    state = {name: value.contiguous() for name, value in module.state_dict().items()}
    text = json.dumps({**about, "specification": module.specification}, sort_keys=True)
    write_atomically(path, save(state, {"bitbook": text}))


def about_network(path: Path) -> dict[str, Any]:
    """Return what `write_network` wrote about a network; ValueError where the file is damaged, or none of ours."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            return json.loads(file.metadata()["bitbook"])
    except (SafetensorError, TypeError, LookupError, ValueError) as error:
        raise ValueError(f"{path} is damaged, or no network of `run.save_network` ({error}): make it again") from None


def read_network(path: Path) -> nn.Module:
    """Return a network that `write_network` wrote, in evaluation mode, on the GPU if there is one."""
    from safetensors.torch import load_file

    from bitbook import networks, training

    module = networks.build(about_network(path)["specification"])
    module.load_state_dict(load_file(path))
    return module.eval().to(training.device())
