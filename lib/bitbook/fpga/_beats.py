"""The stream of a layer: which codes a unit takes in which beat."""

from dataclasses import dataclass

import numpy as np

from ._unit import Unit

GAP = 4  # bits of a sparse code's distance to the one before it in its lane, as in EIE (arXiv 1602.01528)


@dataclass(frozen=True, eq=False)
class Beats:
    """The beats of one matrix for one unit.

    codes: (T, P * S) codes or weights. last: (T,) bool, the ends of groups of rows. enable: (T, P * S) bool, whether a
    lane has a code. columns: (T, P * S) the words of activations that they are for, of a sparse unit. groups: (G,)
    beats of each group.
    """

    codes: np.ndarray
    last: np.ndarray
    enable: np.ndarray
    columns: np.ndarray
    groups: np.ndarray


def words(unit: Unit, columns: int) -> int:
    """Return the words of activations that a vector of so many columns takes, S * d to a word."""
    return -(-columns // (unit.inputs * unit.dimension))


def _lanes(unit: Unit, codes: np.ndarray) -> np.ndarray:
    """Return (G, P, words, S) from (rows, columns / d), filled up with zeros."""
    rows, columns = -(-codes.shape[0] // unit.rows), words(unit, codes.shape[1] * unit.dimension)
    padded = np.zeros((rows * unit.rows, columns * unit.inputs), codes.dtype)
    padded[: codes.shape[0], : codes.shape[1]] = codes
    return padded.reshape(rows, unit.rows, columns, unit.inputs)


def row_beats(left: np.ndarray, inputs: int) -> np.ndarray:
    """Return the beats of each row of a sparse unit, (rows,): its fullest lane's codes and fillers.

    left: (rows, columns / d) bool, which codes are not zero. A lane holds every S-th code of its row; a gap of 2**GAP
    words or more takes fillers. inputs: S.
    """
    rows, columns = left.shape
    padded = np.zeros((rows, -(-columns // inputs) * inputs), bool)
    padded[:, :columns] = left
    row, lane, word = np.nonzero(padded.reshape(rows, -1, inputs).swapaxes(1, 2))
    lane += row * inputs
    gaps = np.where(np.diff(lane, prepend=-1) == 0, np.diff(word, prepend=0) - 1, word)  # words skipped
    return np.bincount(lane, 1 + (gaps >> GAP), rows * inputs).reshape(rows, inputs).max(1).astype(int)


def sparse_groups(unit: Unit, beats: np.ndarray) -> np.ndarray:
    """Return the beats of each group of a sparse unit, (G,), from those of its rows: all wait for the fullest."""
    padded = np.zeros(-(-len(beats) // unit.rows) * unit.rows, int)
    padded[: len(beats)] = beats
    return np.maximum(padded.reshape(-1, unit.rows).max(1), 1)


def beats(unit: Unit, codes: np.ndarray, *, left: np.ndarray | None = None) -> Beats:
    """Lay the codes of a matrix out for a unit.

    Args:
        unit: The unit; its depth must hold the vector.
        codes: (rows, columns / d) whole numbers: codes, or weights where the unit takes them as they are.
        left: In the same shape, which codes are not zero; for a sparse unit.
    """
    if (needed := words(unit, codes.shape[1] * unit.dimension)) > unit.depth:
        raise ValueError(f"the vector takes {needed} words of activations, and the unit holds {unit.depth}")
    lanes = _lanes(unit, codes)
    if not unit.sparse:
        count, size = lanes.shape[0], lanes.shape[2]
        flat = lanes.transpose(0, 2, 1, 3).reshape(count * size, -1)
        last = np.arange(count * size) % size == size - 1
        return Beats(flat, last, np.ones_like(flat, bool), np.zeros_like(flat), np.full(count, size))
    present = _lanes(unit, codes if left is None else left).astype(bool)
    groups = sparse_groups(unit, row_beats(codes.astype(bool) if left is None else left, unit.inputs))
    shape = (int(groups.sum()), unit.rows * unit.inputs)
    flat, enable, columns = np.zeros(shape, codes.dtype), np.zeros(shape, bool), np.zeros(shape, np.int64)
    starts = np.cumsum(groups) - groups
    for group, start in enumerate(starts.tolist()):
        for p in range(unit.rows):
            for s in range(unit.inputs):
                beat, previous, lane = start, -1, p * unit.inputs + s
                for word in np.flatnonzero(present[group, p, :, s]).tolist():
                    beat += (word - previous - 1) >> GAP  # fillers: the lane rests
                    flat[beat, lane], columns[beat, lane], enable[beat, lane] = lanes[group, p, word, s], word, True
                    beat, previous = beat + 1, word
    last = np.zeros(shape[0], bool)
    last[starts + groups - 1] = True
    return Beats(flat, last, enable, columns, groups)
