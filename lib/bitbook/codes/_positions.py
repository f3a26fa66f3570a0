"""Positions of a sparse tensor's weights: a bitmap, distances or run lengths, whichever is smallest once coded."""

import math

import numpy as np

from ._entropy import Alphabet
from ._sections import Reader, Writer

MORE = 255  # the symbol of lengths that says: 255 more, and it goes on
BITMAP = Alphabet(2, "bitmap", np.arange(2))


def write_positions(positions: np.ndarray, writer: Writer) -> None:
    """Write a bool tensor in the smallest of the three forms."""
    flat = positions.ravel()
    distances = np.diff(np.flatnonzero(flat), prepend=-1) - 1  # zeros before each position (Han et al. 2016)
    edges = np.flatnonzero(np.diff(flat, prepend=False, append=not flat[-1:].any()))
    runs = np.diff(edges, prepend=0)  # of zeros, of ones, of zeros, ...
    writer.choose(
        [
            lambda fork: fork.symbols("positions", positions.view(np.uint8), BITMAP),
            lambda fork: _write_lengths(distances, "distances", fork),
            lambda fork: (_write_lengths(runs[::2], "zeros", fork), _write_lengths(runs[1::2], "ones", fork)),
        ]
    )


def read_positions(shape: tuple[int, ...], reader: Reader) -> np.ndarray:
    """Return the bool tensor that was written."""
    size, form = math.prod(shape), reader.choice()
    if form == 0:
        return reader.symbols("positions", shape, BITMAP).view(np.bool_)
    if form == 1:
        steps = _read_lengths("distances", size, reader)
        steps += 1
        reader.require(steps.sum(dtype=np.int64) <= size, "its positions lie outside the tensor")
        flat = np.zeros(size, np.bool_)
        flat[np.cumsum(steps, out=steps) - 1] = True
        return flat.reshape(shape)
    reader.require(form == 2, f"form {form} of positions is unknown")
    zeros, ones = _read_lengths("zeros", size + 1, reader), _read_lengths("ones", size + 1, reader)
    reader.require(len(zeros) - len(ones) in (0, 1), "its runs do not alternate")
    reader.require(len(zeros) + len(ones) <= size + 1, "has more runs than weights")
    runs, kinds = np.zeros(len(zeros) + len(ones), zeros.dtype), np.zeros(len(zeros) + len(ones), np.bool_)
    runs[::2], runs[1::2], kinds[1::2] = zeros, ones, True
    reader.require(runs.sum(dtype=np.int64) == size, "its runs do not fill the tensor")
    return np.repeat(kinds, runs).reshape(shape)


def _write_lengths(lengths: np.ndarray, model: str, writer: Writer) -> None:
    symbols = np.full(int((lengths // MORE + 1).sum()), MORE, np.uint8)
    symbols[np.cumsum(lengths // MORE + 1) - 1] = lengths % MORE
    writer.number("positions", len(symbols))
    writer.symbols("positions", symbols, Alphabet(MORE + 1, model))


def _read_lengths(model: str, limit: int, reader: Reader) -> np.ndarray:
    count = reader.number("positions")
    reader.require(count <= limit, "holds more runs or distances than weights")
    symbols = reader.symbols("positions", (count,), Alphabet(MORE + 1, model))
    reader.require(not count or symbols[-1] != MORE, "its last length is cut off")
    reader.require(int(symbols.sum(dtype=np.int64)) <= limit, "its lengths go beyond the tensor")
    ends = np.cumsum(symbols, dtype=np.int32 if limit < 2**31 else np.int64)[symbols != MORE]
    ends[1:] -= ends[:-1].copy()
    return ends
