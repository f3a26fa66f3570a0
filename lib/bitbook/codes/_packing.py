"""Indices at a fixed number of bits each, one after another, the lowest bit first."""

from __future__ import annotations

import numpy as np

from ._arrays import smallest_unsigned

CHUNK = 1 << 20  # indices packed at once: bounds the memory beside the result


def fixed_bits(count: int) -> int:
    """Return the bits that tell `count` values apart: ceil(log2 count), 0 for one value."""
    return max(int(count) - 1, 0).bit_length()


def packed_bytes(count: int, bits: int) -> int:
    """Return the bytes that `count` indices of `bits` bits take."""
    return (count * bits + 7) // 8


def pack(indices: np.ndarray, bits: int) -> bytes:
    """Return indices (n,) below 2**bits as bytes; the last byte is filled with zeros."""
    parts = []
    for start in range(0, len(indices), CHUNK):
        wide = indices[start : start + CHUNK, None].astype("<u4").view(np.uint8)  # (n, 4)
        planes = np.unpackbits(wide, axis=1, count=bits, bitorder="little")  # (n, bits)
        parts.append(np.packbits(planes, bitorder="little").tobytes())
    return b"".join(parts)


def unpack(data: bytes | memoryview, count: int, bits: int) -> np.ndarray:
    """Return the `count` indices that `pack` wrote, in the smallest unsigned type; data has packed_bytes bytes."""
    groups = -(-count // 8)  # eight indices fill `bits` bytes
    padded = np.zeros((groups + 1) * bits + 8, np.uint8)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    indices = np.empty((groups, 8), smallest_unsigned(1 << bits))
    for place in range(8):
        byte, shift = divmod(place * bits, 8)
        word = np.dtype("<u2" if shift + bits <= 16 else "<u4" if shift + bits <= 32 else "<u8")
        column = np.ndarray((groups,), word, padded, offset=byte, strides=(bits,))  # one word from each group
        indices[:, place] = column >> shift & ((1 << bits) - 1)
    return indices.ravel()[:count]
