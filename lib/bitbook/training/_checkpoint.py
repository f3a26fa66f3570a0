"""Checkpoints that are whole or absent, with the state of every random generator."""

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitbook import files


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint: whatever happens there is the old one or the whole new one."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    files.write_checked(path, buffer.getvalue())


def load(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint onto the CPU; None where there is none, or a damaged one. Nothing in it is executed."""
    data = files.read_checked(path)
    return None if data is None else torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def generator_states() -> dict[str, Any]:
    """The states of Python's, NumPy's and torch's own generators, on the CPU and on every GPU in use."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - the state that users' code may draw from
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def restore_generators(states: dict[str, Any]) -> None:
    """Put all generators back into the states that `generator_states` returned."""
    random.setstate(states["python"])
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
