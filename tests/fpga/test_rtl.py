"""The circuits give the integer products to the last bit, in just the cycles that the model says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from amaranth.back import rtlil
from bitbook import load
from bitbook.fpga import BOARDS, Memory, Unit, beats, cycles, resources, words
from bitbook.fpga.rtl import circuit, simulate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FILES = Path(__file__).parents[2] / "published" / "files"


def run(unit: Unit, codes: np.ndarray, x: np.ndarray, *, codebook=None, left=None, pattern=(True,)) -> tuple:
    """Return outputs, cycles of the simulation and cycles of the model."""
    layout, memory = beats(unit, codes, left=left), Memory(pattern)
    seen = simulate(circuit(unit), layout, x, codebook=codebook, memory=memory)
    common = {"load": words(unit, x.shape[1]), "drain": unit.drain, "pipeline": unit.pipeline}
    expected = cycles(layout.groups, vectors=len(x), memory=memory, **common)
    return seen.outputs[:, : len(codes)], seen.cycles, expected


def signed(rng: np.random.Generator, width: int, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(-(2 ** (width - 1)), 2 ** (width - 1), shape)


@st.composite
def accumulating(draw: st.DrawFn) -> tuple[Unit, tuple[int, int, int]]:
    small = st.integers(1, 3)
    multipliers, dimension = draw(small), draw(small)
    unit = Unit(
        kind="accumulate",
        rows=multipliers * draw(small),
        inputs=draw(small),
        codewords=draw(st.integers(2, 9)),
        dimension=dimension,
        multipliers=multipliers,
        activation_width=draw(st.integers(2, 16)),
        weight_width=draw(st.integers(2, 16)),
        depth=16,
        sparse=draw(st.booleans()),
    )
    return unit, (draw(st.integers(1, 2)), draw(st.integers(1, 9)), draw(st.integers(1, 12)) * dimension)


@st.composite
def dense(draw: st.DrawFn) -> tuple[Unit, tuple[int, int, int]]:
    packed, small = draw(st.booleans()), st.integers(1, 3)
    width = st.integers(2, 8 if packed else 16)
    unit = Unit(
        kind="dense",
        rows=2 * draw(small) if packed else draw(small),
        inputs=draw(small),
        codewords=draw(st.sampled_from([0, 2, 5, 16])),
        activation_width=draw(width),
        weight_width=draw(width),
        depth=16,
        packed=packed,
    )
    return unit, (draw(small), draw(st.integers(1, 12)), draw(st.integers(1, 14)))


patterns = st.lists(st.booleans(), min_size=1, max_size=12).filter(any) | st.just([True])
slow = settings(max_examples=28, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


@slow
@given(accumulating(), patterns, st.integers(0, 2**32))
def test_accumulating_units_of_any_kind(case, pattern, seed):
    unit, (vectors, rows, columns) = case
    rng = np.random.default_rng(seed)
    x = signed(rng, unit.activation_width, (vectors, columns))
    codebook = signed(rng, unit.weight_width, (unit.codewords, unit.dimension))
    codes = rng.integers(0, unit.codewords, (rows, columns // unit.dimension))
    left = rng.random(codes.shape) < rng.random() if unit.sparse else np.ones(codes.shape, bool)
    weights = (codebook[codes] * left[..., None]).reshape(rows, columns)
    outputs, simulated, expected = run(unit, codes, x, codebook=codebook, left=left, pattern=pattern)
    np.testing.assert_array_equal(outputs, x @ weights.T)
    assert simulated == expected


@slow
@given(dense(), patterns, st.integers(0, 2**32))
def test_dense_units_of_any_kind(case, pattern, seed):
    unit, (vectors, rows, columns) = case
    rng = np.random.default_rng(seed)
    x = signed(rng, unit.activation_width, (vectors, columns))
    codes, codebook = signed(rng, unit.weight_width, (rows, columns)), None
    weights = codes
    if unit.codewords:
        codes = rng.integers(0, unit.codewords, (rows, columns))
        codebook = signed(rng, unit.weight_width, (unit.codewords, 1))
        weights = codebook[codes][..., 0]
    outputs, simulated, expected = run(unit, codes, x, codebook=codebook, pattern=pattern)
    np.testing.assert_array_equal(outputs, x @ weights.T)
    assert simulated == expected


@pytest.mark.parametrize("inputs", [16, 17])
@pytest.mark.parametrize("kind", ["dense", "accumulate"])
def test_sums_of_more_than_sixteen_take_a_cycle_more(inputs, kind):
    unit = Unit(kind=kind, rows=2, inputs=inputs, codewords=3, activation_width=4, weight_width=4, depth=4)
    rng = np.random.default_rng(inputs)
    codes, codebook, x = rng.integers(0, 3, (3, 50)), signed(rng, 4, (3, 1)), signed(rng, 4, (2, 50))
    outputs, simulated, expected = run(unit, codes, x, codebook=codebook, pattern=(True, False))
    np.testing.assert_array_equal(outputs, x @ codebook[codes][..., 0].T)
    assert simulated == expected and unit.pipeline == 2 + (inputs > 16)


@pytest.mark.parametrize(
    "more",
    [
        {"kind": "accumulate", "multipliers": 2, "dimension": 3},
        {"kind": "dense", "inputs": 3},
        {"kind": "dense", "inputs": 2, "packed": True, "activation_width": 8, "weight_width": 8},
    ],
)
def test_flip_flops_are_the_registers_of_the_circuit(more):
    unit = Unit(rows=4, codewords=8, **more)
    netlist = rtlil.convert(circuit(unit), name="unit", emit_src=False)
    registers = re.findall(r"cell \$dff .*\n(?: +parameter .*\n)*? +parameter \\WIDTH (\d+)", netlist)
    assert resources(unit, BOARDS["zu9eg"])["ffs"] == sum(map(int, registers))


@pytest.mark.parametrize("sparse", [False, True])
def test_gaps_beyond_the_width_of_a_distance_take_fillers(sparse):
    unit = Unit(kind="accumulate", rows=1, codewords=2, activation_width=8, weight_width=8, depth=64, sparse=sparse)
    left = np.zeros((1, 64), bool)
    left[0, [0, 16, 17, 50]] = True  # 50 lies 33 words on: two fillers
    layout = beats(unit, left.astype(int), left=left)
    assert layout.groups.tolist() == [6 if sparse else 64]
    x = np.arange(64)[None]
    outputs, simulated, expected = run(unit, left.astype(int), x, codebook=np.array([[0], [3]]), left=left)
    assert outputs.tolist() == [[3 * 83]] and simulated == expected


@pytest.mark.parametrize(
    ("file", "layer", "rows", "stride"),
    [
        ("mnist-2263fa993fbb", "conv2", 4, 1),  # LeNet-5, K = 4
        ("cifar10-eb1be72864be", "layer2.0.conv1", 8, 2),  # ResNet-20, K = 16
        ("cifar10-10cd3866d5b7", "", 8, 1),  # ResNet-20, pruned
    ],
)
@pytest.mark.parametrize("kind", ["accumulate", "dense"])
def test_layers_of_published_files(file, layer, rows, stride, kind):
    compressed = load(FILES / f"{file}.bitbook")
    name = next(name for name in compressed.codes if name.startswith(layer))
    code = compressed.codes[name]
    book = np.asarray(compressed.codebooks[code.codebook], np.float64)
    codebook = np.round(book / np.abs(book).max() * 127).astype(int)[:, None]  # 8 bits
    codes = code.indices.reshape(code.shape[0], -1)[:rows:stride].astype(int)
    left = codebook[codes][..., 0] != 0
    rng = np.random.default_rng(0)
    x = signed(rng, 8, (1, codes.shape[1]))
    common = {"rows": rows, "inputs": 2, "codewords": len(codebook), "activation_width": 8, "weight_width": 8}
    more = {"multipliers": 2, "sparse": "10cd" in file} if kind == "accumulate" else {"packed": True}
    unit = Unit(kind=kind, **common, **more)
    pattern = (True, True, False, True)
    outputs, simulated, expected = run(unit, codes, x, codebook=codebook, left=left, pattern=pattern)
    np.testing.assert_array_equal(outputs, x @ codebook[codes][..., 0].T)
    assert simulated == expected


def test_accumulating_overlaps_with_multiplying():
    """Hand-computed: B beats and D multiplications of G groups take G max(B, D) + min(B, D) cycles and the pipeline."""
    for length, wanted in ((8, 8 + 3 * 8 + 6), (3, 3 + 3 + 3 * 6), (6, 6 + 3 * 6 + 6)):
        expected = wanted + 4  # a beat's second stage; a product's two, and its result's
        expected -= 1
        assert cycles([length] * 3, load=length, drain=6) == expected
