"""Entropy coding of index sections with integer-frequency models; all coded sections share one ANS stream."""

from __future__ import annotations

import math
from collections.abc import Sequence

import constriction
import numpy as np

from .arrays import smallest_unsigned
from .errors import BitbookFormatError
from .ledger import Row
from .packing import fixed_bits, pack, unpack

TOTAL = 1 << 15


def entropy_bits(counts: np.ndarray) -> float:
    """Return the zero-order entropy of symbols with these counts, in bits for all of them together."""
    counts = np.asarray(counts, np.float64)
    used = counts[counts > 0]
    return float((used * (np.log2(used.sum()) - np.log2(used))).sum())


def varint(number: int) -> bytes:
    """Return a whole number >= 0 in groups of seven bits, lowest first."""
    groups = bytearray()
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes([*groups, number])


def frequencies(counts: np.ndarray) -> np.ndarray:
    """Return whole frequencies near counts * TOTAL / sum, at least 1 where the count is."""
    return np.maximum(counts * TOTAL // max(int(counts.sum()), 1), (counts > 0).astype(np.int64))


def model(freq: np.ndarray) -> constriction.stream.model.Categorical:
    return constriction.stream.model.Categorical(freq.astype(np.float64), perfect=False)


def encode(sections: Sequence[tuple[str, str, np.ndarray, int]]) -> tuple[bytes, list[Row]]:
    """Return the bytes of all sections (name, part, flat symbols, alphabet) and their ledger rows."""
    tables, packed, coded, rows = bytearray(), bytearray(), [], []
    for name, part, symbols, alphabet in sections:
        counts = np.bincount(symbols, minlength=alphabet)
        bound = entropy_bits(counts) / 8
        fixed = pack(symbols, fixed_bits(alphabet))
        freq = frequencies(counts)
        table = b"".join(map(varint, freq.tolist()))
        if bound + len(table) + 1 < len(fixed):
            tables += b"\1" + table
            coded.append((name, part, symbols, freq, bound))
            rows.append(Row(name, "coder tables", 1 + len(table), 0.0))
        else:
            tables += b"\0"
            packed += fixed
            rows += [Row(name, "coder tables", 1, 0.0), Row(name, part, len(fixed), bound)]
    coder = constriction.stream.stack.AnsCoder()
    for name, part, symbols, freq, bound in reversed(coded):
        before = coder.num_words()
        coder.encode_reverse(symbols.astype(np.int32), model(freq))
        rows.append(Row(name, part, 4 * (coder.num_words() - before), bound))
    head = varint(len(tables)) + varint(len(packed))
    rows.append(Row("file", "coder tables", len(head), 0.0))
    return head + bytes(tables) + bytes(packed) + coder.get_compressed().astype("<u4").tobytes(), rows


class Decoder:
    """Gives back the sections of `encode` one after another."""

    def __init__(self, data: bytes) -> None:
        self._data, self._table = data, 0
        tables, packed = self._varint("codes"), self._varint("codes")
        self._packed, self._stream = self._table + tables, self._table + tables + packed
        if self._stream > len(data) or (len(data) - self._stream) % 4:
            raise BitbookFormatError("codes", "the lengths of its parts do not add up")
        self._ends = (self._packed, self._stream)
        words = np.frombuffer(data, "<u4", offset=self._stream).astype(np.uint32)
        if len(words) and words[-1] == 0:
            raise BitbookFormatError("codes", "the stream ends in a zero word")
        self._coder = constriction.stream.stack.AnsCoder(words)

    def _varint(self, section: str) -> int:
        number = 0
        for shift in range(0, 63, 7):
            if self._table >= len(self._data):
                raise BitbookFormatError(section, "a number is cut off")
            byte = self._data[self._table]
            self._table += 1
            number |= (byte & 127) << shift
            if byte < 128:
                return number
        raise BitbookFormatError(section, "a number is too long")

    def next(self, section: str, count: int, alphabet: int) -> np.ndarray:
        """Return the next section's flat symbols in the smallest unsigned type."""
        method = self._varint(section)
        if method == 0:
            bits = fixed_bits(alphabet)
            start, self._packed = self._packed, self._packed + math.ceil(count * bits / 8)
            if self._packed > self._ends[1]:
                raise BitbookFormatError(section, "its packed indices are cut off")
            symbols = unpack(self._data[start : self._packed], count, bits)
        else:
            freq = np.array([self._varint(section) for _ in range(alphabet)])
            if method != 1 or not 0 < freq.sum() < 1 << 24:
                raise BitbookFormatError(section, "its frequencies are no model")
            symbols = self._coder.decode(model(freq), count) if count else np.zeros(0, np.int32)
        if count and int(symbols.max()) >= alphabet:
            raise BitbookFormatError(section, f"index {symbols.max()} is outside its codebook of {alphabet}")
        return symbols.astype(smallest_unsigned(alphabet))

    def finish(self) -> None:
        """Raise BitbookFormatError unless every byte has been used."""
        if (self._table, self._packed) != self._ends or not self._coder.is_empty():
            raise BitbookFormatError("codes", "holds more than its sections")
