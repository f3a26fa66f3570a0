"""One input vector: kernels that look every weight up and multiply it at once."""

from functools import lru_cache

import numba as nb
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from bitbook.simd import I8, Vector, add, fma, load, prefetch, shuffle, splat, store, total

from ._weights import AHEAD, STEPS, weights


@lru_cache
def scalar(bits: int, segments: int, low: int, form: str):
    """Return the kernel of codes into 16 * segments values: y[32 * tile] on, for the tiles start to stop."""
    block = 16 * bits

    @nb.njit(cache=True, nogil=True)
    def multiply(codes, table, x, y, start, stop):
        blocks = len(x) // STEPS
        for tile in range(start, stop):
            a = splat(0.0, 32)
            for j in range(blocks):
                at = (tile * blocks + j) * block
                prefetch(codes, at + AHEAD)
                a = fma(weights(codes, at, 0, table, 0, bits, segments, low, form), splat(x[STEPS * j], 32), a)
                a = fma(weights(codes, at, 1, table, 0, bits, segments, low, form), splat(x[STEPS * j + 1], 32), a)
                a = fma(weights(codes, at, 2, table, 0, bits, segments, low, form), splat(x[STEPS * j + 2], 32), a)
                a = fma(weights(codes, at, 3, table, 0, bits, segments, low, form), splat(x[STEPS * j + 3], 32), a)
            store(y, tile * 32, a)

    return multiply


@lru_cache
def grouped(bits: int, form: str):
    """Return the kernel of codes of groups of inputs, with the products of each group in a table of its own."""
    block = 16 * bits

    @nb.njit(cache=True, nogil=True)
    def multiply(codes, tables, x, y, start, stop):
        blocks = len(tables) // (64 * STEPS)
        for tile in range(start, stop):
            a = splat(0.0, 32)
            for j in range(blocks):
                at, own = (tile * blocks + j) * block, 64 * STEPS * j
                prefetch(codes, at + AHEAD)
                a = add(weights(codes, at, 0, tables, own, bits, 1, 0, form), a)
                a = add(weights(codes, at, 1, tables, own + 64, bits, 1, 0, form), a)
                a = add(weights(codes, at, 2, tables, own + 128, bits, 1, 0, form), a)
                a = add(weights(codes, at, 3, tables, own + 192, bits, 1, 0, form), a)
            store(y, tile * 32, a)

    return multiply


@intrinsic
def _planes(typing, values):
    """The bytes of 16 float32, all lowest ones first."""

    def code(context, builder, signature, arguments):
        whole = builder.bitcast(arguments[0], ir.VectorType(I8, 64))
        return shuffle(builder, whole, whole, [4 * value + byte for byte in range(4) for value in range(16)])

    return Vector(nb.uint8, 64)(values), code


@lru_cache
def group_tables(form: str):
    """Return what writes the products of 16 codewords (d, 16) with every group of d inputs, 64 bytes each."""
    planes = form == "avx2"

    @nb.njit(cache=True, nogil=True)
    def fill(book, x, tables):
        d = len(book) // 16
        floats = tables.view(np.float32)
        for group in range(len(x) // d):
            a = splat(0.0, 16)
            for j in range(d):
                a = fma(load(book, 16 * j, 16), splat(x[group * d + j], 16), a)
            if planes:
                store(tables, 64 * group, _planes(a))
            else:
                store(floats, 16 * group, a)

    return fill


@lru_cache
def rows(lanes: int, bits: int):
    """Return the kernel of codewords of so many numbers, eight outputs at a time; bits: 8 or 16, of a code."""
    step, size, mask = bits // 8, np.uint64(lanes), np.uint64((1 << bits) - 1)
    shifts = tuple(np.uint64(row * bits % 64) for row in range(8))

    @nb.njit(cache=True, nogil=True)
    def multiply(words, book, x, y, start, stop):
        groups = len(x) // lanes
        for eight in range(start, stop):
            a0, a1, a2, a3 = splat(0.0, lanes), splat(0.0, lanes), splat(0.0, lanes), splat(0.0, lanes)
            a4, a5, a6, a7 = splat(0.0, lanes), splat(0.0, lanes), splat(0.0, lanes), splat(0.0, lanes)
            for group in range(groups):
                at = step * (eight * groups + group)  # one load for all codes: loads limit the speed
                low = high = nb.uintp(words[nb.uintp(at)])
                if step == 2:
                    high = nb.uintp(words[nb.uintp(at + 1)])
                own = load(x, group * lanes, lanes)
                a0 = fma(load(book, ((low >> shifts[0]) & mask) * size, lanes), own, a0)
                a1 = fma(load(book, ((low >> shifts[1]) & mask) * size, lanes), own, a1)
                a2 = fma(load(book, ((low >> shifts[2]) & mask) * size, lanes), own, a2)
                a3 = fma(load(book, ((low >> shifts[3]) & mask) * size, lanes), own, a3)
                a4 = fma(load(book, ((high >> shifts[4]) & mask) * size, lanes), own, a4)
                a5 = fma(load(book, ((high >> shifts[5]) & mask) * size, lanes), own, a5)
                a6 = fma(load(book, ((high >> shifts[6]) & mask) * size, lanes), own, a6)
                a7 = fma(load(book, ((high >> shifts[7]) & mask) * size, lanes), own, a7)
            y[8 * eight], y[8 * eight + 1], y[8 * eight + 2] = total(a0), total(a1), total(a2)
            y[8 * eight + 3], y[8 * eight + 4], y[8 * eight + 5] = total(a3), total(a4), total(a5)
            y[8 * eight + 6], y[8 * eight + 7] = total(a6), total(a7)

    return multiply
