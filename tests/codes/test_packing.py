"""Packed indices against one big whole number."""

import numpy as np
import pytest
from bitbook.codes._arrays import CHUNK, fixed_bits, pack, packed_bytes, unpack
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(0, 32), st.integers(0, 60), st.integers(0, 9))
def test_packed_bytes_are_one_big_number(bits, count, seed):
    indices = np.random.default_rng(seed).integers(0, 1 << bits, count, dtype=np.uint64)
    number = sum(int(index) << bits * i for i, index in enumerate(indices))
    data = pack(indices, bits)
    assert data == number.to_bytes(packed_bytes(count, bits), "little")
    np.testing.assert_array_equal(unpack(data, count, bits), indices)


def test_more_than_a_chunk_comes_back():
    indices = np.random.default_rng(0).integers(0, 7, CHUNK + 13).astype(np.uint8)
    data = pack(indices, 3)
    assert len(data) == packed_bytes(len(indices), 3)
    np.testing.assert_array_equal(unpack(data, len(indices), 3), indices)


@pytest.mark.parametrize(("values", "bits"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (np.int64(257), 9)])
def test_fixed_bits(values, bits):
    assert fixed_bits(values) == bits
