"""Sparse weights: positions as one bit each, the weights left as codes, 16 input vectors at a time."""

from __future__ import annotations

import numba as nb
import numpy as np

from bitbook.simd import fma, load, splat, store

LANES = 16  # input vectors, side by side in one vector
CHUNK = 8  # words of positions, 512 inputs: their gathered inputs fit in the first-level cache


def pack_positions(positions: np.ndarray) -> np.ndarray:
    """Return positions (outputs, inputs) as words, (outputs, ceil(inputs / 64)) uint64, the lowest bit first."""
    packed = np.packbits(positions, axis=1, bitorder="little")
    words = np.zeros((len(positions), -(-positions.shape[1] // 64) * 8), np.uint8)
    words[:, : packed.shape[1]] = packed
    return words.view(np.uint64)


def pack_bits(codes: np.ndarray, bits: int) -> np.ndarray:
    """Return codes of at most 16 bits one after the other, lowest bit first, and three bytes that reading may touch."""
    planes = (codes.astype(np.uint32)[:, None] >> np.arange(bits, dtype=np.uint32)) & 1
    return np.concatenate([np.packbits(planes.astype(np.uint8), bitorder="little"), np.zeros(3, np.uint8)])


@nb.njit(cache=True, nogil=True)
def multiply(words, codes, bits, table, firsts, x, offsets, bases, y, starts, stride, ranges):
    """y[starts[p] + stride * o] = sum of w[o, j] * x[bases[p] + offsets[j]] over the positions j of output o.

    firsts: number of the first code of each output. ranges: the outputs and the parts of LANES input vectors wanted.
    """
    first_output, last_output, first_part, last_part = ranges
    n, count, wide, mask = len(offsets), len(bases), words.shape[1], np.uint32((1 << bits) - 1)
    gathered = np.empty(CHUNK * 64 * LANES, np.float32)
    sums, at = np.empty((last_output - first_output) * LANES, np.float32), np.empty(last_output, np.int64)
    for part in range(first_part, last_part):
        start = part * LANES
        valid = min(LANES, count - start)
        sums[:] = 0
        gathered[:] = 0
        at[:] = firsts[:last_output]
        for chunk in range(0, wide, CHUNK):
            stop = min(chunk + CHUNK, wide)
            for j in range(chunk * 64, min(stop * 64, n)):
                offset, to = offsets[j], (j - chunk * 64) * LANES
                for p in range(valid):
                    gathered[nb.uintp(to + p)] = x[nb.uintp(bases[start + p] + offset)]
            for o in range(first_output, last_output):
                a, bit = load(sums, (o - first_output) * LANES, LANES), at[o] * bits
                for w in range(chunk, stop):
                    word, base = words[o, w], (w - chunk) * 64 * LANES
                    while word:
                        j = _trailing_zeros(word)
                        byte = nb.uintp(bit >> 3)
                        read = (
                            np.uint32(codes[byte])
                            | np.uint32(codes[byte + nb.uintp(1)]) << np.uint32(8)
                            | np.uint32(codes[byte + nb.uintp(2)]) << np.uint32(16)
                        )
                        weight = table[nb.uintp((read >> np.uint32(bit & 7)) & mask)]
                        a = fma(load(gathered, base + j * LANES, LANES), splat(weight, LANES), a)
                        word &= word - np.uint64(1)
                        bit += bits
                store(sums, (o - first_output) * LANES, a)
                at[o] = bit // bits
        for o in range(first_output, last_output):
            for p in range(valid):
                y[starts[start + p] + stride * o] = sums[(o - first_output) * LANES + p]


@nb.extending.intrinsic
def _trailing_zeros(typing, word):
    """Number of zeros below the lowest one."""

    def code(context, builder, signature, arguments):
        return builder.cttz(arguments[0], nb.core.cgutils.true_bit)

    return nb.intp(word), code
