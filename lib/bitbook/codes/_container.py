"""The file: Compressed to bytes and back, with nothing believed that was not checked."""

import hashlib
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bitbook.files import write_atomically

from ._arrays import NUMBERS, read_shape, spell_shape
from ._code import Code
from ._compressed import Compressed
from ._header import COMPACT, BitbookFormatError, group, read_header, ungroup, write_compact, write_header
from ._ledger import Ledger, Row
from ._sections import Codebooks, Reader, Writer
from ._sparse import INNER, SparseCode

Described = Mapping[str, list[str]]  # name -> the words that the header says of it
KINDS: dict[str, type[Code]] = {**INNER, SparseCode.kind: SparseCode}
CHECKSUM_BYTES = 8
FEWEST, MOST = 1 << 26, 1 << 31
PER_BYTE = 64  # numbers that a byte may stand for in a large file: an eighth of a bit each
MEMORY = 8  # bytes that a number takes while a file is read and decoded
OPTIONAL = ("epsilon", "half_source")  # fields that the header has only where they differ from their default


def checksum(data: bytes) -> bytes:
    """Return the checksum that ends a file: BLAKE2b of all bytes before it."""
    return hashlib.blake2b(data, digest_size=CHECKSUM_BYTES).digest()


def encode(compressed: Compressed) -> tuple[bytes, Ledger]:
    """Return the bytes of the file and its ledger."""
    writer = Writer()
    table: dict[str, Any] = {
        "codebooks": _write_numbers("codebooks", compressed.codebooks, writer),
        "codes": _write_codes(compressed.codes, compressed.codebooks, writer),
        "batch_norm": _write_numbers("batch norm", compressed.batch_norm, writer),
        "dense": _write_numbers("dense", compressed.dense, writer),
        "parameters": compressed.original_parameters,
        "specification": compressed.specification,
    }
    values = {field: getattr(compressed, field) for field in OPTIONAL}
    table |= {field: value for field, value in values.items() if value != getattr(Compressed, field)}
    payload, rows = writer.finish()
    table = {field: value for field, value in table.items() if value != []}
    header = write_compact(table) if compressed.compact else write_header(table, len(payload) + CHECKSUM_BYTES)
    return header + payload + checksum(header + payload), _ledger(len(header), rows)


def _ledger(header: int, rows: Iterable[Row]) -> Ledger:
    own = [Row("file", "header", header, header), Row("file", "checksum", CHECKSUM_BYTES, CHECKSUM_BYTES)]
    return Ledger.of([*own, *rows])


def decode(data: bytes, *, max_weights: int | None = None) -> Compressed:
    """Return what `encode` was given; BitbookFormatError, naming section and fault, for any other bytes.

    max_weights: numbers that the file may claim, by default 2**26 or 64 for each byte of the file, whichever is more,
    but at most 2**31 and what the memory at hand can hold.
    """
    if checksum(data[:-CHECKSUM_BYTES]) != data[-CHECKSUM_BYTES:]:
        raise BitbookFormatError("checksum", "does not match: the file is damaged, cut off, or no bitbook file")
    table, start = read_header(data)
    limit = _default_max_weights(len(data)) if max_weights is None else max_weights
    reader = Reader(data[start:-CHECKSUM_BYTES], limit, max_work=max_weights or 0)
    try:
        reader.section = "header"
        described = ungroup(table)
        codebooks = _read_numbers("codebooks", described, reader)
        codes = _read_codes(described["codes"], reader, codebooks)
        norms, dense = _read_numbers("batch norm", described, reader), _read_numbers("dense", described, reader)
        ledger = _ledger(start, reader.finish())
        reader.section = "header"
        fields = {field: table.pop(field) for field in OPTIONAL if field in table}
        parameters, specification = table.pop("parameters"), table.pop("specification")
        reader.require(not table, f"holds what it should not: {', '.join(table)}")
        compressed = Compressed(
            codes=codes,
            codebooks=codebooks,
            dense=dense,
            batch_norm=norms,
            specification=specification,
            original_parameters=parameters,
            compact=data.startswith(COMPACT),
            **fields,
        )
        vars(compressed)["_file"] = data, ledger  # what it came from: nothing is coded again for its size
        return compressed
    except BitbookFormatError:
        raise
    except (ValueError, LookupError, TypeError, ArithmeticError, AttributeError, RecursionError) as error:
        raise BitbookFormatError(reader.section, f"does not fit together ({error})") from None


def describe(code: Code) -> str:
    """Return what the header says of a code: kind, shape and the code's own words."""
    return f"{code.kind} {spell_shape(code.shape)} {code.describe()}".rstrip()


def _write_codes(codes: Mapping[str, Code], codebooks: Codebooks, writer: Writer) -> list[str]:
    writer.codebooks = codebooks
    for name, code in sorted(codes.items()):
        writer.section = name
        code.write(writer)
    return group({name: describe(code) for name, code in sorted(codes.items())})


def _read_codes(described: Described, reader: Reader, codebooks: Codebooks) -> dict[str, Code]:
    reader.codebooks = codebooks
    codes: dict[str, Code] = {}
    for name, (kind, shape, *words) in described.items():
        reader.section = name
        codes[name] = KINDS[kind].read(words, reader.claim(read_shape(shape)), reader)
        reader.require(describe(codes[name]) == " ".join([kind, shape, *words]), "is not described canonically")
    return codes


def _write_numbers(part: str, arrays: Mapping[str, np.ndarray], writer: Writer) -> list[str]:
    writer.section = part
    for dtype in NUMBERS.values():
        chosen = [array.ravel() for array in arrays.values() if array.dtype == dtype]
        if chosen:
            writer.numbers(part, np.concatenate(chosen))
    return group({name: f"{array.dtype.str[1:]} {spell_shape(array.shape)}" for name, array in arrays.items()})


def _read_numbers(part: str, parts: Mapping[str, Described], reader: Reader) -> dict[str, np.ndarray]:
    reader.section = part
    described = parts[part.replace(" ", "_")]
    shapes = {name: (dtype, reader.claim(read_shape(shape))) for name, (dtype, shape) in described.items()}
    arrays: dict[str, np.ndarray] = {}
    for kind, dtype in NUMBERS.items():
        chosen = {name: shape for name, (other, shape) in shapes.items() if other == kind}
        if chosen:
            sizes = [math.prod(shape) for shape in chosen.values()]
            pieces = np.split(reader.numbers(part, dtype, (sum(sizes),)), np.cumsum(sizes)[:-1])
            arrays |= {name: values.reshape(chosen[name]) for name, values in zip(chosen, pieces, strict=True)}
    return {name: arrays[name] for name in described}


def coded_bytes(codes: Mapping[str, Code], codebooks: Codebooks) -> int:
    """Return the exact bytes of these codes in a file of their own, without header and codebooks: for searches."""
    writer = Writer()
    _write_codes(codes, codebooks, writer)
    return len(writer.finish()[0])


def save(compressed: Compressed, path: str | os.PathLike[str]) -> None:
    """Write the file atomically: whatever happens, `path` holds the old file or the whole new one.

    Raises BitbookFormatError, and writes nothing, where `load` would refuse the file.
    """
    data = compressed.to_bytes()
    decode(data)
    write_atomically(path, data)


def load(path: str | os.PathLike[str], *, max_weights: int | None = None) -> Compressed:
    """Read a file; BitbookFormatError where it is not whole and true, or claims too much: see `decode`."""
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise BitbookFormatError("file", "is a device or a pipe, which may have no end: copy it to a file")
    return decode(path.read_bytes(), max_weights=max_weights)


def _default_max_weights(size: int) -> int:
    """Return how many numbers a file of `size` bytes may claim where the caller sets no limit."""
    return min(MOST, max(FEWEST, PER_BYTE * size), _memory_at_hand() // MEMORY)


def _memory_at_hand() -> int:
    """Return the bytes of memory that are available, on Linux; elsewhere half of what there is."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) << 10
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 if hasattr(os, "sysconf") else MOST
