"""Entropy coding of indices: symbols go through learning models into one ANS stream of constriction's.

A model's frequencies are whole numbers that sum to 2**24 - k for k symbols; constriction adds one to each, so that it
scales by exactly 1 and no rounding of floats takes part.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass

import constriction
import numpy as np

from ._arrays import smallest_unsigned
from ._context import Field, flat_blocks
from ._model import CONTEXTS, PRECISION, Model, in_steps

STEP = 1 << 13  # work of coding a block, however small


@dataclass(frozen=True)
class Alphabet:
    """What symbols below `size` mean.

    model: sections that name the same model learn from each other. values: (size,) whole numbers that the
    symbols stand for, on any scale; None where neighbours say nothing about each other.
    """

    size: int
    model: Hashable
    values: np.ndarray | None = None

    def fresh_model(self) -> Model:
        """Return a model that has seen nothing."""
        return Model(self.size, None if self.values is None else in_steps(self.values))


def entropy_bits(counts: np.ndarray) -> float:
    """Return the zero-order entropy of symbols with these counts, in bits for all of them together."""
    counts = np.asarray(counts, np.float64)
    used = counts[counts > 0]
    return float((used * (np.log2(max(used.sum(), 1)) - np.log2(used))).sum())


class Coder(ABC):
    """Moves symbols through a model; `transfer` of the subclasses takes them to or from the stream.

    work: what the symbols so far took: one each, one for each frequency computed, STEP for each step; and predictions.
    """

    model: Model
    work: int = 0
    max_work: float = math.inf

    @abstractmethod
    def transfer(self, frequencies: np.ndarray, sizes: np.ndarray, known: np.ndarray | None) -> np.ndarray:
        """Code sizes[i] symbols with frequencies[i], for each i in turn; return them all."""

    def flat(self, count: int, known: np.ndarray | None = None) -> np.ndarray:
        """Code `count` symbols without contexts, `known` when encoding; return them."""
        symbols = np.empty(count, smallest_unsigned(self.model.alphabet))
        for part in flat_blocks(count):
            contexts = np.zeros(part.stop - part.start, np.int16)
            symbols[part] = self._exchange(contexts, None if known is None else known[part])
        return symbols

    def spatial(self, field: Field, known: np.ndarray | None = None) -> np.ndarray:
        """Code the symbols of a tensor in their contexts; they are planes (kh * kw, out, in), `known` when encoding."""
        symbols = np.zeros((field.places, field.out, field.inputs), smallest_unsigned(self.model.alphabet))
        self.work += field.work
        for block in field.blocks():
            contexts = field.contexts(block)
            if not len(contexts):
                continue  # all of the block is outside the mask
            here = ... if field.mask is None else field.mask[block]
            found = self._exchange(contexts, None if known is None else known[block][here].ravel())
            plane = symbols[block]
            plane[here] = found if here is not ... else found.reshape(plane.shape)
            field.learn(block, self.model.values[found])
        return symbols

    def _exchange(self, contexts: np.ndarray, known: np.ndarray | None) -> np.ndarray:
        sizes = np.bincount(contexts, minlength=CONTEXTS)
        used = np.flatnonzero(sizes)
        sizes = sizes[used]
        order = np.argsort(contexts, kind="stable") if len(used) > 1 else slice(None)
        self.work += STEP + len(contexts) + len(used) * self.model.alphabet
        if self.work > self.max_work:
            raise ValueError("takes more work than its bytes allow; load it with max_weights of your own")
        rows = self.model.rows(used)
        ordered = self.transfer(self.model.frequencies(rows), sizes, None if known is None else known[order])
        cells = np.repeat(np.arange(len(used)) * self.model.alphabet, sizes) + ordered
        counts = np.bincount(cells, minlength=len(used) * self.model.alphabet)
        self.model.learn(rows, counts.reshape(len(used), -1))
        symbols = np.empty_like(ordered)
        symbols[order] = ordered
        return symbols


class Trial(Coder):
    """Keeps what would go into the stream, and what it costs in bits."""

    def __init__(self, model: Model, head: bytes) -> None:
        self.model, self.head, self.bits = model.copy(), head, 8.0 * len(head)
        self._jobs: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def transfer(self, frequencies: np.ndarray, sizes: np.ndarray, known: np.ndarray | None) -> np.ndarray:
        rows = np.repeat(np.arange(len(sizes)), sizes)
        self.bits += float((PRECISION - np.log2(frequencies[rows, known] + 1)).sum())
        self._jobs.append((frequencies, sizes, known))
        return known

    def emit(self, stream: constriction.stream.stack.AnsCoder) -> None:
        """Write everything; the stream is a stack, so the last symbols go first."""
        for frequencies, sizes, symbols in reversed(self._jobs):
            ends, symbols = np.cumsum(sizes), symbols.astype(np.int32)
            for row, size, end in zip(frequencies[::-1], sizes[::-1], ends[::-1], strict=True):
                stream.encode_reverse(symbols[end - size : end], _categorical(row))


class Source(Coder):
    """Takes symbols from a stream."""

    def __init__(self, words: np.ndarray, max_work: float = math.inf) -> None:
        self.max_work = max_work
        self._stream = constriction.stream.stack.AnsCoder(words)

    def transfer(self, frequencies: np.ndarray, sizes: np.ndarray, known: np.ndarray | None) -> np.ndarray:
        parts = zip(frequencies, sizes.tolist(), strict=True)
        return np.concatenate([self._stream.decode(_categorical(row), size) for row, size in parts])

    def left(self) -> int:
        """Return how many words of the stream are not used up yet."""
        return self._stream.num_words()

    def is_empty(self) -> bool:
        """Tell whether every bit of the stream has been used."""
        return self._stream.is_empty()


def _categorical(frequencies: np.ndarray) -> constriction.stream.model.Categorical:
    return constriction.stream.model.Categorical(frequencies.astype(np.float64), perfect=False)
