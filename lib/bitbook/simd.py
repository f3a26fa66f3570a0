"""Explicit vectors in Numba kernels: values of several lanes, compiled to the vector registers of the host.

LLVM splits a vector that is wider than the host's registers, so the same kernel runs everywhere, and gives the same
bits: each lane is computed by itself, and a fused multiply-add rounds once on every host. Instructions that LLVM does
not reach by itself are chosen by `instruction_set`; each has a portable form beside it.
"""

import os

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic, models, register_model

I8, I32, F32 = ir.IntType(8), ir.IntType(32), ir.FloatType()
ELEMENTS = {types.float32: F32, types.int32: I32, types.boolean: ir.IntType(1), types.uint8: I8, types.int8: I8}
INSTRUCTION_SETS = ("avx512", "avx2", "portable")


class Vector(types.Type):
    """Numba type of a vector: `lanes` values of float32, a whole number of 8 or 32 bits, or boolean."""

    def __init__(self, element: types.Type, lanes: int):
        self.element, self.lanes = element, lanes
        super().__init__(f"Vector({element} x {lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        super().__init__(manager, vector, llvm(vector))


def compiled_for() -> set[str]:
    """Features of the processor that Numba compiles for: the host's, unless NUMBA_CPU_FEATURES says otherwise."""
    if config.CPU_FEATURES is not None:
        return {feature[1:] for feature in config.CPU_FEATURES.split(",") if feature.startswith("+")}
    return {feature for feature, present in binding.get_host_cpu_features().items() if present}


def instruction_set() -> str:
    """The widest of `INSTRUCTION_SETS` that the processor has; the variable BITBOOK_SIMD forces another.

    Raises ValueError where that variable names none.
    """
    features = compiled_for()
    best = "avx512" if {"avx512f", "avx2"} <= features else "avx2" if {"avx2", "fma"} <= features else "portable"
    forced = os.environ.get("BITBOOK_SIMD", best)
    if forced not in INSTRUCTION_SETS:
        raise ValueError(f"BITBOOK_SIMD must be one of {', '.join(INSTRUCTION_SETS)}, not {forced!r}")
    return forced


def host_lanes() -> int:
    """float32 lanes that fit: 16 with AVX-512; with AVX2 too, as two registers that share what is splat; else 4."""
    return 16 if compiled_for() & {"avx512f", "avx2"} else 4


def llvm(vector: Vector) -> ir.VectorType:
    """LLVM's type of a vector."""
    return ir.VectorType(ELEMENTS[vector.element], vector.lanes)


def constant(kind: ir.VectorType, values) -> ir.Constant:
    """A vector of constants; a single number stands for one in every lane."""
    return ir.Constant(kind, list(values) if hasattr(values, "__iter__") else [values] * kind.count)


def shuffle(builder, a, b, lanes):
    """Vector of the lanes, counted through a and then b."""
    return builder.shuffle_vector(a, b, constant(ir.VectorType(I32, len(lanes)), lanes))


def joined(builder, parts):
    """Vectors of equal type, a power of two in number, side by side."""
    while len(parts) > 1:
        lanes = range(2 * parts[0].type.count)
        parts = [shuffle(builder, a, b, lanes) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def call(builder, name: str, result, *arguments):
    """Call of an LLVM intrinsic by name."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def load_at(context, builder, array_type, array, index, kind: ir.VectorType):
    """Vector of LLVM type `kind` that starts at an element of an array, which may be of another type."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.load(
        builder.bitcast(builder.gep(data, [index]), kind.as_pointer()), align=array_type.dtype.bitwidth // 8
    )


@intrinsic(prefer_literal=True)
def load(typing, array, index, lanes):
    """Vector of `lanes` elements of a contiguous array, from flat `index` on; lanes is a compile-time constant."""
    vector = Vector(array.dtype, lanes.literal_value)

    def code(context, builder, signature, arguments):
        return load_at(context, builder, array, *arguments[:2], llvm(vector))

    return vector(array, types.intp, lanes), code


@intrinsic
def store(typing, array, index, vector):
    """Write a vector to a contiguous array of its element type, from flat `index` on."""

    def code(context, builder, signature, arguments):
        data = context.make_array(array)(context, builder, arguments[0]).data
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), llvm(vector).as_pointer())
        builder.store(arguments[2], pointer, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), code


@intrinsic(prefer_literal=True)
def splat(typing, value, lanes):
    """Vector of `lanes` times the same float32 or int32; lanes is a compile-time constant."""
    element = types.float32 if isinstance(types.unliteral(value), types.Float) else types.int32
    vector = Vector(element, lanes.literal_value)

    def code(context, builder, signature, arguments):
        undefined = ir.Constant(llvm(vector), ir.Undefined)
        first = builder.insert_element(undefined, arguments[0], ir.Constant(I32, 0))
        return shuffle(builder, first, undefined, [0] * vector.lanes)

    return vector(element, lanes), code


@intrinsic
def add(typing, a, b):
    """a + b in every lane, for float32 or whole numbers."""

    def code(context, builder, signature, arguments):
        return (builder.fadd if a.element == types.float32 else builder.add)(*arguments)

    return a(a, a), code


@intrinsic
def fma(typing, a, b, c):
    """a * b + c in every lane, rounded once, for float32."""

    def code(context, builder, signature, arguments):
        return call(builder, f"llvm.fma.v{a.lanes}f32", llvm(a), *arguments)

    return a(a, a, a), code


@intrinsic
def total(typing, a):
    """Sum of the lanes of float32, halves added to halves, in the same order on every processor."""

    def code(context, builder, signature, arguments):
        (value,) = arguments
        while (half := value.type.count // 2) >= 1:
            low, high = (shuffle(builder, value, value, range(start, start + half)) for start in (0, half))
            value = builder.fadd(low, high)
        return builder.extract_element(value, ir.Constant(I32, 0))

    return types.float32(a), code


@intrinsic
def less(typing, a, b):
    """Vector of booleans: a < b, for float32."""
    boolean = Vector(types.boolean, a.lanes)
    return boolean(a, a), lambda context, builder, signature, arguments: builder.fcmp_ordered("<", *arguments)


@intrinsic
def select(typing, condition, a, b):
    """Lanes of a where the condition holds, of b elsewhere."""
    return a(condition, a, a), lambda context, builder, signature, arguments: builder.select(*arguments)


@intrinsic
def prefetch(typing, array, index):
    """Ask for the cache line of an element that is soon needed; any index will do."""

    def code(context, builder, signature, arguments):
        data = context.make_array(array)(context, builder, arguments[0]).data
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), I8.as_pointer())
        hints = [ir.Constant(I32, hint) for hint in (0, 3, 1)]  # to read, into all caches, data
        call(builder, "llvm.prefetch.p0", ir.VoidType(), pointer, *hints)
        return context.get_dummy_value()

    return types.void(array, types.intp), code
