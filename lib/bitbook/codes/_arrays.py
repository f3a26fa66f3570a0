"""Small checks and conversions that all codes share."""

from __future__ import annotations

import numpy as np

FLOATS = {"f2": np.dtype("<f2"), "f4": np.dtype("<f4")}


def frozen(array: np.ndarray, dtype: np.dtype | None = None) -> np.ndarray:
    """Return a contiguous copy that nobody can write to."""
    copy = np.array(array, dtype=dtype, order="C", copy=True)
    copy.flags.writeable = False
    return copy


def frozen_floats(array: np.ndarray, what: str) -> np.ndarray:
    """Return a frozen copy of float16 or float32 numbers; ValueError for other types, NaN and infinity."""
    array = np.asarray(array)
    if array.dtype not in FLOATS.values():
        raise ValueError(f"{what}: {array.dtype} is not stored in files; cast it to float16 or float32")
    if not np.isfinite(array).all():
        raise ValueError(f"{what}: holds NaN or infinity (out of float16's range?)")
    return frozen(array)


def frozen_indices(array: np.ndarray, what: str) -> np.ndarray:
    """Return a frozen copy of whole numbers in the smallest unsigned type; ValueError outside 0..2^32-1."""
    array = np.asarray(array)
    if array.dtype.kind not in "ui":
        raise ValueError(f"{what}: must be whole numbers, not {array.dtype}")
    if array.size and not 0 <= int(array.min()) <= int(array.max()) < 2**32:
        raise ValueError(f"{what}: must lie in 0..2^32-1, found {array.min()}..{array.max()}")
    return frozen(array, smallest_unsigned(int(array.max()) + 1 if array.size else 1))


def smallest_unsigned(count: int) -> np.dtype:
    """Return the smallest unsigned type that holds 0..count-1."""
    return np.dtype(np.uint8 if count <= 2**8 else np.uint16 if count <= 2**16 else np.uint32)


def spell_shape(shape: tuple[int, ...]) -> str:
    """Return a shape as 16x3x3x3, the empty one as ()."""
    return "x".join(map(str, shape)) or "()"


def read_shape(text: str) -> tuple[int, ...]:
    """Return the shape that `spell_shape` spelt; ValueError for any other text."""
    shape = () if text == "()" else tuple(map(int, text.split("x")))
    if spell_shape(shape) != text or min(shape, default=0) < 0:
        raise ValueError(f"{text!r} is no shape")
    return shape


def rounded(values: np.ndarray, bits: int) -> np.ndarray:
    """Return float16 numbers rounded to `bits` of their 10 mantissa bits; the bytes that this frees code smaller."""
    spare = 10 - bits
    whole = values.astype(np.float16).view(np.uint16).astype(np.uint32)
    return (whole + (1 << spare >> 1) >> spare << spare).astype(np.uint16).view(np.float16)
