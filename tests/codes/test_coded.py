"""Coded, over every family of codes: counts against the symbols themselves, and dropping what is unused."""

import numpy as np
import pytest
from bitbook.codes import Coded, GridCode, ScalarCode, SparseCode, VectorCode, entropy_bits


def test_codes_that_share_a_codebook_are_counted_together():
    book = np.float16([-1, 0, 1, 2])
    codes = {"a": ScalarCode(np.array([[0, 1], [1, 1]]), "book"), "b": ScalarCode(np.array([3, 1]), "book")}
    found = Coded(codes, {"book": book, "idle": book})
    assert found.counts()["book"].tolist() == [1, 4, 0, 1] and list(found.counts()) == ["book"]
    assert found.entropy() == pytest.approx(-2 * np.log2(1 / 6) - 4 * np.log2(4 / 6))
    small = found.without_unused()
    assert {name: values.tolist() for name, values in small.codebooks.items()} == {"book": [-1, 0, 2]}
    assert small.codes["b"].indices.tolist() == [2, 1]


def test_a_sparse_code_counts_its_positions_and_what_is_left():
    positions = np.array([[True, False, False], [False, True, True]])
    code = SparseCode(positions, ScalarCode(np.array([0, 2, 2]), "book"))
    counts = Coded({"a": code}, {"book": np.float16([-1, 1, 2])}).counts()
    assert {name: table.tolist() for name, table in counts.items()} == {"book": [1, 0, 2], "positions left": [3, 3]}


def test_a_grid_code_counts_by_depth():
    code = GridCode(np.array([[1, -2], [0, 0], [-2, 1], [3, -4]]), np.array([2, 0, 2, 3]), np.array([-1, 0, -2, 0]))
    counts = Coded({"a": code}, {}).counts()
    expected = {"depth 2": [2, 0, 0, 2], "depth 3": [1, 0, 0, 0, 0, 0, 0, 1]}
    assert {name: table.tolist() for name, table in counts.items()} == expected


def test_codewords_are_counted_once_each():
    code = VectorCode(np.array([[0, 2], [2, 2]]), "words", (2, 2, 2))
    assert Coded({"a": code}, {"words": np.ones((4, 2), np.float16)}).counts()["words"].tolist() == [1, 0, 3, 0]


def test_without_unused_entries_the_weights_are_the_same(compressed):
    doubled = {name: np.repeat(book, 2, axis=0) for name, book in compressed.codebooks.items()}
    before = Coded(compressed.codes, doubled)
    after = before.without_unused()
    assert len(after.codebooks) == len(before.codebooks)
    assert all(len(book) < len(before.codebooks[name]) for name, book in after.codebooks.items())
    assert all((counts > 0).all() for name, counts in after.counts().items() if name in after.codebooks)
    assert after.entropy() == pytest.approx(before.entropy())
    for name, weights in before.decode().items():
        np.testing.assert_array_equal(after.decode()[name], weights)


def test_every_symbol_is_counted_once(compressed):
    found = Coded(compressed.codes, compressed.codebooks)
    symbols = {"ScalarCode": "indices", "VectorCode": "indices"}
    total = 0
    for code in found.codes.values():
        if isinstance(code, SparseCode):
            total, code = total + code.positions.size, code.inner
        if isinstance(code, GridCode):
            total += int((code.values.reshape(len(code.depths), -1).shape[1] * (code.depths > 0)).sum())
        else:
            total += getattr(code, symbols[type(code).__name__]).size
    assert sum(int(counts.sum()) for counts in found.counts().values()) == total
    assert found.entropy() == sum(entropy_bits(counts) for counts in found.counts().values())


def test_codes_by_layer_use_ascending_values_without_those_that_no_weight_has():
    indices, values = np.array([[0, 3], [1, 3]]), np.array([2.0, -1.0, 7.0, 0.5])
    found = Coded.by_layer({"a": (indices, values)})
    assert found.codebooks["a"].tolist() == [-1, 0.5, 2] and found.codebooks["a"].dtype == np.float16
    assert found.codes["a"].indices.tolist() == [[2, 1], [0, 1]]
