"""Huffman totals against textbook cases and the bounds of Shannon."""

import itertools

import numpy as np
from bitbook.codes import entropy_bits, huffman_bits
from hypothesis import given
from hypothesis import strategies as st


def test_textbook_case():
    assert huffman_bits([45, 13, 12, 16, 9, 5]) == 224  # Cormen et al., Introduction to Algorithms


def test_one_symbol_and_none():
    assert huffman_bits([0, 7, 0]) == 7
    assert huffman_bits([0, 0]) == 0


@given(st.lists(st.integers(1, 50), min_size=2, max_size=5))
def test_optimal_among_all_prefix_codes(counts):
    n = len(counts)
    lengths = itertools.product(range(1, n), repeat=n) if n > 2 else [(1, 1)]
    best = min(np.dot(counts, tree) for tree in lengths if sum(2.0**-length for length in tree) <= 1)
    assert huffman_bits(counts) == best
    assert entropy_bits(np.array(counts)) <= huffman_bits(counts) + 1e-9 < entropy_bits(np.array(counts)) + sum(counts)
