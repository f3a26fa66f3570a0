"""The identity of weights, whatever file they came in."""

import hashlib
from collections.abc import Mapping

import numpy as np
from torch import Tensor


def checksum(state: Mapping[str, np.ndarray | Tensor]) -> str:
    """SHA-256 (hexadecimal) of a state dict's names, shapes and float32 bytes, in the order of the sorted names.

    `num_batches_tracked` is left out: a trained network does not compute with it, and some containers drop it.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        if not name.endswith("num_batches_tracked"):
            value = state[name]
            array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
            digest.update(f"{name}{list(array.shape)}".encode())
            digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
    return digest.hexdigest()
