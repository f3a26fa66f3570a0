"""Compressed refuses what does not fit together, folds batch norms, and cannot be changed."""

import dataclasses

import numpy as np
import pytest
from bitbook import Compressed, GridCode, ScalarCode, SparseCode, VectorCode
from bitbook.codes import coded_bytes

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
