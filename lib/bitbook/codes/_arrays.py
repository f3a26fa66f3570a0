"""Arrays in and out: checks, conversions, and indices at a fixed number of bits."""

from collections.abc import Mapping

import numpy as np

SMALLEST_HALF, LARGEST_HALF = float(np.finfo(np.float16).smallest_normal), float(np.finfo(np.float16).max)
SMALLEST, LARGEST = float(np.finfo(np.float32).smallest_normal), float(np.finfo(np.float32).max)
FLOATS: dict[str, np.dtype] = {"f2": np.dtype("<f2"), "f4": np.dtype("<f4")}
_EXACT = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "c8", "c16")  # stored as they are: never rounded
NUMBERS = FLOATS | {kind: np.dtype(f"<{kind}") for kind in _EXACT}
CHUNK = 1 << 20  # indices taken together: bounds the memory that this needs


def frozen(array: np.ndarray, dtype: np.dtype | type | None = None) -> np.ndarray:
    """Return a contiguous copy that nobody can write to."""
    copy = np.array(array, dtype=dtype, order="C", copy=True)
    copy.flags.writeable = False
    return copy


def frozen_numbers(array: np.ndarray, what: str, *, kinds: Mapping[str, np.dtype] = FLOATS) -> np.ndarray:
    """Return a frozen copy of numbers, by default float16 or float32; ValueError for others, NaN and infinity."""
    array = np.asarray(array)
    if array.dtype not in kinds.values():
        raise ValueError(f"{what}: {array.dtype} is not stored in files; cast it to float16 or float32")
    if not np.isfinite(array).all():
        raise ValueError(f"{what}: holds NaN or infinity (out of float16's range?)")
    return frozen(array)


def small_floats(values: np.ndarray) -> np.ndarray:
    """Return floats as float16, or as float32 where float16 cannot hold them: above 65504, or all below its precision.

    Raises ValueError for NaN, infinity, and what float32 cannot hold either.
    """
    largest = float(np.abs(values).max(initial=0))  # NaN where there is one
    if largest == 0 or SMALLEST_HALF <= largest <= LARGEST_HALF:
        return values.astype(np.float16)
    if not largest <= LARGEST:
        raise ValueError(f"the largest number is {largest}: NaN and infinity cannot be stored")
    if largest < SMALLEST:
        raise ValueError(f"the largest number is {largest}: too small for float32")
    return values.astype(np.float32)


def occurrences(indices: np.ndarray) -> np.ndarray:
    """Return how often each of 0..max occurs, like np.bincount, which would first make eight bytes of each index."""
    flat = indices.ravel()
    counts = np.zeros(int(flat.max(initial=0)) + 1, np.int64)
    for start in range(0, len(flat), CHUNK):
        counts += np.bincount(flat[start : start + CHUNK], minlength=len(counts))
    return counts


def frozen_indices(array: np.ndarray, what: str) -> np.ndarray:
    """Return a frozen copy of whole numbers in the smallest unsigned type; ValueError outside 0..2^32-1."""
    array = np.asarray(array)
    if array.dtype.kind not in "ui":
        raise ValueError(f"{what}: must be whole numbers, not {array.dtype}")
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    if not 0 <= low <= high < 2**32:
        raise ValueError(f"{what}: must lie in 0..2^32-1, found {low}..{high}")
    return frozen(array, smallest_unsigned(high + 1))


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
    if count < 64:  # by far the quickest for few of them
        whole, mask = int.from_bytes(data, "little"), (1 << bits) - 1
        return np.array([whole >> i * bits & mask for i in range(count)], smallest_unsigned(1 << bits))
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
