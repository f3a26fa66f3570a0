"""Explicit vectors in Numba kernels: values of several lanes, compiled to the vector registers of the host.

LLVM splits a vector that is wider than the host's registers, so the same kernel runs everywhere, and gives the same
bits: each lane is computed by itself, and a fused multiply-add rounds once on every host.
"""

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

ELEMENTS = {types.float32: ir.FloatType(), types.int32: ir.IntType(32), types.boolean: ir.IntType(1)}


class Vector(types.Type):
    """Numba type of a vector: `lanes` values of float32, int32 or boolean."""

    def __init__(self, element: types.Type, lanes: int):
        self.element, self.lanes = element, lanes
        super().__init__(f"Vector({element} x {lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        super().__init__(manager, vector, _llvm(vector))


def host_lanes() -> int:
    """float32 lanes of the host's vector registers: 16 with AVX-512, 8 with AVX2, else 4."""
    features = binding.get_host_cpu_features()
    return 16 if features.get("avx512f") else 8 if features.get("avx2") else 4


def _llvm(vector: Vector) -> ir.VectorType:
    return ir.VectorType(ELEMENTS[vector.element], vector.lanes)


def _address(context, builder, array_type, array, index, vector):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _llvm(vector).as_pointer())


@intrinsic(prefer_literal=True)
def load(typing, array, index, lanes):
    """Vector of `lanes` elements of a contiguous array, from flat `index` on; lanes is a compile-time constant."""
    vector = Vector(array.dtype, lanes.literal_value)

    def code(context, builder, signature, arguments):
        return builder.load(_address(context, builder, array, *arguments[:2], vector), align=4)

    return vector(array, types.intp, lanes), code


@intrinsic
def store(typing, array, index, vector):
    """Write a vector to a contiguous array of its element type, from flat `index` on."""

    def code(context, builder, signature, arguments):
        builder.store(arguments[2], _address(context, builder, array, *arguments[:2], vector), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), code


@intrinsic(prefer_literal=True)
def splat(typing, value, lanes):
    """Vector of `lanes` times the same float32 or int32; lanes is a compile-time constant."""
    element = types.float32 if isinstance(types.unliteral(value), types.Float) else types.int32
    vector = Vector(element, lanes.literal_value)

    def code(context, builder, signature, arguments):
        undefined = ir.Constant(_llvm(vector), ir.Undefined)
        first = builder.insert_element(undefined, arguments[0], ir.Constant(ir.IntType(32), 0))
        pattern = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), [0] * vector.lanes)
        return builder.shuffle_vector(first, undefined, pattern)

    return vector(element, lanes), code


@intrinsic
def add(typing, a, b):
    """a + b in every lane, for float32."""
    return a(a, a), lambda context, builder, signature, arguments: builder.fadd(*arguments)


@intrinsic
def fma(typing, a, b, c):
    """a * b + c in every lane, rounded once, for float32."""

    def code(context, builder, signature, arguments):
        kind = ir.FunctionType(_llvm(a), [_llvm(a)] * 3)
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{a.lanes}f32"), arguments)

    return a(a, a, a), code


@intrinsic
def less(typing, a, b):
    """Vector of booleans: a < b, for float32."""
    boolean = Vector(types.boolean, a.lanes)
    return boolean(a, a), lambda context, builder, signature, arguments: builder.fcmp_ordered("<", *arguments)


@intrinsic
def select(typing, condition, a, b):
    """Lanes of a where the condition holds, of b elsewhere."""
    return a(condition, a, a), lambda context, builder, signature, arguments: builder.select(*arguments)
