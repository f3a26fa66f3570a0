"""Frequencies of symbols in each context, learnt from what has been coded so far, in whole numbers only.

Encoder and decoder learn alike, so a file holds no tables. A context is a level of expected magnitude and a bucket of
the predicted value; its prior is a two-sided geometric distribution around that value, cut to the codebook's values.
"""

import math
from functools import cache
from typing import Self

import numpy as np

PRECISION = 24  # a model's frequencies sum to 2**PRECISION
STEP = 16  # whole values are in units of 1/STEP of the usual gap between neighbours
FINE = 16  # magnitudes are in units of 1/FINE of that
MEANS = 25  # buckets of the predicted value; the middle one is around 0
FLAT = 0  # the context in which nothing is known
UNIT = 64  # weight of one seen symbol
PRIOR = 40 * UNIT  # weight of a context's prior
FLAT_PRIOR = 64 * UNIT  # weight of the prior of FLAT, but not more than UNIT // 8 for a symbol
MAX_ALPHABET = 1 << 16
MAX_CELLS = 1 << 23  # weights of a model, contexts times alphabet: bounds its memory

# Lower ends of the levels of magnitude: four to an octave.
_LEVELS = np.array([0, 1, 2, 3] + [(4 + part) << octave for octave in range(16) for part in range(4)] + [1 << 18])
LEVEL_OF = np.repeat(np.arange(len(_LEVELS) - 1), np.diff(_LEVELS)).astype(np.int16)  # magnitude -> level
_TWICE = _LEVELS[:-1] + _LEVELS[1:]  # (levels,) twice the middle magnitude
_WIDTHS = np.maximum(STEP // 4, _TWICE // (8 * FINE))  # (levels,) width of a bucket of the predicted value
_PER_VALUE = ((1 << 14) // _WIDTHS).astype(np.int32)  # (levels,) buckets for each 1 << 14 of predicted value
CONTEXTS = 1 + MEANS * len(_WIDTHS)


def _root16(number: int) -> int:
    return math.isqrt(math.isqrt(math.isqrt(math.isqrt(number))))


_POWERS = np.array([_root16(2 ** (320 - i)) for i in range(16)])  # 2**20 * 2**(-i/16)


def bucket(mean: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return the bucket, -(MEANS // 2)..MEANS // 2 as int16, of predicted values (int32) at their levels."""
    scaled = np.clip(mean, -(1 << 16), 1 << 16) * _PER_VALUE.take(level)  # below 2**29
    return np.clip(scaled + (1 << 13) >> 14, -(MEANS // 2), MEANS // 2).astype(np.int16)


@cache
def _decay(level: int) -> int:
    """Return 1024 * log2(1/q) for the geometric distribution q**|steps| with the level's mean magnitude."""
    magnitude, one = int(_TWICE[level]), 2 * STEP * FINE
    return ((one + math.isqrt(one**2 + magnitude**2)) ** 1024 // magnitude**1024).bit_length() - 1


def exact(values: np.ndarray) -> np.ndarray:
    """Return floats of any shape as whole numbers, all scaled by the same power of two: alike on every machine."""
    exponent = int(np.frexp(np.abs(values).max(initial=0))[1])
    return np.rint(np.ldexp(values.astype(np.float64), 40 - exponent)).astype(np.int64)


def in_steps(values: np.ndarray) -> np.ndarray:
    """Return whole numbers (k,) in units of 1/STEP of the usual gap between neighbours, (k,) whole numbers again."""
    gaps = np.sort(np.diff(np.unique(values)))
    gap = int(gaps[len(gaps) // 2]) if len(gaps) else 1
    return np.clip((values * STEP + gap // 2) // gap, -(1 << 14), 1 << 14)


class ModelFull(ValueError):
    """So many symbols in so many contexts would take more memory than the weights; the encoder does without."""


class Model:
    """Weights of `alphabet` symbols in every context met so far; values (alphabet,) are whole numbers, or None."""

    def __init__(self, alphabet: int, values: np.ndarray | None = None) -> None:
        self.alphabet, self.values = alphabet, values
        self._rows = np.full(CONTEXTS, -1)  # context -> row of weights
        self._weights = np.zeros((0, alphabet), np.int64)
        self._used = 0
        if values is not None:
            order = np.argsort(values, kind="stable")
            around = np.concatenate([values[order[:1]], values[order], values[order[-1:]]])
            self._widths = np.empty(alphabet, np.int64)  # of the interval that belongs to each value
            self._widths[order] = np.maximum(around[2:] - around[:-2], 1)

    @property
    def cells(self) -> int:
        """Weights kept, contexts times alphabet."""
        return self._used * self.alphabet

    def copy(self) -> Self:
        """Return a model that learns on its own from here on."""
        twin = object.__new__(type(self))
        twin.__dict__ = {**self.__dict__, "_rows": self._rows.copy(), "_weights": self._weights[: self._used].copy()}
        return twin

    def rows(self, contexts: np.ndarray) -> np.ndarray:
        """Return the rows of distinct contexts; new ones start from their prior."""
        new = contexts[self._rows[contexts] < 0]
        if len(new):
            end = self._used + len(new)
            if end * self.alphabet > MAX_CELLS:
                raise ModelFull(f"{self.alphabet} symbols in {end} contexts are too many")
            if end > len(self._weights):
                grown = np.zeros((2 * end, self.alphabet), np.int64)
                grown[: self._used] = self._weights[: self._used]
                self._weights = grown
            self._rows[new] = np.arange(self._used, end)
            self._weights[self._used : end] = [self._prior(int(context)) for context in new]
            self._used = end
        return self._rows[contexts]

    def _prior(self, context: int) -> np.ndarray:
        if context == FLAT:
            return np.full(self.alphabet, max(1, min(UNIT // 8, FLAT_PRIOR // self.alphabet)))
        level, mean = divmod(context - 1, MEANS)
        distance = np.abs(self.values - (mean - MEANS // 2) * _WIDTHS[level])  # (k,)
        halvings = distance * _decay(level) // STEP  # (k,) in 1/1024
        halvings -= halvings.min()
        weights = self._widths * (_POWERS[halvings >> 6 & 15] >> np.minimum(halvings >> 10, 40))
        return 1 + weights * PRIOR // weights.sum()

    def frequencies(self, rows: np.ndarray) -> np.ndarray:
        """Return (len(rows), alphabet) whole numbers; those of a row sum to 2**PRECISION - alphabet.

        The coder adds one to each, so that every symbol can be coded.
        """
        weights = self._weights[rows]
        total = (1 << PRECISION) - self.alphabet
        frequencies = weights * total // weights.sum(1, keepdims=True)
        frequencies[np.arange(len(rows)), weights.argmax(1)] += total - frequencies.sum(1)
        return frequencies.astype(np.int32)

    def learn(self, rows: np.ndarray, counts: np.ndarray) -> None:
        """Add the counts (len(rows), alphabet) of symbols just coded."""
        self._weights[rows] += UNIT * counts
        while (full := self._weights[rows].sum(1) >> 38 > 0).any():  # keeps frequencies within 64 bits
            self._weights[rows[full]] = (self._weights[rows[full]] + 1) >> 1
