"""Bucket accumulation, as DP-Net's accelerator computes: inputs are summed per codebook entry, then multiplied."""

import numba as nb
import numpy as np


def bucket_products(indices: np.ndarray, codebook: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the products (m,) of a matrix of codebook entries with x, with k multiplications an output.

    A reference, for reading and for tests: on a processor with vectors it is slower than any other kernel here.

    Args:
        indices: (m, n) whole numbers below k.
        codebook: (k,) float.
        x: (n,) float.

    Raises:
        ValueError: where an index is outside the codebook or the shapes do not fit.
    """
    if indices.ndim != 2 or x.shape != indices.shape[1:] or indices.min() < 0 or indices.max() >= len(codebook):
        raise ValueError(f"indices {indices.shape} do not fit x {x.shape} and a codebook of {len(codebook)} entries")
    return _products(indices.astype(np.uint32), codebook.astype(np.float32), x.astype(np.float32))


@nb.njit(cache=True, nogil=True)
def _products(indices, codebook, x):
    y = np.zeros(len(indices), np.float32)
    for o in range(len(indices)):
        buckets = np.zeros(len(codebook), np.float32)
        for j in range(len(x)):
            buckets[indices[o, j]] += x[j]
        for entry in range(len(codebook)):
            y[o] += buckets[entry] * codebook[entry]
    return y
