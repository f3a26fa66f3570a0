"""8-bit activations: whole numbers times whole numbers, summed exactly. Faster than `_single`, and another result."""

from functools import lru_cache

import numba as nb
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from bitbook.simd import I32, Vector, call, compiled_for, constant, prefetch, shuffle, splat, store

from ._weights import AHEAD, B32, INTEGERS, small

_EIGHT = Vector(types.int32, 8)


@nb.njit(cache=True, nogil=True)
def quantise(values, rounded):
    """Write values (n,) as whole numbers from -127 to 127 and return their scale; 1 where all are zero."""
    largest = np.float32(0)
    for value in values:
        largest = max(largest, abs(value))
    scale = largest / np.float32(127) if largest > 0 else np.float32(1)
    for i in range(len(values)):
        rounded[i] = np.rint(values[i] / scale)
    return scale


@intrinsic(prefer_literal=True)
def _dot(typing, sums, w, x, form):
    """Sums (8) plus the dot products of 4 weights and 4 activations each; x: 8 times the same 4 as one int32."""
    form_ = form.literal_value

    def code(context, builder, signature, arguments):
        sums, w, x = arguments[:3]
        x = builder.bitcast(x, B32)
        if form_ != "portable" and "avx2" in compiled_for():  # |w| * (x with the sign of w): no sum of two overflows
            magnitude = builder.select(builder.icmp_signed("<", w, constant(B32, 0)), builder.neg(w), w)
            sixteen = ir.VectorType(ir.IntType(16), 16)
            signed = call(builder, "llvm.x86.avx2.psign.b", B32, x, w)
            pairs = call(builder, "llvm.x86.avx2.pmadd.ub.sw", sixteen, magnitude, signed)
            fours = call(builder, "llvm.x86.avx2.pmadd.wd", sums.type, pairs, constant(sixteen, 1))
            return builder.add(sums, fours)
        wide = ir.VectorType(I32, 32)
        products = builder.mul(builder.sext(w, wide), builder.sext(x, wide))
        for first in range(4):
            sums = builder.add(sums, shuffle(builder, products, products, range(first, 32, 4)))
        return sums

    return _EIGHT(_EIGHT, INTEGERS, _EIGHT, form), code


@lru_cache
def kernel(bits: int, segments: int, form: str):
    """Return the kernel of codes into 16 * segments int8 values: scaled sums y[64 * pair] on, for pairs of tiles."""
    block = 16 * bits

    @nb.njit(cache=True, nogil=True)
    def multiply(codes, table, x, scale, y, start, stop):
        blocks, sums = len(x), np.empty(64, np.int32)  # 4 activations in an int32
        for pair in range(start, stop):  # two streams of codes hide more of the memory's latency
            tile, other = 2 * pair, min(2 * pair + 1, len(y) // 32 - 1)
            a0, a1, a2, a3 = splat(0, 8), splat(0, 8), splat(0, 8), splat(0, 8)
            b0, b1, b2, b3 = splat(0, 8), splat(0, 8), splat(0, 8), splat(0, 8)
            for j in range(blocks):
                at, to, four = (tile * blocks + j) * block, (other * blocks + j) * block, splat(x[j], 8)
                prefetch(codes, at + AHEAD)
                prefetch(codes, to + AHEAD)
                a0 = _dot(a0, small(codes, at, 0, table, bits, segments, form), four, form)
                a1 = _dot(a1, small(codes, at, 1, table, bits, segments, form), four, form)
                a2 = _dot(a2, small(codes, at, 2, table, bits, segments, form), four, form)
                a3 = _dot(a3, small(codes, at, 3, table, bits, segments, form), four, form)
                b0 = _dot(b0, small(codes, to, 0, table, bits, segments, form), four, form)
                b1 = _dot(b1, small(codes, to, 1, table, bits, segments, form), four, form)
                b2 = _dot(b2, small(codes, to, 2, table, bits, segments, form), four, form)
                b3 = _dot(b3, small(codes, to, 3, table, bits, segments, form), four, form)
            for half, (s0, s1, s2, s3) in ((0, (a0, a1, a2, a3)), (32, (b0, b1, b2, b3))):
                store(sums, half, s0)
                store(sums, half + 8, s1)
                store(sums, half + 16, s2)
                store(sums, half + 24, s3)
            for i in range(32):
                y[tile * 32 + i], y[other * 32 + i] = scale * np.float32(sums[i]), scale * np.float32(sums[32 + i])

    return multiply
