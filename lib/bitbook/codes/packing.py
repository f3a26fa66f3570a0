"""Indices at a fixed number of bits each."""

from __future__ import annotations

import numpy as np


def fixed_bits(values: int) -> int:
    """Return the bits that tell apart this many values: ceil(log2 values), 0 for one value."""
    return max(values - 1, 0).bit_length()


def pack(indices: np.ndarray, bits: int) -> bytes:
    """Write whole numbers below 2**bits one after another, lowest bit first, the last byte filled with zeros."""
    flat = indices.astype("<u4").reshape(-1, 1)  # (n, 1)
    planes = np.unpackbits(flat.view(np.uint8), axis=1, bitorder="little", count=bits)  # (n, bits)
    return np.packbits(planes, bitorder="little").tobytes()


def unpack(data: bytes, count: int, bits: int) -> np.ndarray:
    """Return the `count` numbers that `pack` wrote; the caller has checked the length."""
    planes = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little", count=count * bits)
    wide = np.zeros((count, 32), np.uint8)
    wide[:, :bits] = planes.reshape(count, bits)
    return np.packbits(wide, axis=1, bitorder="little").view("<u4").reshape(count)
