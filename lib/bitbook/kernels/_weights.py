"""32 weights from their codes: the vectors that every kernel here is made of.

The codes of 32 outputs for 4 inputs stand together in a block of 16 * bits bytes: parts of 4, 2 and 1 bits of every
code, as many as its bits need, the largest first. Lookup in a table of values takes three forms:

avx2: the four bytes of the float32 values are tables of their own (16 values: one `pshufb` looks up 32 codes); bytes
and words are interleaved to values. Bytes below `low` are zero in all values and are left out (float16 values: low 1).
avx512: `vpermps` looks 16 codes up among 16 values, `vpermi2ps` among 32; more tables are blended by the code's bits.
portable: value after value.
whole: no lookup; the values are the codes less half of their number, 2**(bits - 1).
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from bitbook.simd import F32, I8, I32, Vector, call, compiled_for, constant, joined, llvm, load_at, shuffle

B32, W16, I16, F16 = (ir.VectorType(e, n) for e, n in ((I8, 32), (ir.IntType(16), 16), (I32, 16), (F32, 16)))
STEPS = 4  # inputs of a block
AHEAD = 2048  # bytes of codes that are asked for before they are needed
WEIGHTS, INTEGERS = Vector(types.float32, 32), Vector(types.int8, 32)
# The byte of output o within 32 codes, where interleaving within 128-bit lanes leaves the outputs in order.
AVX2_BYTES = [16 * (o % 8 // 4) + 4 * (o // 8) + o % 4 for o in range(32)]


def parts(bits: int) -> list[int]:
    """Widths of the parts that hold codes of so many bits, the largest first."""
    return [4] * (bits // 4) + [width for width in (2, 1) if bits & width]


def _codes(builder, bytes_at, step: int, bits: int):
    """32 codes of an input, in bytes; bytes_at(offset, lanes) loads from the block."""
    offset, below, codes = 0, 0, None
    for width in parts(bits):
        if width == 1:  # 16 bytes, whose bits 2 * step and 2 * step + 1 are the codes of the two halves
            half = bytes_at(offset, 16)
            wide = ir.VectorType(ir.IntType(64), 4)
            vector = builder.bitcast(shuffle(builder, half, half, [*range(16)] * 2), wide)
            shifts = [2 * step, 2 * step, 2 * step + 1, 2 * step + 1]
        else:
            wide, shifts = W16, [width * (step % (8 // width))] * 16
            vector = builder.bitcast(bytes_at(offset + step * width // 8 * 32, 32), wide)
        part = builder.bitcast(builder.lshr(vector, constant(wide, shifts)), B32)
        part = builder.and_(part, constant(B32, (1 << width) - 1))
        if below:  # no bit crosses a byte
            part = builder.bitcast(builder.shl(builder.bitcast(part, W16), constant(W16, below)), B32)
        codes = part if codes is None else builder.or_(codes, part)
        offset, below = offset + 16 * width, below + width
    return codes


def _among(builder, codes, segments: int, lookup):
    """32 bytes looked up by lookup(segment, codes), which gives zero where a code's bit 7 is set."""
    if segments == 1:
        return lookup(0, codes)
    found = None
    for segment in range(segments):  # codes of the segment become 112..127, all others 128 or more
        own = builder.sub(codes, constant(B32, 16 * segment))
        own = lookup(segment, call(builder, "llvm.uadd.sat.v32i8", B32, own, constant(B32, 0x70)))
        found = own if found is None else builder.or_(found, own)
    return found


def _pshufb(builder, bytes_at):
    """Lookup of codes among the 16 bytes at an offset of the table."""

    def lookup(offset, codes):
        table = bytes_at(offset, 16)
        return call(builder, "llvm.x86.avx2.pshuf.b", B32, shuffle(builder, table, table, [*range(16)] * 2), codes)

    return lookup


def _from_planes(builder, bytes_at, codes, segments: int, low: int):
    lookup = _pshufb(builder, bytes_at)

    def plane(byte):
        if byte < low:
            return constant(B32, 0)
        return _among(builder, codes, segments, lambda segment, own: lookup(64 * segment + 16 * byte, own))

    def halves(a, b):  # interleaved within the 128-bit lanes: the first halves of the lanes, then the second ones
        n = a.type.count
        starts = [(0, n // 2), (n // 4, 3 * n // 4)]
        pattern = [[s + i + side for s in pair for i in range(n // 4) for side in (0, n)] for pair in starts]
        return [shuffle(builder, a, b, lanes) for lanes in pattern]

    words = [[builder.bitcast(half, W16) for half in halves(plane(byte), plane(byte + 1))] for byte in (0, 2)]
    values = [value for low_high in zip(*words, strict=True) for value in halves(*low_high)]
    return joined(builder, [builder.bitcast(value, ir.VectorType(F32, 8)) for value in values])


def _permuted(builder, floats_at, codes, segments: int):
    """16 values of as many codes among 16 * segments, by AVX-512."""
    if segments == 1:
        return call(builder, "llvm.x86.avx512.permvar.sf.512", F16, floats_at(0), codes)
    tables = [
        call(builder, "llvm.x86.avx512.vpermi2var.ps.512", F16, floats_at(16 * s), codes, floats_at(16 * s + 16))
        for s in range(0, segments, 2)
    ]
    bit = 5
    while len(tables) > 1:
        chosen = builder.icmp_unsigned("!=", builder.and_(codes, constant(I16, 1 << bit)), constant(I16, 0))
        tables = [builder.select(chosen, b, a) for a, b in zip(tables[::2], tables[1::2], strict=True)]
        bit += 1
    return tables[0]


def _one_by_one(builder, data, codes, kind):
    """Values of the codes in a table, loaded one after the other."""
    found = ir.Constant(kind, ir.Undefined)
    for lane in range(kind.count):
        code = builder.zext(builder.extract_element(codes, ir.Constant(I32, lane)), ir.IntType(64))
        found = builder.insert_element(found, builder.load(builder.gep(data, [code])), ir.Constant(I32, lane))
    return found


@intrinsic(prefer_literal=True)
def weights(typing, codes, offset, step, table, at, bits, segments, low, form):
    """Vector of the 32 float32 weights of input `step` of the block at byte `offset` of the codes.

    table: uint8, at byte `at` 64 * segments bytes, as `tables.table` arranges them for this form. step, bits, segments,
    low and form are compile-time constants.
    """
    step_, bits_, segments_, low_, form_ = (v.literal_value for v in (step, bits, segments, low, form))

    def code(context, builder, signature, arguments):
        def bytes_at(array, base, kind):
            def load(offset, lanes):
                index = builder.add(arguments[base], ir.Constant(ir.IntType(64), offset))
                return load_at(context, builder, array, arguments[base - 1], index, ir.VectorType(kind, lanes))

            return load

        code_bytes, table_bytes = bytes_at(codes, 1, I8), bytes_at(table, 4, I8)
        if form_ == "whole":
            values = builder.sub(_codes(builder, code_bytes, step_, bits_), constant(B32, 1 << bits_ - 1))
            return builder.sitofp(values, llvm(WEIGHTS))
        if form_ == "avx2":
            return _from_planes(builder, table_bytes, _codes(builder, code_bytes, step_, bits_), segments_, low_)
        if bits_ == 4:  # 16 words, whose nibbles 2 * step and 2 * step + 1 are the codes of the two halves
            words = bytes_at(codes, 1, I32)(0, 16)
            halves = [builder.lshr(words, constant(I16, 8 * step_ + 4 * half)) for half in (0, 1)]
        else:
            whole = _codes(builder, code_bytes, step_, bits_)
            halves = [builder.zext(shuffle(builder, whole, whole, range(start, start + 16)), I16) for start in (0, 16)]
        if form_ == "avx512" and "avx512f" in compiled_for():
            floats_at = bytes_at(table, 4, F32)
            found = [_permuted(builder, lambda i: floats_at(4 * i, 16), half, segments_) for half in halves]
        else:
            mask = constant(I16, 16 * segments_ - 1)
            data = context.make_array(table)(context, builder, arguments[3]).data
            data = builder.bitcast(builder.gep(data, [arguments[4]]), F32.as_pointer())
            found = [_one_by_one(builder, data, builder.and_(half, mask), F16) for half in halves]
        return joined(builder, found)

    return WEIGHTS(codes, types.intp, step, table, types.intp, bits, segments, low, form), code


@intrinsic(prefer_literal=True)
def small(typing, codes, offset, step, table, bits, segments, form):
    """Vector of 32 int8 values, from 16 * segments in the table, of the codes of quarter `step` of a block."""
    step_, bits_, segments_, form_ = (v.literal_value for v in (step, bits, segments, form))

    def code(context, builder, signature, arguments):
        def bytes_from(array, data, start):
            def load(at, lanes):
                index = builder.add(start, ir.Constant(ir.IntType(64), at))
                return load_at(context, builder, array, data, index, ir.VectorType(I8, lanes))

            return load

        found = _codes(builder, bytes_from(codes, arguments[0], arguments[1]), step_, bits_)
        table_bytes = bytes_from(table, arguments[3], ir.Constant(ir.IntType(64), 0))
        if form_ != "portable" and "avx2" in compiled_for():
            lookup = _pshufb(builder, table_bytes)
            return _among(builder, found, segments_, lambda segment, own: lookup(16 * segment, own))
        data = context.make_array(table)(context, builder, arguments[3]).data
        found = builder.and_(found, constant(B32, 16 * segments_ - 1))
        return _one_by_one(builder, data, found, B32)

    return INTEGERS(codes, types.intp, step, table, bits, segments, form), code
