"""The file: Compressed to bytes and back, with nothing believed that was not checked."""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .arrays import FLOATS, float_name
from .compressed import Code, Compressed
from .errors import BitbookFormatError
from .header import read_header, write_header
from .ledger import Ledger, Row
from .names import check_name, lengthen, shorten
from .scalar import ScalarCode
from .sections import Reader, Writer

KINDS: dict[str, type[Code]] = {"scalar": ScalarCode}
CHECKSUM_BYTES = 8
MAX_NAMES = 2**16


def checksum(data: bytes) -> bytes:
    """Return the checksum that ends a file: BLAKE2b of all bytes before it."""
    return hashlib.blake2b(data, digest_size=CHECKSUM_BYTES).digest()


def encode(compressed: Compressed) -> tuple[bytes, Ledger]:
    """Return the bytes of the file and its ledger."""
    writer = Writer()
    for name, book in compressed.codebooks.items():
        writer.section = name
        writer.floats("codebooks", book, tensor="codebooks")
    kinds = {kind: word for word, kind in KINDS.items()}
    codes = {}
    for name, code in compressed.codes.items():
        writer.section = name
        code.write(writer, compressed.codebooks)
        codes[name] = f"{kinds[type(code)]} {spell(code.shape)} {code.describe()}"
    for part in ("dense", "batch_norm"):
        for name, values in getattr(compressed, part).items():
            writer.section = name
            writer.floats(part.replace("_", " "), values)
    arrays = {
        part: group((name, f"{float_name(v.dtype)} {spell(v.shape)}") for name, v in getattr(compressed, part).items())
        for part in ("codebooks", "dense", "batch_norm")
    }
    table = {
        "codes": group(codes.items()),
        **arrays,
        "parameters": compressed.original_parameters,
        "specification": compressed.specification,
        "half_source": compressed.half_source or [],
        "epsilon": compressed.epsilon if compressed.epsilon != Compressed.epsilon else [],
    }
    tensors, rows = writer.finish()
    header = write_header(
        {key: value for key, value in table.items() if value != []},
        {**{name: len(data) for name, data in tensors.items()}, "rest": len(tensors["rest"]) + CHECKSUM_BYTES},
    )
    data = header + tensors["codebooks"] + tensors["codes"] + tensors["rest"]
    own = (Row("file", "header", len(header), len(header)), Row("file", "checksum", CHECKSUM_BYTES, CHECKSUM_BYTES))
    return data + checksum(data), Ledger((*own, *rows))


def decode(data: bytes, *, max_weights: int = 2**31) -> Compressed:
    """Return what `encode` was given; raises BitbookFormatError, naming section and fault, for any other bytes."""
    if len(data) < CHECKSUM_BYTES or checksum(data[:-CHECKSUM_BYTES]) != data[-CHECKSUM_BYTES:]:
        raise BitbookFormatError("checksum", "does not match: the file is damaged, cut off or no bitbook file")
    table, tensors = read_header(data)
    tensors["rest"] = tensors.get("rest", b"")[:-CHECKSUM_BYTES]
    reader = Reader(tensors)
    try:
        compressed = _decode(table, reader, max_weights)
    except BitbookFormatError:
        raise
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise BitbookFormatError(reader.section or "header", f"does not fit together ({error})") from None
    return compressed


def _decode(table: dict[str, Any], reader: Reader, max_weights: int) -> Compressed:
    left = max_weights

    def listed(part: str) -> Iterator[tuple[str, list[str], tuple[int, ...]]]:
        nonlocal left
        for name, head in ungroup(table.pop(part, [])).items():
            reader.section = name
            words = head.split(" ")
            shape = read_shape(words[1])
            left -= math.prod(shape)
            if left < 0:
                raise BitbookFormatError(
                    name, f"with it the file claims more than max_weights = {max_weights:,} numbers"
                )
            yield name, [words[0], *words[2:]], shape

    def arrays(part: str, tensor: str) -> dict:
        return {name: reader.floats(FLOATS[words[0]], shape, tensor=tensor) for name, words, shape in listed(part)}

    codebooks = arrays("codebooks", "codebooks")
    codes = {name: KINDS[words[0]].read(words[1:], shape, reader, codebooks) for name, words, shape in listed("codes")}
    dense, norms = arrays("dense", "rest"), arrays("batch_norm", "rest")
    reader.finish()
    reader.section = "header"
    return Compressed(
        codes=codes,
        codebooks=codebooks,
        dense=dense,
        batch_norm=norms,
        original_parameters=table.pop("parameters"),
        **table,
    )


def spell(shape: tuple[int, ...]) -> str:
    """Return a shape as 16x3x3x3; the empty shape as ()."""
    return "x".join(map(str, shape)) or "()"


def read_shape(text: str) -> tuple[int, ...]:
    """Return the shape that `spell` wrote."""
    return () if text == "()" else tuple(map(int, text.split("x")))


def group(described: Iterable[tuple[str, str]]) -> list[str]:
    """Return one line per description, "DESCRIPTION: NAMES", in the order of first use."""
    lines: dict[str, list[str]] = {}
    for name, description in described:
        check_name(name)
        lines.setdefault(description, []).append(name)
    return [f"{description}: {shorten(names)}" for description, names in lines.items()]


def ungroup(lines: list[str]) -> dict[str, str]:
    """Return the description of each name, sorted by name."""
    described: dict[str, str] = {}
    for line in lines:
        description, patterns = line.split(": ")
        names = lengthen(patterns, MAX_NAMES - len(described))
        described |= dict.fromkeys(names, description)
    if lines != group(sorted(described.items())):
        raise BitbookFormatError("header", "its table of sections is not spelt canonically")
    return dict(sorted(described.items()))


def save(compressed: Compressed, path: str | os.PathLike[str]) -> None:
    """Write the file atomically: whatever happens, `path` holds the old file or the whole new one."""
    path = Path(path)
    data = compressed.to_bytes()
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def load(path: str | os.PathLike[str], *, max_weights: int = 2**31) -> Compressed:
    """Read a file; BitbookFormatError where it is not whole and true or claims more than max_weights numbers."""
    return decode(Path(path).read_bytes(), max_weights=max_weights)
