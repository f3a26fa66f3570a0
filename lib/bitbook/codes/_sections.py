"""Writer and Reader: how codes hand their parts to a file and take them back, in the same order.

The bytes are the length of a plain part, that part, and one entropy-coded stream. Each section begins in the plain part
with its method; packed indices follow right there, entropy-coded ones are in the stream.
"""

import copy
import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress

import constriction
import numpy as np

from ._arrays import fixed_bits, occurrences, pack, packed_bytes, smallest_unsigned, unpack
from ._context import Field
from ._entropy import Alphabet, Source, Trial, entropy_bits
from ._header import BitbookFormatError
from ._ledger import Row
from ._model import MAX_ALPHABET, Model, ModelFull, exact
from ._prediction import OFFSETS, correlations

Codebooks = Mapping[str, np.ndarray]

PACKED, FLAT, SPATIAL, PREDICTED = range(4)  # methods of a section
LENGTH_BYTES = 5
MAX_ALPHABETS = 1 << 24  # symbols in the alphabets of all sections: bounds the time for models and tables
MAX_SECTIONS = 1 << 15
# Entropy decoding may take so much `Coder.work`, some 30 ns each: a byte can stand for any number of likely symbols.
FREE_WORK, WORK_PER_BYTE = 1 << 24, 256
FREE_CELLS, CELLS_PER_BYTE = 1 << 24, 32  # of all models, eight bytes of memory each


def byte_alphabet(part: str, dtype: np.dtype, place: int) -> Alphabet:
    """Return the alphabet of one byte of the numbers of a part."""
    return Alphabet(256, (part, dtype.kind, dtype.itemsize, place))


class Sections:
    """What Writer and Reader share. codebooks: what codes refer to; set before any code is written or read."""

    codebooks: Codebooks

    def __init__(self) -> None:
        self.section = ""
        self.cells = 0  # of all models
        self._rows: list[Row] = []
        self._models: dict[Hashable, Model] = {}
        self._indices: dict[str, Alphabet] = {}

    def alphabet(self, codebook: str) -> Alphabet:
        """Return the alphabet of indices into a codebook: its values, or the size of its codewords (L1 norm)."""
        if codebook not in self._indices:
            values = exact(self.codebooks[codebook])
            values = values if values.ndim == 1 else np.abs(values).sum(1)
            self._indices[codebook] = Alphabet(len(values), ("codebook", codebook), values)
        return self._indices[codebook]


class Writer(Sections):
    """Codes parts under the name of the section at hand, by the method that takes the fewest bits."""

    def __init__(self) -> None:
        super().__init__()
        self.bits = 0.0
        self.work = 0
        self._plain: list[bytes] = []
        self._coded: list[tuple[str, str, Trial, float]] = []

    def symbols(self, part: str, indices: np.ndarray, alphabet: Alphabet, mask: np.ndarray | None = None) -> None:
        """Write indices in the shape of the tensor; of those outside the mask nothing is kept."""
        flat = indices.ravel() if mask is None else indices[mask]
        packed = 8 * (1 + packed_bytes(flat.size, fixed_bits(alphabet.size)))  # bits
        bound = _bound(flat)
        if flat.size and 1 < alphabet.size <= MAX_ALPHABET:
            model = self._models.get(alphabet.model) or alphabet.fresh_model()
            self.cells -= model.cells
            trials = filter(self._affordable, _trials(indices, flat, alphabet, mask, model))
            trial = min(trials, key=lambda trial: trial.bits, default=None)
            better = trial is not None and trial.bits < packed
            self.cells += (trial.model if better else model).cells
            if better:
                self._models[alphabet.model] = trial.model
                self._coded.append((self.section, part, trial, bound))
                self.bits += trial.bits
                self.work += trial.work
                self._add("coder tables", trial.head)
                return
        self._add("coder tables", bytes([PACKED]))
        self._add(part, pack(flat, fixed_bits(alphabet.size)), bound)
        self.bits += packed

    def _affordable(self, trial: Trial) -> bool:
        """Tell whether the reader will accept work and cells, with a margin of two, as bits are estimates."""
        size, cells = (self.bits + trial.bits) / 8, self.cells + trial.model.cells
        affordable = 2 * (self.work + trial.work) <= FREE_WORK + WORK_PER_BYTE * size
        return affordable and 2 * cells <= FREE_CELLS + CELLS_PER_BYTE * size

    def numbers(self, part: str, values: np.ndarray) -> None:
        """Write numbers of any shape, high bytes apart from low ones: the high ones hold less information."""
        planes = np.ascontiguousarray(values).reshape(-1, 1).view(np.uint8)  # (n, bytes of a number)
        for place in reversed(range(planes.shape[1])):
            self.symbols(part, planes[:, place], byte_alphabet(part, values.dtype, place))

    def number(self, part: str, value: int) -> None:
        """Write a whole number below 2**40."""
        self._add(part, value.to_bytes(LENGTH_BYTES, "little"))
        self.bits += 8 * LENGTH_BYTES

    def choose(self, variants: Sequence[Callable[["Writer"], object]]) -> None:
        """Write the variant that takes the fewest bits, after one byte that tells which."""
        forks = []
        for index, write in enumerate(variants):
            fork = copy.copy(self)
            fork._plain, fork._rows, fork._coded = [], [], []
            fork._models = {**self._models}
            fork._add("coder tables", bytes([index]))
            write(fork)
            forks.append(fork)
        best = vars(min(forks, key=lambda fork: fork.bits))
        for name in ("_plain", "_rows", "_coded"):
            vars(self)[name].extend(best.pop(name))
        vars(self).update(best)

    def finish(self) -> tuple[bytes, list[Row]]:
        """Return all bytes and the ledger's rows for them."""
        stream = constriction.stream.stack.AnsCoder()
        for section, part, trial, bound in reversed(self._coded):
            before = stream.num_words()
            trial.emit(stream)
            self._rows.append(Row(section, part, 4 * (stream.num_words() - before), bound))
        self._rows.append(Row("file", "coder tables", LENGTH_BYTES, 0.0))
        plain, words = b"".join(self._plain), stream.get_compressed().astype("<u4").tobytes()
        return len(plain).to_bytes(LENGTH_BYTES, "little") + plain + words, self._rows

    def _add(self, part: str, data: bytes, bound: float = 0.0) -> None:
        self._plain.append(data)
        self._rows.append(Row(self.section, part, len(data), bound))


def _trials(
    indices: np.ndarray, flat: np.ndarray, alphabet: Alphabet, mask: np.ndarray | None, model: Model
) -> Iterator[Trial]:
    """Yield what coding takes by each method; one whose model grows too large is left out."""
    with suppress(ModelFull):
        trial = Trial(model, bytes([FLAT]))
        trial.flat(flat.size, flat)
        yield trial
    if alphabet.values is None or indices.ndim < 2:
        return
    field = Field(indices.shape, mask=mask)
    planes, ways = field.planes(indices), [(bytes([SPATIAL]), field)]
    if field.places > 1:
        whole = model.values[planes] if mask is None else model.values[planes] * field.mask
        correlation = correlations(whole, field.kernel)
        if any(correlation):
            predicted = Field(indices.shape, correlation=correlation, mask=mask)
            ways.append((bytes([PREDICTED]) + np.array(correlation, np.int8).tobytes(), predicted))
    for head, own in ways:
        with suppress(ModelFull):
            trial = Trial(model, head)
            trial.spatial(own, planes)
            yield trial


class Reader(Sections):
    """Gives the parts back; raises BitbookFormatError, naming the section at hand, where the bytes make no sense.

    max_weights: how many numbers the file may claim. max_work: `Coder.work` that is accepted whatever its size.
    """

    def __init__(self, data: bytes, max_weights: int, *, max_work: int = 0) -> None:
        super().__init__()
        self.section = "codes"
        self._max_weights = self._left = max_weights
        end = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "little")
        self.require(end <= len(data) and (len(data) - end) % 4 == 0, "the lengths of its parts do not add up")
        words = np.frombuffer(data, "<u4", offset=end).astype(np.uint32)
        self.require(not len(words) or words[-1] != 0, "the stream ends in an empty word")
        self._plain = memoryview(data)[LENGTH_BYTES:end]
        self._source = Source(words, max(FREE_WORK + WORK_PER_BYTE * len(data), max_work))
        self._max_cells = FREE_CELLS + CELLS_PER_BYTE * len(data)
        self._alphabets = self._sections = 0
        self._coded: list[Row] = []

    def require(self, condition: bool, fault: str) -> None:
        """Raise BitbookFormatError unless the condition holds."""
        if not condition:
            raise BitbookFormatError(self.section, fault)

    def claim(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of an array that the file is said to hold; refuses more than max_weights numbers in all."""
        self._left -= math.prod(max(axis, 1) for axis in shape)
        self.require(self._left >= 0, f"with it the file claims more than max_weights = {self._max_weights:,} numbers")
        return shape

    def symbols(
        self, part: str, shape: tuple[int, ...], alphabet: Alphabet, mask: np.ndarray | None = None
    ) -> np.ndarray:
        """Return indices in the given shape, or flat those within the mask."""
        count = math.prod(shape) if mask is None else int(mask.sum())
        self._alphabets, self._sections = self._alphabets + alphabet.size, self._sections + 1
        self.require(self._sections <= MAX_SECTIONS, f"with it the file has more than {MAX_SECTIONS:,} sections")
        self.require(self._alphabets <= MAX_ALPHABETS, f"with it alphabets have more than {MAX_ALPHABETS:,} symbols")
        method = self.choice()
        if method == PACKED:
            bits = fixed_bits(alphabet.size)
            data = self._take(packed_bytes(count, bits))
            symbols = unpack(data, count, bits).astype(smallest_unsigned(alphabet.size), copy=False)
            self.require(not count or symbols.max() < alphabet.size, f"holds an index not below {alphabet.size}")
            self._rows.append(Row(self.section, part, len(data), _bound(symbols)))
            return symbols.reshape(shape) if mask is None else symbols
        self.require(method <= PREDICTED, f"coding method {method} is unknown")
        self.require(count > 0 and 1 < alphabet.size <= MAX_ALPHABET, "is entropy-coded for no reason")
        model = self._models[alphabet.model] = self._models.get(alphabet.model) or alphabet.fresh_model()
        self._source.model = model
        before, self.cells = self._source.left(), self.cells - model.cells
        if method == FLAT:
            symbols = self._source.flat(count)
            symbols = symbols.reshape(shape) if mask is None else symbols
        else:
            self.require(alphabet.values is not None, "is coded by the order of values that have none")
            correlation = None
            if method == PREDICTED:
                correlation = tuple(np.frombuffer(self._head(len(OFFSETS)), np.int8).tolist())
            planes = self._source.spatial(Field(shape, correlation=correlation, mask=mask))
            symbols = planes.transpose(1, 2, 0).reshape(shape)
            symbols = symbols if mask is None else symbols[mask]
        self.cells += model.cells
        self.require(self.cells <= self._max_cells, "its coder would take more memory than the bytes of the file allow")
        self._coded.append(Row(self.section, part, 4 * (before - self._source.left()), _bound(symbols)))
        return symbols

    def numbers(self, part: str, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        """Return numbers in the given shape; refuses NaN, infinity, and booleans that are neither 0 nor 1."""
        planes = np.empty((math.prod(shape), dtype.itemsize), np.uint8)
        for place in reversed(range(dtype.itemsize)):
            planes[:, place] = self.symbols(part, (len(planes),), byte_alphabet(part, dtype, place))
        self.require(dtype.kind != "b" or not planes.max(initial=0) > 1, "holds booleans that are neither 0 nor 1")
        values = planes.view(dtype).reshape(shape)
        self.require(bool(np.isfinite(values).all()), "holds NaN or infinity")
        return values

    def number(self, part: str) -> int:
        """Return a whole number."""
        self._rows.append(Row(self.section, part, LENGTH_BYTES, 0.0))
        return int.from_bytes(self._take(LENGTH_BYTES), "little")

    def choice(self) -> int:
        """Return which variant the writer chose."""
        return self._head(1)[0]

    def finish(self) -> list[Row]:
        """Return the ledger's rows, like the writer; BitbookFormatError unless every byte has been used."""
        self.section = "codes"
        self.require(not self._plain and self._source.is_empty(), "holds more than its sections")
        return [*self._rows, *reversed(self._coded), Row("file", "coder tables", LENGTH_BYTES, 0.0)]

    def _head(self, size: int) -> memoryview:
        self._rows.append(Row(self.section, "coder tables", size, 0.0))
        return self._take(size)

    def _take(self, size: int) -> memoryview:
        self.require(size <= len(self._plain), "is cut off")
        taken, self._plain = self._plain[:size], self._plain[size:]
        return taken


def _bound(symbols: np.ndarray) -> float:
    return entropy_bits(occurrences(symbols)) / 8
