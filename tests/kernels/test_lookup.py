"""Kernels against float64 products of the decoded weights."""

import os
import platform
import re
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import torch
from bitbook.codes import GridCode, ScalarCode, SparseCode, VectorCode
from bitbook.kernels import EightBitLookup, Lookup, bucket_products
from bitbook.simd import INSTRUCTION_SETS, instruction_set

FORMS = [instruction_set(), *(form for form in ("portable", "avx512") if form != instruction_set())]


def scalar(rng, m, n, k, *, scales=None, dtype=np.float16):
    codes = rng.integers(0, k, (m, n))
    codes.flat[:k] = np.arange(k)  # every entry is used
    return ScalarCode(codes, "b", scales), {"b": rng.normal(size=k).astype(dtype)}


def vector(rng, m, n, k, d):
    return VectorCode(rng.integers(0, k, (m, n // d)), "b", (m, n)), {"b": rng.normal(size=(k, d)).astype(np.float16)}


def grid(rng, m, n, deepest):
    depths = rng.integers(0, deepest + 1, m)
    values = np.array([rng.integers(-(1 << d >> 1), max(1, 1 << d >> 1), n) for d in depths])
    return GridCode(values, depths, np.where(depths, rng.integers(-9, 2, m), 0)), {}


def sparse(rng, m, n, k):
    positions = rng.random((m, n)) < 0.2
    return SparseCode(positions, ScalarCode(rng.integers(0, k, positions.sum()), "b")), {"b": np.linspace(0.1, 1, k)}


def check(code, books, form, *, batches, seed=0):
    """Products of some batch sizes within float32 of the exact ones, whole tiles decoded, and bytes as promised."""
    lookup, weights = Lookup(code, books, form=form), code.decode(books).reshape(code.shape[0], -1)
    rng = np.random.default_rng(seed)
    for batch in batches:
        x = rng.normal(size=(batch, weights.shape[1])).astype(np.float32)
        bound = np.abs(x).astype(np.float64) @ np.abs(weights).T.astype(np.float64)
        assert (np.abs(lookup.multiply(x) - x.astype(np.float64) @ weights.T) <= 1e-6 * bound + 1e-30).all()
    decoded = np.zeros_like(weights)
    for outputs, rows in lookup.panels():
        decoded[outputs] = rows
    np.testing.assert_array_equal(decoded, weights)
    return lookup


@pytest.mark.parametrize("k", [2, 16, 32, 64, 256, 300])
def test_scalar_codes(k):
    rng = np.random.default_rng(k)
    code, books = scalar(rng, 70, 117, k)
    check(code, books, None, batches=[1, 5] if k != 16 else [1, 5, 50, 100])


@pytest.mark.parametrize("form", FORMS[1:])
@pytest.mark.parametrize("k", [16])
def test_other_instructions_give_the_same(k, form):
    rng = np.random.default_rng(k)
    code, books = scalar(rng, 40, 37, k)
    x = rng.normal(size=(1, 37)).astype(np.float32)
    here, there = (check(code, books, f, batches=[1]).multiply(x) for f in (None, form))
    np.testing.assert_allclose(there, here, rtol=1e-6)


def test_scales_and_float32_codebooks_and_shared_codebooks():
    rng = np.random.default_rng(0)
    for scales in (np.float16(0.3), rng.random(40).astype(np.float16)):
        code, books = scalar(rng, 40, 24, 9, scales=scales, dtype=np.float32)
        check(code, books, None, batches=[1, 4])
    few = ScalarCode(rng.choice([3, 250], (40, 24)), "b")  # two of the 256 entries that a network shares
    assert check(few, {"b": rng.normal(size=256)}, None, batches=[1]).bands[0].bits == 1


@pytest.mark.parametrize(("d", "k"), [(2, 16), (4, 16), (9, 16), (2, 256), (8, 256), (9, 256)])
def test_vector_codes(d, k):
    check(*vector(np.random.default_rng(d), 70, 9 * 16 * d // (3 if d == 9 else 1), k, d), None, batches=[1, 20])


def test_vector_codes_with_portable_instructions():
    check(*vector(np.random.default_rng(1), 40, 36, 16, 4), "portable", batches=[1])


@pytest.mark.parametrize("deepest", [3, 12])
def test_grid_codes(deepest):
    check(*grid(np.random.default_rng(deepest), 70, 41, deepest), None, batches=[1, 5])


@pytest.mark.parametrize("k", [1, 7, 300])
def test_sparse_codes(k):
    check(*sparse(np.random.default_rng(k), 70, 700, k), None, batches=[1, 17])


@pytest.mark.parametrize("family", [scalar, sparse])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [((3, 3), (1, 1), (1, 1)), ((5, 2), (2, 1), (1, 3))])
def test_convolutions(family, kernel, stride, dilation):
    rng = np.random.default_rng(0)
    code, books = family(rng, 40, 6 * kernel[0] * kernel[1], 16)
    images = rng.normal(size=(2, 6, 15, 14)).astype(np.float32)
    weights = torch.from_numpy(code.decode(books).astype(np.float64).reshape(40, 6, *kernel))
    expected = torch.nn.functional.conv2d(torch.from_numpy(images).double(), weights, None, stride, 0, dilation)
    found = Lookup(code, books).convolve(images, (kernel, stride, dilation))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("k", "form"), [(16, instruction_set()), (50, instruction_set()), (16, "portable")])
def test_eight_bit_activations_are_summed_exactly(k, form):
    rng = np.random.default_rng(k)
    code, books = scalar(rng, 70, 333, k)
    lookup = EightBitLookup(code, books, form=form)
    x = rng.normal(size=(2, 333)).astype(np.float32)
    x[1] = 0
    steps = np.abs(x[:1]).max() / np.float32(127), np.abs(books["b"].astype(np.float32)).max() / np.float32(127)
    activations, book = np.rint(x[:1] / steps[0]), np.rint(books["b"].astype(np.float32) / steps[1])
    sums = activations.astype(np.int64) @ book.astype(np.int64)[code.indices].T
    found = lookup.multiply(x)
    np.testing.assert_allclose(found[:1], sums * (steps[0] * steps[1]), rtol=3e-7)
    assert not found[1].any()
    for scales in (np.float16(0.5), rng.random(70).astype(np.float16)):
        scaled = EightBitLookup(ScalarCode(code.indices, "b", scales), books, form=form).multiply(x)
        np.testing.assert_allclose(scaled, found * scales.astype(np.float32), rtol=3e-7)
    exact = x[:1] @ code.decode(books).T
    assert np.linalg.norm(found[:1] - exact) < 0.02 * np.linalg.norm(exact)


def test_largest_eight_bit_sums_do_not_overflow():
    code = ScalarCode(np.zeros((32, 4096), int), "b")
    for sign in (1, -1):
        found = EightBitLookup(code, {"b": np.float32([sign])}).multiply(np.ones((1, 4096), np.float32))
        np.testing.assert_allclose(found, sign * 4096.0, rtol=1e-6)


def test_bucket_accumulation_gives_the_same():
    rng = np.random.default_rng(0)
    code, books = scalar(rng, 20, 50, 6)
    x = rng.normal(size=50).astype(np.float32)
    found = bucket_products(code.indices, books["b"], x)
    np.testing.assert_allclose(found, code.decode(books).astype(np.float64) @ x, rtol=1e-5)
    with pytest.raises(ValueError, match="do not fit"):
        bucket_products(code.indices, books["b"][:5], x)


@pytest.mark.parametrize("family", ["scalar", "grouped", "rows"])
def test_any_number_of_threads_gives_the_same_bits_200_times(family):
    rng = np.random.default_rng(0)
    made = {
        "scalar": lambda: scalar(rng, 512, 1024, 16),
        "grouped": lambda: vector(rng, 1024, 512, 16, 4),
        "rows": lambda: vector(rng, 512, 1024, 256, 8),
    }[family]()
    lookup, x = Lookup(*made), rng.normal(size=(5, made[0].shape[1])).astype(np.float32)
    expected = {batch: lookup.multiply(x[:batch]).tobytes() for batch in (1, 5)}
    for _ in range(100):
        for threads in (2, 5):
            assert lookup.multiply(x[:1], threads=threads).tobytes() == expected[1]
    for threads in (2, 3):
        assert lookup.multiply(x, threads=threads).tobytes() == expected[5]


def test_faults_are_found_when_the_layer_is_built():
    with pytest.raises(ValueError, match="index 4 is outside codebook 'b' of 4 entries"):
        Lookup(ScalarCode(np.full((3, 3), 4), "b"), {"b": np.ones(4)})


def test_the_switch(monkeypatch):
    for form in INSTRUCTION_SETS:
        monkeypatch.setenv("BITBOOK_SIMD", form)
        assert instruction_set() == form
    monkeypatch.setenv("BITBOOK_SIMD", "mmx")
    with pytest.raises(ValueError, match="must be one of avx512, avx2, portable, not 'mmx'"):
        instruction_set()


def python(code, name, features):
    """Run code for another processor: Numba compiles for it."""
    variables = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}
    with tempfile.TemporaryDirectory() as cache:  # what comes from a cache shows no instructions
        own = os.environ | variables | {"NUMBA_CACHE_DIR": cache}
        done = subprocess.run([sys.executable, "-c", code], env=own, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


x86 = pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="for x86 processors")


@x86
def test_a_processor_without_avx2_computes_the_same():
    code = """
import numpy as np
from bitbook import ScalarCode
from bitbook.kernels import Lookup
from bitbook.simd import instruction_set
code, books = ScalarCode(np.arange(600).reshape(40, 15) % 16, "b"), {"b": np.arange(16.0)}
lookup = Lookup(code, books)
assert instruction_set() == "portable"
assert (lookup.multiply(np.ones((1, 15), np.float32)) == code.decode(books).sum(1)).all()
"""
    python(code, "generic", "+sse2")


@x86
def test_avx512_looks_16_codes_up_in_one_instruction():
    """Compiled for a processor with AVX-512, not run: this test passes on any x86."""
    code = """
import numba as nb
from bitbook.kernels._single import scalar
from bitbook.simd import instruction_set
assert instruction_set() == "avx512"
for bits, segments in ((4, 1), (5, 2)):
    kernel = scalar(bits, segments, 1, "avx512")
    kernel.compile((nb.uint8[::1], nb.uint8[::1], nb.float32[::1], nb.float32[::1], nb.intp, nb.intp))
    print(*kernel.inspect_asm().values())
"""
    assembly = python(code, "skylake-avx512", "+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx2,+fma,+avx")
    assert re.search(r"vperm(ps|d)\s.*%zmm", assembly) and re.search(r"vperm[it]2(ps|d)\s.*%zmm", assembly)
