"""The passes over a network, by hand-computed cases, and the search of a design."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from bitbook import Compressed, GridCode, ScalarCode, SparseCode, VectorCode, load
from bitbook.fpga import (
    BOARDS,
    DESIGNS,
    Memory,
    Unit,
    board,
    candidates,
    cycles,
    fits,
    layer_time,
    layers,
    network_time,
    resources,
    row_beats,
    search,
    sparse_groups,
    synthesised,
)
from bitbook.fpga._resources import _buffer
from hypothesis import given, settings
from hypothesis import strategies as st

FILES = Path(__file__).parents[2] / "published" / "files"
POSITIONS = {"conv1.weight": (576, 1), "conv2.weight": (64, 1), "fc1.weight": (1, 1), "fc2.weight": (1, 1)}
RNG = np.random.default_rng(0)


def compressed(code, codebooks, **more) -> Compressed:
    return Compressed({"w": code}, codebooks, more, {"factory": "none", "arguments": {}}, original_parameters=1)


def scalar(rows=8, columns=64, k=4) -> Compressed:
    codes = ScalarCode(RNG.integers(0, k, (rows, columns)), "c")
    return compressed(codes, {"c": np.linspace(1, 2, k, dtype=np.float32)})


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.integers(1, 12), st.integers(0, 30), st.integers(4, 20))
def test_without_stalls_vectors_take_equal_time(groups, length, drain, vectors):
    always = Memory([True, True])  # walked through vector by vector
    common = {"load": length, "drain": drain, "vectors": vectors}
    assert cycles(groups, **common) == cycles(groups, **common, memory=always)


@given(st.integers(1, 200), st.integers(0, 300), st.integers(1, 50))
def test_a_rate_delivers_what_it_says(percent, start, count):
    memory = Memory.of_rate(Fraction(percent, 100))
    last, taken, cycle = memory.arrival(start, count), 0, start
    while True:  # one by one
        taken += bool(memory.pattern[cycle % memory.period])
        if taken == count:
            break
        cycle += 1
    assert cycle == last
    assert abs(count - (last - start + 1) * min(percent / 100, 1)) <= 1


def test_a_memory_that_never_delivers_is_refused():
    with pytest.raises(ValueError, match="never delivers"):
        Memory([False])


def test_compute_and_memory_time_by_hand():
    """8 rows of 64 codes in 2 groups of 4: 2 * 64 beats, then 4 rows on 2 multipliers, K = 4, drain in 8 cycles."""
    (layer,) = layers(scalar(), {"w": (1, 1)})
    unit = Unit(kind="accumulate", rows=4, codewords=4, multipliers=2, depth=64)
    slow = replace(BOARDS["xc7z020"], bandwidth=1.0, efficiency=1.0, clock=8.0)  # a bit a cycle
    time = layer_time(unit, layer, slow, on_chip=False, room=1e9)
    assert time.compute == 64 + 128 + 8 + 3  # vector loaded; accumulated; drained; second stage, product, result
    assert time.bits == 128 * 4 * 2 + 4 * 16  # two bits a code; the codebook
    assert time.memory == time.bits and time.bound == "memory" and time.cycles >= time.memory
    fast = layer_time(unit, layer, slow, on_chip=True, room=1e9)
    assert (fast.cycles, fast.bits, fast.bound) == (fast.compute, 0, "compute")
    spilled = layer_time(unit, layer, slow, on_chip=True, room=8 * 16 - 1)
    assert spilled.bits == 2 * 8 * 16


def test_codewords_beyond_the_inputs_save_nothing():
    few, many = (layers(scalar(columns=16, k=k), {"w": (1, 1)})[0] for k in (15, 16))
    assert few.saves and not many.saves


def test_vector_codes_drain_each_component():
    book = RNG.normal(size=(8, 4)).astype(np.float32)
    code = VectorCode(RNG.integers(0, 8, (8, 16)), "c", (8, 64))
    (layer,) = layers(compressed(code, {"c": book}), {"w": (1, 1)})
    assert (layer.codewords, layer.dimension, layer.left.shape) == (8, 4, (8, 16))
    unit = Unit(kind="accumulate", rows=8, codewords=8, dimension=4, multipliers=8, depth=64)
    time = layer_time(unit, layer, BOARDS["u50"], on_chip=True, room=1e9)
    assert time.compute == 16 + 16 + 8 * 4 + 3


def test_sparse_groups_wait_for_the_fullest_lane():
    positions = np.zeros((4, 32), bool)
    positions[0, :20], positions[1, 3], positions[3, ::2] = True, True, True
    code = SparseCode(positions, ScalarCode(np.ones(int(positions.sum()), int), "c"))
    (layer,) = layers(compressed(code, {"c": np.float32([1, 2])}), {"w": (1, 1)})
    unit = Unit(kind="accumulate", rows=2, codewords=2, depth=32, sparse=True)
    assert sparse_groups(unit, row_beats(layer.left, 1)).tolist() == [20, 16]
    assert sparse_groups(replace(unit, inputs=2), row_beats(layer.left, 2)).tolist() == [10, 16]


@pytest.mark.parametrize("depth", [6, 12])
def test_depths_of_channels_set_traffic_and_passes(depth):
    values = RNG.integers(-8, 8, (8, 64))
    code = GridCode(values, np.array([depth] * 4 + [4] * 4), np.zeros(8, int))
    (layer,) = layers(compressed(code, {}), {"w": (1, 1)})
    unit = Unit(kind="dense", rows=8, activation_width=8, weight_width=8, packed=True, depth=64)
    time = layer_time(unit, layer, BOARDS["xc7z020"], on_chip=False, room=1e9)
    assert time.bits == 64 * 4 * (depth + 4)
    one = cycles([64], load=64, drain=0)
    assert time.compute == (one if depth <= 8 else round(1.5 * one))


def test_baselines_stream_whole_weights_and_decoders_depths():
    code = GridCode(RNG.integers(-2, 2, (64, 512)), np.full(64, 2), np.zeros(64, int))
    network = layers(compressed(code, {}), {"w": (1, 1)})
    plain, coded = (
        search(f"MAC{how}, 8 bits packed", network, BOARDS["xc7z020"], on_chip=False).layers[0].bits
        for how in ("", " with decoder")
    )
    assert coded == 64 * 512 * 2 and plain == 64 * 512 * 8
    with pytest.raises(ValueError, match="holds no design 'accumulate, 8 bits'"):
        search("accumulate, 8 bits", network, BOARDS["xc7z020"])


def test_weights_without_codes_take_the_multipliers_alone():
    network = Compressed({}, {}, {"w": np.ones((8, 64), np.float32)}, {}, original_parameters=1)
    (layer,) = layers(network, {"w": (1, 1)})
    unit = Unit(kind="accumulate", rows=8, inputs=2, codewords=4, multipliers=2, depth=32)
    time = layer_time(unit, layer, BOARDS["u50"], on_chip=True, room=1e9)
    assert time.compute == cycles([64] * 4, load=64, drain=0)


def test_a_layer_without_positions_is_named():
    with pytest.raises(ValueError, match="w: output positions unknown"):
        layers(scalar(), {})


def test_biases_with_codes_are_no_layers():
    bias, weight = (ScalarCode(np.zeros(shape, int), "c") for shape in ((8,), (8, 4)))
    network = Compressed(
        {"b": bias, "w": weight},
        {"c": np.float32([1, 2])},
        {},
        {"factory": "none", "arguments": {}},
        original_parameters=1,
    )
    assert [layer.name for layer in layers(network, {"w": (1, 1)})] == ["w"]


def test_dense_layers_and_groups_of_convolutions():
    network = scalar(rows=8, columns=16)
    (layer,) = layers(network, {"w": (9, 4)})
    assert (layer.rows, layer.columns, layer.groups, layer.multiplications) == (2, 16, 4, 8 * 16 * 9)


@pytest.mark.parametrize("kind", ["accumulate", "dense"])
def test_the_model_is_within_15_percent_of_what_yosys_counts(kind):
    rows = [row for row in synthesised() if row[1].kind == kind]
    assert sum(use == "fit" for use, _, _ in rows) >= 6 and sum(use == "held out" for use, _, _ in rows) >= 3
    for use, unit, row in rows:
        found = resources(unit, BOARDS["xc7z020"])
        assert found["dsps"] == int(row["dsps"]), unit
        assert found["bram18"] - _buffer(unit) == int(row["bram18"]), unit
        if use == "held out":
            assert abs(found["luts"] / int(row["luts"]) - 1) <= 0.15, unit


@pytest.mark.parametrize("board", ["xc7z020", "u50"])
@pytest.mark.parametrize("design", [*DESIGNS][1::2])
def test_the_search_is_as_good_as_trying_every_unit(design, board, monkeypatch):
    network = layers(load(FILES / "mnist-2263fa993fbb.bitbook"), POSITIONS)
    best = search(design, network, BOARDS[board])
    assert fits(best.unit, BOARDS[board])
    assert json.loads(json.dumps(best.as_json()))["bottleneck"] == best.bottleneck
    monkeypatch.setattr("bitbook.fpga._search.TRIED", None)
    assert best.latency == min(
        network_time(unit, network, BOARDS[board]).latency for unit in candidates(design, network, BOARDS[board])
    )


def test_a_bigger_board_is_not_slower():
    file = load(FILES / "mnist-2263fa993fbb.bitbook")
    network = layers(file, POSITIONS)
    for design in ("accumulate, 8 bits", "MAC, 8 bits packed"):
        small, big = (search(design, network, BOARDS[name]).latency for name in ("xc7z020", "zu9eg"))
        assert big <= small


def test_unknown_boards_are_named():
    with pytest.raises(ValueError, match="unknown board 'zx81'"):
        board("zx81")


@pytest.mark.parametrize("wrong", [{"rows": 3, "multipliers": 2}, {"codewords": 1}, {"packed": True}, {"rows": 0}])
def test_units_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError):
        Unit(**({"kind": "accumulate", "rows": 4, "codewords": 4} | wrong))
