"""The file: Compressed to bytes and back, with nothing believed that was not checked."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bitbook.files import write_atomically

from ._arrays import FLOATS, read_shape, spell_shape
from ._code import Code
from ._compressed import Compressed
from ._errors import BitbookFormatError
from ._header import group, read_header, ungroup, write_header
from ._ledger import Ledger, Row
from ._sections import Reader, Writer
from ._sparse import INNER, SparseCode

KINDS: dict[str, type[Code]] = {**INNER, SparseCode.kind: SparseCode}
CHECKSUM_BYTES = 8
OPTIONAL = ("epsilon", "half_source")  # fields that the header has only where they differ from their default


def checksum(data: bytes) -> bytes:
    """Return the checksum that ends a file: BLAKE2b of all bytes before it."""
    return hashlib.blake2b(data, digest_size=CHECKSUM_BYTES).digest()


def encode(compressed: Compressed) -> tuple[bytes, Ledger]:
    """Return the bytes of the file and its ledger."""
    writer = Writer()
    table: dict[str, Any] = {
        "codebooks": _write_floats("codebooks", compressed.codebooks, writer),
        "codes": _write_codes(compressed.codes, compressed.codebooks, writer),
        "batch_norm": _write_floats("batch norm", compressed.batch_norm, writer),
        "dense": _write_floats("dense", compressed.dense, writer),
        "parameters": compressed.original_parameters,
        "specification": compressed.specification,
    }
    values = {field: getattr(compressed, field) for field in OPTIONAL}
    table |= {field: value for field, value in values.items() if value != getattr(Compressed, field)}
    payload, rows = writer.finish()
    table = {field: value for field, value in table.items() if value != []}
    header = write_header(table, len(payload) + CHECKSUM_BYTES)
    own = [Row("file", "header", len(header), len(header)), Row("file", "checksum", CHECKSUM_BYTES, CHECKSUM_BYTES)]
    return header + payload + checksum(header + payload), Ledger.of(own + rows)


def decode(data: bytes, *, max_weights: int = 2**31) -> Compressed:
    """Return what `encode` was given; BitbookFormatError, naming section and fault, for any other bytes."""
    if checksum(data[:-CHECKSUM_BYTES]) != data[-CHECKSUM_BYTES:]:
        raise BitbookFormatError("checksum", "does not match: the file is damaged, cut off, or no bitbook file")
    table, start = read_header(data)
    reader = Reader(data[start:-CHECKSUM_BYTES], max_weights)
    try:
        codebooks = _read_floats("codebooks", table, reader)
        codes = _read_codes(table, reader, codebooks)
        norms, dense = _read_floats("batch norm", table, reader), _read_floats("dense", table, reader)
        reader.finish()
        reader.section = "header"
        fields = {field: table.pop(field) for field in OPTIONAL if field in table}
        parameters, specification = table.pop("parameters"), table.pop("specification")
        reader.require(not table, f"holds what it should not: {', '.join(table)}")
        return Compressed(
            codes=codes,
            codebooks=codebooks,
            dense=dense,
            batch_norm=norms,
            specification=specification,
            original_parameters=parameters,
            **fields,
        )
    except BitbookFormatError:
        raise
    except (ValueError, LookupError, TypeError, ArithmeticError, AttributeError, RecursionError) as error:
        raise BitbookFormatError(reader.section, f"does not fit together ({error})") from None


def describe(code: Code) -> str:
    """Return what the header says of a code: kind, shape and the code's own words."""
    return f"{code.kind} {spell_shape(code.shape)} {code.describe()}".rstrip()


def _write_codes(codes: Mapping[str, Code], codebooks: Mapping[str, np.ndarray], writer: Writer) -> list[str]:
    for name, code in sorted(codes.items()):
        writer.section = name
        code.write(writer, codebooks)
    return group({name: describe(code) for name, code in sorted(codes.items())})


def _read_codes(table: dict[str, Any], reader: Reader, codebooks: Mapping[str, np.ndarray]) -> dict[str, Code]:
    codes: dict[str, Code] = {}
    reader.section = "header"
    for name, (kind, shape, *words) in ungroup(table.pop("codes", None)).items():
        reader.section = name
        codes[name] = KINDS[kind].read(words, reader.claim(read_shape(shape)), reader, codebooks)
        reader.require(describe(codes[name]) == " ".join([kind, shape, *words]), "is not described canonically")
    return codes


def _write_floats(part: str, arrays: Mapping[str, np.ndarray], writer: Writer) -> list[str]:
    writer.section = part
    for dtype in FLOATS.values():
        chosen = [array.ravel() for array in arrays.values() if array.dtype == dtype]
        if chosen:
            writer.floats(part, np.concatenate(chosen))
    return group({name: f"f{array.itemsize} {spell_shape(array.shape)}" for name, array in arrays.items()})


def _read_floats(part: str, table: dict[str, Any], reader: Reader) -> dict[str, np.ndarray]:
    reader.section = part
    described = ungroup(table.pop(part.replace(" ", "_"), None))
    shapes = {name: (dtype, reader.claim(read_shape(shape))) for name, (dtype, shape) in described.items()}
    arrays: dict[str, np.ndarray] = {}
    for kind, dtype in FLOATS.items():
        chosen = {name: shape for name, (other, shape) in shapes.items() if other == kind}
        if chosen:
            sizes = [math.prod(shape) for shape in chosen.values()]
            parts = np.split(reader.floats(part, dtype, (sum(sizes),)), np.cumsum(sizes)[:-1])
            arrays |= {name: values.reshape(chosen[name]) for name, values in zip(chosen, parts, strict=True)}
    return {name: arrays[name] for name in described}


def coded_bytes(codes: Mapping[str, Code], codebooks: Mapping[str, np.ndarray]) -> int:
    """Return the exact bytes of these codes in a file of their own, without header and codebooks: for searches."""
    writer = Writer()
    _write_codes(codes, codebooks, writer)
    return len(writer.finish()[0])


def save(compressed: Compressed, path: str | os.PathLike[str]) -> None:
    """Write the file atomically: whatever happens, `path` holds the old file or the whole new one."""
    write_atomically(path, compressed.to_bytes())


def load(path: str | os.PathLike[str], *, max_weights: int = 2**31) -> Compressed:
    """Read a file; BitbookFormatError where it is not whole and true, or claims more than max_weights numbers."""
    return decode(Path(path).read_bytes(), max_weights=max_weights)
