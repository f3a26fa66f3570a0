"""Positions come back in each of the four ways, and each is chosen where it is smallest."""

import numpy as np
import pytest
from bitbook.codes._sections import LENGTH_BYTES, Reader, Writer
from bitbook.codes._sparse import read_positions, write_positions

RNG = np.random.default_rng(0)
CLUSTERED = np.repeat(RNG.random(60) < 0.5, RNG.integers(300, 900, 60))  # a vector: no neighbours to learn from
FAR = np.zeros(300_000, bool)
FAR[::3000] = True  # always the same distance

CASES = {
    "bitmap": (RNG.random((40, 30, 3, 3)) < 0.3, 0),
    "distances": (FAR, 1),
    "runs": (CLUSTERED, 2),
    "runs from a one": (~CLUSTERED, 2),
    "empty": (np.zeros((0, 4), bool), 0),
    "none": (np.zeros((50, 60), bool), None),
    "all": (np.ones((50, 60), bool), None),
}


@pytest.mark.parametrize("case", CASES)
def test_positions_come_back(case):
    positions, way = CASES[case]
    writer = Writer()
    write_positions(positions, writer)
    data = writer.finish()[0]
    assert way is None or data[LENGTH_BYTES] == way
    reader = Reader(data, positions.size)
    np.testing.assert_array_equal(read_positions(positions.shape, reader), positions)
    reader.finish()


def test_dead_rows_and_columns_cost_little():
    """Where half of the units on both sides are dead, contexts find it out: far below the entropy of a bitmap."""
    rng = np.random.default_rng(1)
    positions = (rng.random((200, 300)) < 0.2) & (rng.random((200, 1)) < 0.5) & (rng.random((1, 300)) < 0.5)
    share = positions.mean()
    entropy = -positions.size * (share * np.log2(share) + (1 - share) * np.log2(1 - share)) / 8
    writer = Writer()
    write_positions(positions, writer)
    assert len(writer.finish()[0]) < 0.8 * entropy


def test_a_far_emptier_tensor_starts_a_model_of_its_own():
    rng = np.random.default_rng(2)
    writer, tensors = Writer(), {"full": rng.random((60, 70)) < 0.3, "empty": rng.random((100, 120)) < 0.01}
    for writer.section, positions in tensors.items():
        write_positions(positions, writer)
    data, rows = writer.finish()
    assert bytes([3]) in [data[LENGTH_BYTES + i : LENGTH_BYTES + i + 1] for i in range(4)]
    share = tensors["empty"].mean()
    entropy = -12_000 * (share * np.log2(share) + (1 - share) * np.log2(1 - share)) / 8
    assert sum(row.bytes for row in rows if row.section == "empty") < entropy + 16
    reader = Reader(data, 20_000)
    for reader.section, positions in tensors.items():
        np.testing.assert_array_equal(read_positions(positions.shape, reader), positions)
    reader.finish()
