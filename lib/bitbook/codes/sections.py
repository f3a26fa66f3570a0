"""Writer and Reader: how codes hand their parts to a file and take them back."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from .entropy import Decoder, encode
from .errors import BitbookFormatError
from .ledger import Row


class Writer:
    """Collects what the codes hand over, then lays it out in the three byte tensors of a file."""

    def __init__(self) -> None:
        self.section = ""
        self._symbols: list[tuple[str, str, np.ndarray, int]] = []
        self._tensors: dict[str, list[bytes]] = {"codebooks": [], "rest": []}
        self._rows: list[Row] = []

    def symbols(self, part: str, values: np.ndarray, alphabet: int) -> None:
        """Hand over whole numbers below `alphabet`; they are packed or entropy-coded, whichever is smaller."""
        self._symbols.append((self.section, part, values.ravel(), alphabet))

    def floats(self, part: str, values: np.ndarray, *, tensor: str = "rest") -> None:
        """Hand over floats, to be stored as they are."""
        data = values.astype(values.dtype.newbyteorder("<")).tobytes()
        self._tensors[tensor].append(data)
        self._rows.append(Row(self.section, part, len(data), len(data)))

    def finish(self) -> tuple[dict[str, bytes], list[Row]]:
        """Return the byte tensors by name and the ledger's rows."""
        codes, rows = encode(self._symbols) if self._symbols else (b"", [])
        return {"codes": codes, **{name: b"".join(parts) for name, parts in self._tensors.items()}}, rows + self._rows


class Reader:
    """Gives the parts back in the order in which they were handed to the writer."""

    def __init__(self, tensors: Mapping[str, bytes]) -> None:
        self.section = ""
        self._decoder = Decoder(tensors["codes"]) if tensors.get("codes") else None
        self._tensors, self._places = tensors, {"codebooks": 0, "rest": 0}

    def symbols(self, shape: tuple[int, ...], alphabet: int) -> np.ndarray:
        """Return whole numbers below `alphabet` in the given shape."""
        if self._decoder is None:
            raise BitbookFormatError(self.section, "the file has no tensor 'codes'")
        return self._decoder.next(self.section, math.prod(shape), alphabet).reshape(shape)

    def floats(self, dtype: np.dtype, shape: tuple[int, ...], *, tensor: str = "rest") -> np.ndarray:
        """Return floats in the given shape; refuses NaN and infinity."""
        start = self._places[tensor]
        end = self._places[tensor] = start + math.prod(shape) * dtype.itemsize
        if end > len(self._tensors.get(tensor, b"")):
            raise BitbookFormatError(self.section, f"its floats lie outside the tensor {tensor!r}")
        values = np.frombuffer(self._tensors[tensor][start:end] if end else b"", dtype).reshape(shape)
        if not np.isfinite(values).all():
            raise BitbookFormatError(self.section, "holds NaN or infinity")
        return values

    def finish(self) -> None:
        """Raise BitbookFormatError unless every byte has been used."""
        if self._decoder is not None:
            self._decoder.finish()
        for tensor, place in self._places.items():
            if place != len(self._tensors.get(tensor, b"")):
                raise BitbookFormatError(tensor, "holds more than its sections")
