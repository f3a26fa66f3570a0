"""Cycles of a matrix-vector unit, equal to its simulation's: the streams, the two banks and the pipeline."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Self

import numpy as np


class Memory:
    """In which cycles a stream can deliver a beat.

    A pattern repeats; a rate is the beats that a cycle brings on average, evenly spread.
    """

    def __init__(self, pattern: Sequence[bool] | np.ndarray = (True,)):
        if not any(pattern):
            raise ValueError("a memory that never delivers starves the unit")
        self.period = len(pattern)
        self.open = np.flatnonzero(pattern).tolist()
        self.pattern = np.asarray(pattern, bool)
        self.before = np.concatenate([[0], np.cumsum(self.pattern)]).tolist()

    @classmethod
    def of_rate(cls, rate: Fraction) -> Self:
        """Return the memory that delivers so many beats a cycle, at most one."""
        if rate >= 1:
            return cls()
        rate = rate.limit_denominator(1024) or Fraction(1, 1024)
        cycles = np.arange(1, rate.denominator + 1)
        return cls((cycles * rate.numerator) // rate.denominator > ((cycles - 1) * rate.numerator) // rate.denominator)

    def arrival(self, start: int, count: int) -> int:
        """Return the cycle of the last of `count` beats taken from cycle `start` on, as fast as they come."""
        periods, rest = divmod(start, self.period)
        rank = periods * len(self.open) + self.before[rest] + count - 1
        periods, rest = divmod(rank, len(self.open))
        return periods * self.period + self.open[rest]


def cycles(
    groups: Sequence[int], *, load: int, drain: int, pipeline: int = 2, vectors: int = 1, memory: Memory | None = None
) -> int:
    """Return the cycles from the first word of activations to the last result.

    Args:
        groups: Beats of each group of rows.
        load: Words of activations of a vector, loaded one a cycle while the vector before is used.
        drain: Cycles in which a group's accumulators are multiplied; 0 for a dense unit.
        pipeline: See Unit.
        vectors: Vectors, one after the other, each with all groups.
        memory: When the stream of codes delivers; by default always.
    """
    memory = memory or Memory()
    if memory.period == 1 and vectors > 3:  # without stalls each vector takes as long as the one before (tested)
        two, three = (cycles(groups, load=load, drain=drain, pipeline=pipeline, vectors=count) for count in (2, 3))
        return three + (vectors - 3) * (three - two)
    loaded = end = drained = -1  # the last cycles of the last load, of the last beat, of the last drain
    ends, drains = [-1, -1], [-1, -1]  # of vectors; of groups
    for _ in range(vectors):
        loaded = max(loaded, ends[-2]) + load
        for number, beats in enumerate(groups):
            start = max(end + 1, drains[-2])  # a bank takes its first beat in the last cycle of its drain
            if not number:
                start = max(start, loaded + 1)
            end = memory.arrival(start, beats)
            drained = max(end + 2, drained + 1) + drain - 1
            drains = [drains[-1], drained]
        ends = [ends[-1], end]
    return drained + 1 + pipeline
