"""The coder against exact arithmetic, and its sizes against entropy."""

import numpy as np
import pytest
from bitbook.codes._entropy import Alphabet, Coder, entropy_bits
from bitbook.codes._model import PRECISION, Model, in_steps
from bitbook.codes._prediction import FRACTION, OFFSETS, ONE, correlations, factors, solve
from bitbook.codes._sections import LENGTH_BYTES, Reader, Writer
from hypothesis import given, settings
from hypothesis import strategies as st


def write(indices, alphabet, mask=None) -> bytes:
    writer = Writer()
    writer.symbols("codes", indices, alphabet, mask)
    return writer.finish()[0]


class WholeNumbers(Coder):
    """A decoder of the stream in Python's whole numbers: a 64-bit state, 32-bit words, no float anywhere."""

    def __init__(self, words):
        self.words, self.state = [int(word) for word in words], 0
        while self.words and self.state < 1 << 32:
            self.state = self.state << 32 | self.words.pop()

    def transfer(self, frequencies, sizes, known):
        symbols = []
        for row, size in zip(frequencies.tolist(), sizes.tolist(), strict=True):
            for _ in range(size):
                place, start, symbol = self.state & (1 << PRECISION) - 1, 0, 0
                while start + row[symbol] + 1 <= place:
                    start += row[symbol] + 1
                    symbol += 1
                self.state = (self.state >> PRECISION) * (row[symbol] + 1) + place - start
                if self.state < 1 << 32 and self.words:
                    self.state = self.state << 32 | self.words.pop()
                symbols.append(symbol)
        return np.array(symbols)

    def left(self):
        return len(self.words)

    def is_empty(self):
        return self.state == 0 and not self.words


@pytest.mark.parametrize("seed", range(3))
def test_no_float_decides_a_decode(make_weights, seed):
    rng = np.random.default_rng(seed)
    indices = np.clip(np.rint(make_weights(rng, 12, 10, 3, 3) * 3) + 15, 0, 30).astype(int)
    alphabet = Alphabet(31, "a", np.arange(31) - 15)
    data = write(indices, alphabet)
    reader = Reader(data, 10**6)
    start = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "little")
    reader._source = WholeNumbers(np.frombuffer(data, "<u4", offset=start))
    np.testing.assert_array_equal(reader.symbols("codes", indices.shape, alphabet), indices)
    reader.finish()


@pytest.mark.parametrize("count", [10_000, 200_000])
@pytest.mark.parametrize("k", [2, 16, 256, 4096])
@pytest.mark.parametrize("kind", ["laplace", "uniform", "zipf", "rare"])
def test_coded_size_is_near_entropy_with_nothing_left_out(count, k, kind):
    rng = np.random.default_rng(k)
    indices = {
        "laplace": lambda: np.clip(np.rint(rng.laplace(size=count) * k / 12 + k / 2), 0, k - 1).astype(int),
        "uniform": lambda: rng.integers(0, k, count),
        "zipf": lambda: np.minimum(rng.zipf(1.3, count) - 1, k - 1),
        "rare": lambda: np.where(rng.random(count) < 0.02, rng.integers(0, k, count), k // 2),
    }[kind]()
    counts = np.bincount(indices, minlength=k)
    allowed = 1.01 * entropy_bits(counts) / 8 + 64 + 2 * np.count_nonzero(counts)
    assert len(write(indices, Alphabet(k, "a"))) <= allowed
    if k <= 256:
        assert len(write(indices.reshape(100, -1), Alphabet(k, "a", np.arange(k) - k // 2))) <= allowed


def test_structure_takes_the_size_below_entropy(make_weights):
    indices = np.clip(np.rint(make_weights(np.random.default_rng(0), 64, 64, 3, 3) * 3) + 30, 0, 60).astype(int)
    bound = entropy_bits(np.bincount(indices.ravel())) / 8
    assert len(write(indices, Alphabet(61, "a", np.arange(61) - 30))) < 0.98 * bound


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_tensor_comes_back(data):
    shape = tuple(data.draw(st.lists(st.integers(0, 9), max_size=4)))
    k = data.draw(st.sampled_from([1, 2, 3, 17, 256, 300, 70_000]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    indices = np.minimum(rng.geometric(data.draw(st.floats(0.01, 1)), shape) - 1, k - 1)
    mask = rng.random(shape) < 0.5 if data.draw(st.booleans()) and shape else None
    values = rng.integers(-50, 50, k) if data.draw(st.booleans()) else None
    reader = Reader(write(indices, Alphabet(k, "a", values), mask), 10**6)
    found = reader.symbols("codes", shape, Alphabet(k, "a", values), mask)
    np.testing.assert_array_equal(found, indices if mask is None else indices[mask])
    reader.finish()


@pytest.mark.parametrize("k", [2, 47, 65_536])
def test_frequencies_are_whole_and_sum_to_a_power_of_two(k):
    model = Model(k, in_steps(np.arange(k) - k // 3))
    rows = model.rows(np.array([0, 5, 700, 1200]))
    for _ in range(3):
        model.learn(rows, np.random.default_rng(0).integers(0, 2**20, (4, k)))
        frequencies = model.frequencies(rows)
        assert frequencies.dtype == np.int32 and frequencies.min() >= 0
        np.testing.assert_array_equal((frequencies + 1).sum(1), 1 << PRECISION)


def test_factors_solve_the_normal_equations(make_weights):
    planes = np.rint(16 * make_weights(np.random.default_rng(1), 40, 30, 3, 3)).astype(int)
    found = correlations(planes.transpose(2, 3, 0, 1).reshape(9, 40, 30), (3, 3))
    assert found[0] > ONE // 4  # horizontal neighbours were made alike
    known = {(0, 0): ONE + 2, **dict(zip(OFFSETS, found, strict=True))}
    related = np.array([[known[abs(a // 3 - b // 3), abs(a % 3 - b % 3)] for b in range(9)] for a in range(9)])
    for place, rule in enumerate(factors(found, (3, 3))):
        expected = np.linalg.solve(related[:place, :place], related[:place, place])
        ours = np.zeros(place)
        for earlier, factor in rule:
            ours[earlier] = factor / 2**FRACTION
        np.testing.assert_allclose(ours, expected, atol=0.5 / 2**FRACTION + 1e-9)


def test_equations_without_a_solution_predict_nothing():
    assert solve([[1, 1], [1, 1]], [1, 0]) == [0, 0]
    assert solve([[4, 0], [0, -8]], [4, 4]) == [1 << FRACTION, -(1 << FRACTION) // 2]


def test_entropy_of_a_fair_coin_is_one_bit():
    assert entropy_bits(np.array([5, 0, 5])) == 10
