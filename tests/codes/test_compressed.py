"""Compressed refuses what does not fit together, folds batch norms, and cannot be changed."""

import copy
import dataclasses
import json

import numpy as np
import pytest
from bitbook import Compressed, GridCode, ScalarCode, SparseCode, VectorCode
from bitbook.codes import coded_bytes, decode, small_floats

BOOKS = {"three": np.float16([-1, 0, 1]), "pairs": np.ones((4, 2), np.float16)}


def make(code, codebooks=BOOKS, **parts) -> Compressed:
    parts = {"dense": {}, "specification": {}, "original_parameters": 9, **parts}
    return Compressed(codes={"a.weight": code}, codebooks=codebooks, **parts)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (lambda: ScalarCode(np.array([3]), "three"), "a.weight: index 3 is outside codebook 'three' of 3 entries"),
        (lambda: ScalarCode(np.array([0]), "four"), "a.weight: there is no codebook 'four', only pairs, three"),
        (lambda: ScalarCode(np.array([0]), "pairs"), r"a.weight: codebook 'pairs' has shape \(4, 2\), not \(k,\)"),
        (lambda: ScalarCode(np.array([0.5]), "three"), "indices: must be whole numbers, not float64"),
        (lambda: ScalarCode(np.array([-1]), "three"), "indices: must lie in"),
        (lambda: ScalarCode(np.zeros((2, 3), int), "three", np.ones(3, np.float16)), "scales: shape"),
        (lambda: ScalarCode(np.zeros(2, int), "three", np.float64(1)), "scales: float64 is not stored in files"),
        (lambda: VectorCode(np.zeros((2, 2), int), "pairs", (2, 5)), "a row of 5 weights cannot be cut"),
        (lambda: VectorCode(np.zeros((2, 3), int), "pairs", (2, 4)), r"indices have shape \(2, 3\)"),
        (lambda: SparseCode(np.ones(2, bool), ScalarCode(np.array([0, 1]), "three")), "holds a weight of zero"),
        (lambda: SparseCode(np.ones(3, bool), ScalarCode(np.array([0, 2]), "three")), "3 positions, but the inner"),
        (lambda: GridCode(np.array([[2]]), np.array([2]), np.array([0])), "a value that its depth has no room for"),
        (lambda: GridCode(np.array([[1]]), np.array([0]), np.array([0])), "a value that its depth has no room for"),
        (lambda: GridCode(np.array([[0]]), np.array([2]), np.array([64])), "exponents: must be whole numbers in"),
        (lambda: GridCode(np.array([[2**15]]), np.array([16]), np.array([0])), "values: must be whole numbers"),
    ],
)
def test_codes_that_do_not_fit_are_refused(code, message):
    with pytest.raises(ValueError, match=message):
        make(code())


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"codebooks": {"three": np.float16([1, np.nan, 2])}}, "codebook 'three': holds NaN"),
        ({"codebooks": {"three": np.array([1.0, 2.0, 3.0])}}, "cast it to float16 or float32"),
        ({"codebooks": {"three": np.zeros((0,), np.float16)}}, r"codebook 'three': shape \(0,\)"),
        ({"dense": {"a.weight": np.ones(2, np.float16)}}, "given twice: a.weight"),
        ({"dense": {"bn.bias": np.ones(2, "f2")}, "batch_norm": {"bn": np.ones((2, 2), "f2")}}, "twice: bn.bias"),
        ({"batch_norm": {"bn": np.ones((3, 2), np.float16)}}, r"bn: a batch norm has shape \(2, C\) or \(4, C\)"),
        ({"dense": {"a b": np.ones(2, np.float16)}}, "'a b' is empty or holds a space"),
        ({"original_parameters": -1}, "original_parameters"),
        ({"epsilon": 0.0}, "epsilon"),
        ({"specification": "resnet"}, "specification must be a dict"),
        ({"specification": {"mean": float("nan")}}, "not JSON compliant"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        make(ScalarCode(np.array([0, 1]), "three"), **parts)


def test_nothing_can_be_changed():
    source = np.array([0, 1])
    network = make(ScalarCode(source, "three"))
    source[0] = 2
    assert network.codes["a.weight"].indices[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        network.codes["a.weight"].indices[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        network.codebooks["three"][0] = 1
    with pytest.raises(TypeError):
        network.codes["b.weight"] = network.codes["a.weight"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        network.epsilon = 0.1


def test_decoding_is_what_each_family_says():
    depths, exponents = np.array([2, 0, 3]), np.array([-1, 0, 2])
    codes = {
        "scalar": ScalarCode(np.array([[0, 2], [1, 2]]), "three", np.float16([0.5, 2])),
        "vector": VectorCode(np.array([[1, 0], [0, 2]]), "words", (2, 1, 2, 2)),
        "sparse": SparseCode(np.array([[1, 0], [1, 1]], bool), ScalarCode(np.array([0, 2, 0]), "three")),
        "grid": GridCode(np.array([[-2, 1], [0, 0], [-4, 3]]), depths, exponents),
    }
    words = np.float16([[1, 2], [3, 4], [5, 6]])
    parts = {"dense": {}, "specification": {}, "original_parameters": 20}
    weights = Compressed(codes=codes, codebooks={**BOOKS, "words": words}, **parts).decode()
    assert weights["scalar"].tolist() == [[-0.5, 0.5], [0, 2]]
    assert weights["vector"].tolist() == [[[[3, 4], [1, 2]]], [[[1, 2], [5, 6]]]]
    assert weights["sparse"].tolist() == [[-1, 0], [1, -1]]
    assert weights["grid"].tolist() == [[-1, 0.5], [0, 0], [-16, 12]]


def test_from_state_takes_everything_and_counts_what_trains():
    rng = np.random.default_rng(0)
    entries = ("weight", "bias", "running_mean", "running_var")
    norm = {name: rng.uniform(0.5, 2, 4).astype(np.float32) for name in entries}
    state = {"conv.weight": np.zeros((4, 3, 3, 3), np.float32), "conv.bias": np.float32([1, 2, 3, 1 / 3])}
    state |= {f"bn.{name}": values for name, values in norm.items()} | {"bn.num_batches_tracked": np.array(5)}
    codes = {"conv.weight": ScalarCode(np.ones((4, 3, 3, 3), int), "three")}
    parts = {"codes": codes, "codebooks": BOOKS, "specification": {}, "epsilon": 1e-3}
    folded = Compressed.from_state(state, dtype=np.float32, **parts)
    assert folded.original_parameters == 4 * 27 + 4 + 4 + 4
    weights, x = folded.decode(), np.linspace(-2, 2, 4)

    def output(s):
        return (x - s["bn.running_mean"]) / np.sqrt(s["bn.running_var"] + 1e-3) * s["bn.weight"] + s["bn.bias"]

    np.testing.assert_allclose(output(weights), output(state), rtol=1e-5)
    whole = Compressed.from_state(state, batch_norm="whole", dtype=np.float32, **parts).decode()
    assert all(np.array_equal(whole[name], state[name]) for name in whole)
    assert whole.keys() == weights.keys() == state.keys() - {"bn.num_batches_tracked"}
    coarse = Compressed.from_state(state, mantissa=3, **parts)
    assert coarse.dense["conv.bias"].tolist() == [1, 2, 3, 0.34375]  # 1/3 = 1.333 / 4, in eighths 1.375 / 4
    with pytest.raises(ValueError, match="batch_norm must be"):
        Compressed.from_state(state, batch_norm="none", **parts)


def test_coded_bytes_is_what_the_file_spends_on_codes(compressed):
    spent = sum(row.bytes for row in compressed.ledger().rows if row.section in compressed.codes)
    assert abs(coded_bytes(compressed.codes, compressed.codebooks) - spent) <= 12  # a length and the stream's last word


def test_ratios_count_four_or_two_bytes_a_parameter(make_network):
    network = make_network("grid")
    assert network.ratio_fp16 == network.ratio / 2 == 2 * 1234 / len(network.to_bytes())
    assert make_network("scalar").ratio_fp16 is None


@pytest.mark.parametrize("dtype", ["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "c8", "c16"])
def test_what_is_no_float_comes_back_exactly(dtype):
    if dtype == "b1":
        values = np.array([True, False, True])
    elif dtype[0] == "c":
        values = np.array([[1.1 + 2.3j, -1e-20j]], dtype)
    else:
        values = np.array([np.iinfo(dtype).min, np.iinfo(dtype).max, 7], dtype)
    state = {"a.weight": np.ones((2, 3), np.float32), "table": values, "empty": values[:0]}
    network = Compressed.from_state(state, codes={}, codebooks={}, specification={})
    assert network.original_parameters == 6 + values.size * (dtype[0] == "c")
    found = decode(network.to_bytes()).decode()
    for name in ("table", "empty"):
        assert found[name].dtype == state[name].dtype and found[name].shape == state[name].shape
        np.testing.assert_array_equal(found[name], state[name])


def test_what_cannot_be_stored_is_refused_by_name():
    parts = {"codes": {}, "codebooks": {}, "specification": {}}
    for values, message in (
        (np.array([{"a": 1}]), "extra: object is not stored"),
        (np.array(["text"]), "extra: <U4 is not stored"),
        (np.float32([np.nan]), "extra: the largest number is nan"),
        (np.float64([1e300]), r"extra: the largest number is 1e\+300"),
        (np.array([1j * np.inf]), "extra: holds NaN or infinity"),
    ):
        with pytest.raises(ValueError, match=message):
            Compressed.from_state({"extra": values}, **parts)


def test_what_float16_cannot_hold_is_stored_as_float32():
    state = {"tiny": np.float32([1e-8, -3e-8]), "huge": np.float32([1e5, 1]), "usual": np.float32([0.1, 1e-8])}
    network = Compressed.from_state(state, codes={}, codebooks={}, specification={}, mantissa=4)
    assert {name: values.dtype.str for name, values in network.dense.items()} == {
        "tiny": "<f4",
        "huge": "<f4",
        "usual": "<f2",
    }
    assert all(np.array_equal(network.dense[name], state[name]) for name in ("tiny", "huge"))
    edge = Compressed.from_state({"edge": np.float32([65504])}, codes={}, codebooks={}, specification={}, mantissa=4)
    assert edge.dense["edge"] == [65504]  # rounded to four bits it would be infinite
    np.testing.assert_array_equal(small_floats(np.array([1e-8, 2e-8])), np.float32([1e-8, 2e-8]))
    assert small_floats(np.array([0.0, 0.1])).dtype == np.float16


@pytest.mark.parametrize("variance", [1e-8, 1e-5, 1e-3, 1.0])
@pytest.mark.parametrize("batch_norm", ["folded", "whole"])
@pytest.mark.parametrize("own", [1e-10, 1e-5, 1e-3])
def test_batch_norms_compute_the_same_whatever_variance_and_epsilon(variance, batch_norm, own):
    rng = np.random.default_rng(0)
    norm = {name: rng.uniform(0.5, 2, 5) for name in ("weight", "bias", "running_mean", "running_var")}
    norm["running_var"] *= variance
    state = {f"bn.{name}": values for name, values in norm.items()}
    options = {"codes": {}, "codebooks": {}, "specification": {}, "batch_norm": batch_norm}
    found = decode(Compressed.from_state(state, epsilons={"bn": own}, **options).to_bytes()).decode()
    deviation = np.sqrt(norm["running_var"] + own)
    x = norm["running_mean"] + np.linspace(-2, 2, 9)[:, None] * deviation

    def output(s):
        return (x - s["bn.running_mean"]) / np.sqrt(s["bn.running_var"] + own) * s["bn.weight"] + s["bn.bias"]

    exact = {name: values.astype(np.float64) for name, values in found.items()}
    np.testing.assert_allclose(output(exact), output(state), atol=0.06)


def test_an_incomplete_norm_is_kept_as_it_is():
    state = {
        "n.weight": np.float32([0.5, 2]),
        "n.running_mean": np.float32([0.1, 1]),
        "n.running_var": np.float32([1, 3]),
    }
    found = Compressed.from_state(state, codes={}, codebooks={}, specification={}).decode()
    assert found.keys() == state.keys()
    np.testing.assert_array_equal(found["n.running_var"], state["n.running_var"])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {
                "codes": {"a": ScalarCode(np.zeros(2, int), "b", np.float32(1e30))},
                "codebooks": {"b": np.float32([1e30])},
            },
            "a: codebook 'b' times scales goes beyond float32",
        ),
        ({"batch_norm": {"bn": np.float32([[3e38], [0]])}}, "bn: its scale times"),
        ({"batch_norm": {"bn": np.float32([[1], [0], [0], [-1]])}}, "bn: has negative variances"),
    ],
)
def test_what_decodes_to_no_number_is_refused(parts, message):
    rest = {"codes": {}, "codebooks": {}, "dense": {}, "specification": {}, "original_parameters": 0}
    with pytest.raises(ValueError, match=message):
        Compressed(**{**rest, **parts})


def test_the_specification_cannot_be_changed():
    given = {"factory": "a", "arguments": {"widths": [8, 6]}}
    network = make(ScalarCode(np.array([0, 1]), "three"), specification=given)
    before = network.to_bytes()
    for change in (
        lambda s: s.update(factory="b"),
        lambda s: s["arguments"].pop("widths"),
        lambda s: s["arguments"].__setitem__("depth", 3),
        lambda s: s["arguments"]["widths"].append(3),
        lambda s: s["arguments"]["widths"].sort(),
    ):
        with pytest.raises(TypeError, match="cannot be changed"):
            change(network.specification)
    given["arguments"]["widths"].append(9)
    assert network.specification == {"factory": "a", "arguments": {"widths": [8, 6]}}
    assert dataclasses.replace(network).to_bytes() == before
    own = copy.deepcopy(network.specification)
    own["arguments"]["widths"].append(3)  # a copy is a plain dict
    assert json.loads(json.dumps(network.specification)) == network.specification


def test_grids_of_any_depth_and_size_come_back():
    codes = {
        "deep": GridCode(np.array([[-(2**15), 2**15 - 1, 0]] * 2), np.array([16, 16]), np.array([-3, 0])),
        "none": GridCode(np.zeros((0, 3), int), np.zeros(0, int), np.zeros(0, int)),
        "scaled": ScalarCode(np.array(1), "three", np.float16(0.5)),
    }
    network = Compressed(codes=codes, codebooks=BOOKS, dense={}, specification={}, original_parameters=0)
    found = decode(network.to_bytes()).decode()
    assert found["deep"].tolist() == [[-4096, 4095.875, 0], [-(2**15), 2**15 - 1, 0]]
    assert found["none"].shape == (0, 3)
    assert found["scaled"].shape == () and found["scaled"] == 0
    for code in (
        lambda: GridCode(np.array(0), np.array(1), np.array(0)),
        lambda: VectorCode(np.array([0]), "pairs", ()),
        lambda: SparseCode(np.array(True), ScalarCode(np.array([0]), "three")),
    ):
        with pytest.raises(ValueError, match="needs an axis"):
            code()


@pytest.mark.parametrize("mantissa", [10, 3])
def test_whole_numbers_that_are_kept_as_floats_are_not_rounded(mantissa):
    places = {"places": np.arange(2049, 2069, 2, dtype=np.float32), "few": np.float32([129, 131])}
    parts = {"codes": {}, "codebooks": {}, "specification": {}, "mantissa": mantissa}
    again = decode(Compressed.from_state(places, **parts).to_bytes()).decode()
    assert all(again[name].tolist() == places[name].tolist() for name in places)
    with pytest.raises(ValueError, match=r"^places: whole numbers beyond"):
        Compressed.from_state({"places": np.float64([2**24 + 1])}, **parts)


def test_counters_of_norms_alone_are_left_out():
    state = {"norm.running_var": np.ones(2, np.float32), "norm.num_batches_tracked": np.array(7)}
    mine = {"mine.num_batches_tracked": np.array(5), "n_averaged": np.array(6)}
    found = Compressed.from_state(state | mine, codes={}, codebooks={}, specification={}).dense
    assert found.keys() == {"norm.running_var", *mine} and found["mine.num_batches_tracked"] == 5
