"""Many input vectors, or the positions of a convolution: tiles of decoded weights times tiles of gathered inputs."""

from functools import lru_cache

import numba as nb
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from bitbook.simd import F32, I8, fma, load, splat, store

from ._weights import STEPS, weights

POSITIONS = 48  # gathered at a time: a multiple of the three that share a weight in registers
# codes, table, blocks of the layer, tile, first block and the one after the last, and where the weights go.
_BYTES, _FLOATS = types.CPointer(types.uint8), types.CPointer(types.float32)
DECODER = types.void(_BYTES, _BYTES, types.intp, types.intp, types.intp, types.intp, _FLOATS)


@lru_cache
def scalar_decoder(bits: int, segments: int, low: int, form: str, d: int):
    """Return the decoder of codes into 16 * segments values for each of d inputs; weights (inputs, 32)."""
    block = 16 * bits

    @nb.cfunc(DECODER, cache=True)
    def decode(codes, table, blocks, tile, first, stop, out):
        codes, table, out = nb.carray(codes, 1), nb.carray(table, 1), nb.carray(out, 1)
        for j in range(first, stop):
            at, to = (tile * blocks + j) * block, (j - first) * STEPS * d * 32
            for i in range(d):
                own, here = 64 * segments * i, to + 32 * i
                store(out, here, weights(codes, at, 0, table, own, bits, segments, low, form))
                store(out, here + 32 * d, weights(codes, at, 1, table, own, bits, segments, low, form))
                store(out, here + 64 * d, weights(codes, at, 2, table, own, bits, segments, low, form))
                store(out, here + 96 * d, weights(codes, at, 3, table, own, bits, segments, low, form))

    return decode


@lru_cache
def rows_decoder(lanes: int, d: int, wide: bool):
    """Return the decoder of codewords of d numbers, stored in so many lanes; four groups are a block."""
    kind = np.uint16 if wide else np.uint8

    @nb.cfunc(DECODER, cache=True)
    def decode(codes, table, blocks, tile, first, stop, out):
        groups, out = blocks * STEPS, nb.carray(out, 1)
        indices, book = nb.carray(codes, 2).view(kind), nb.carray(table, 4).view(np.float32)
        for eight in range(4):
            for group in range(first * STEPS, stop * STEPS):
                at, to = ((tile * 4 + eight) * groups + group) * 8, (group - first * STEPS) * d * 32 + eight * 8
                for row in range(8):
                    entry = np.intp(indices[nb.uintp(at + row)]) * lanes
                    for j in range(d):
                        out[nb.uintp(to + 32 * j + row)] = book[nb.uintp(entry + j)]

    return decode


@intrinsic
def _decode(typing, decoder, codes, table, blocks, tile, first, stop, out):
    """Call of a decoder by its address."""

    def code(context, builder, signature, arguments):
        kinds = [I8.as_pointer(), I8.as_pointer(), *[ir.IntType(64)] * 4, F32.as_pointer()]
        function = builder.inttoptr(arguments[0], ir.FunctionType(ir.VoidType(), kinds).as_pointer())
        data = [
            context.make_array(a)(context, builder, arguments[i]).data for i, a in ((1, codes), (2, table), (7, out))
        ]
        builder.call(function, [data[0], data[1], *arguments[3:7], data[2]])
        return context.get_dummy_value()

    return types.void(types.intp, codes, table, *[types.intp] * 4, out), code


@nb.njit(cache=True, nogil=True)
def multiply(decoder, codes, table, d, x, offsets, bases, y, starts, stride, outputs, ranges):
    """y[starts[p] + stride * outputs[o]] = sum of w[o, j] * x[bases[p] + offsets[j]] over the inputs j.

    d: inputs of a group. outputs: (32 * tiles,), -1 for none. ranges: the parts of the outputs' tiles and of tiles of
    positions that are wanted.
    """
    first_tile, last_tile, first_part, last_part = ranges
    n, count = len(offsets), len(bases)
    blocks = (n + STEPS * d - 1) // (STEPS * d)
    together = max(1, 64 // (STEPS * d))  # blocks
    inputs = together * STEPS * d
    w = np.empty(inputs * 32, np.float32)
    gathered = np.empty(inputs * POSITIONS, np.float32)
    wide = 32 * (last_tile - first_tile)
    sums = np.empty(POSITIONS * wide, np.float32)
    for part in range(first_part, last_part):
        start = part * POSITIONS
        valid = min(POSITIONS, count - start)
        threes = (valid + 2) // 3 * 3
        sums[:] = 0
        for first in range(0, blocks, together):
            stop = min(first + together, blocks)
            begin, size = first * STEPS * d, (stop - first) * STEPS * d
            for j in range(size):
                to = nb.uintp(j * threes)
                if begin + j < n:
                    offset = offsets[begin + j]
                    for p in range(valid):
                        gathered[to + nb.uintp(p)] = x[nb.uintp(bases[start + p] + offset)]
                    for p in range(valid, threes):
                        gathered[to + nb.uintp(p)] = 0
                else:
                    gathered[to : to + nb.uintp(threes)] = 0
            for tile in range(first_tile, last_tile):
                _decode(decoder, codes, table, blocks, tile, first, stop, w)
                column = 32 * (tile - first_tile)
                for p in range(0, threes, 3):
                    at = p * wide + column
                    a0, a1, a2 = load(sums, at, 32), load(sums, at + wide, 32), load(sums, at + 2 * wide, 32)
                    for j in range(size):
                        own, to = load(w, 32 * j, 32), nb.uintp(j * threes + p)
                        a0 = fma(own, splat(gathered[to], 32), a0)
                        a1 = fma(own, splat(gathered[to + nb.uintp(1)], 32), a1)
                        a2 = fma(own, splat(gathered[to + nb.uintp(2)], 32), a2)
                    store(sums, at, a0)
                    store(sums, at + wide, a1)
                    store(sums, at + 2 * wide, a2)
        for o in range(wide):
            output = outputs[32 * first_tile + o]
            if output >= 0:
                for p in range(valid):
                    y[starts[start + p] + stride * output] = sums[p * wide + o]


@nb.njit(cache=True, nogil=True)
def decode(decoder, codes, table, blocks, first, weights):
    """Write the weights of the tiles from `first` on, (tiles, inputs, 32)."""
    for tile in range(len(weights)):
        _decode(decoder, codes, table, blocks, first + tile, 0, blocks, weights[tile].reshape(-1))
