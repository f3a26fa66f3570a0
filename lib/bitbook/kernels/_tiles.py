"""Codes in the order in which the kernels read them: tiles of 32 outputs, blocks of 4 inputs."""

import numpy as np

from ._weights import AVX2_BYTES, STEPS, parts

OUTPUTS = 32  # of a tile


def pack(codes: np.ndarray, bits: int, order: str) -> np.ndarray:
    """Return codes (outputs, inputs) of so many bits as bytes, tile by tile; what fills up a tile has code 0.

    order of the 32 codes that stand together: "outputs" of one input, "avx2" the same as interleaving needs them, or
    "fours": 4 inputs of 8 outputs. "words": 16 words, whose nibbles are outputs l and 16 + l of 4 inputs.
    """
    tiles, blocks = -(-codes.shape[0] // OUTPUTS), -(-codes.shape[1] // STEPS)
    full = np.zeros((tiles * OUTPUTS, blocks * STEPS), np.uint8)
    full[: codes.shape[0], : codes.shape[1]] = codes
    if order == "fours":
        ordered = full.reshape(tiles, 4, 8, blocks, STEPS).transpose(0, 3, 1, 2, 4).reshape(tiles, blocks, 4, OUTPUTS)
    else:
        ordered = full.reshape(tiles, OUTPUTS, blocks, STEPS).transpose(0, 2, 3, 1)  # (tiles, blocks, 4, 32)
    if order == "avx2":
        ordered = ordered[..., np.argsort(AVX2_BYTES)]
    if order == "words":
        nibbles = ordered.reshape(tiles, blocks, STEPS, 2, 16).transpose(0, 1, 4, 2, 3)
        return (nibbles[..., 0] | nibbles[..., 1] << 4).ravel()
    packed, below = [], 0
    for width in parts(bits):
        part = (ordered >> below) & ((1 << width) - 1)
        below += width
        if width == 1:
            part = part.reshape(tiles, blocks, 1, 8, 16)
        else:
            part = part.reshape(tiles, blocks, STEPS * width // 8, 8 // width, OUTPUTS)
        shifts = width * np.arange(part.shape[3], dtype=np.uint8)[:, None]
        packed.append(np.bitwise_or.reduce(part << shifts, axis=3).reshape(tiles, blocks, -1))
    return np.concatenate(packed, axis=2).ravel()


def table(values: np.ndarray, form: str) -> tuple[np.ndarray, int]:
    """Return float32 values (d, 16 * segments) as bytes for the kernels, and their lowest byte that is used."""
    whole = np.ascontiguousarray(values, np.float32).view(np.uint8).reshape(*values.shape[:1], -1, 16, 4)
    low = next((byte for byte in range(2) if whole[..., byte].any()), 2)
    return (whole.transpose(0, 1, 3, 2) if form == "avx2" else whole).ravel(), low


def filled(array: np.ndarray, multiple: int) -> np.ndarray:
    """Return a float32 vector with zeros up to a multiple."""
    if len(array) % multiple == 0:
        return array
    return np.concatenate([array, np.zeros(-len(array) % multiple, np.float32)])
