"""The header: canonical JSON inside a safetensors header, and its way back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .errors import BitbookFormatError

KEY = "bitbook"
VERSION = 1
TENSORS = ("codebooks", "codes", "rest")


def canonical(value: Any) -> str:
    """Return the one JSON spelling: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def write_header(table: Mapping[str, Any], lengths: Mapping[str, int]) -> bytes:
    """Return the first bytes of a file: the header's length, then the safetensors header without empty tensors."""
    entries: dict[str, Any] = {"__metadata__": {KEY: canonical({**table, "version": VERSION})}}
    end = 0
    for name in TENSORS:
        if lengths[name]:
            start, end = end, end + lengths[name]
            entries[name] = {"data_offsets": [start, end], "dtype": "U8", "shape": [end - start]}
    text = canonical(entries).encode()
    return len(text).to_bytes(8, "little") + text


def read_header(data: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the table and the byte tensors; BitbookFormatError unless the header is spelt as `write_header` does."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > len(data) - 8:
        raise BitbookFormatError("header", "is cut off, or this is no safetensors file")
    try:
        entries = json.loads(data[8 : 8 + size])
        table = json.loads(entries["__metadata__"][KEY])
        if table["version"] != VERSION:
            raise BitbookFormatError(
                "header", f"version {table['version']} is not {VERSION}; a newer bitbook may read it"
            )
        places = {name: entries[name]["data_offsets"] for name in TENSORS if name in entries}
        tensors = {name: data[8 + size :][start:end] for name, (start, end) in places.items()}
        del table["version"]
        again = write_header(table, {name: len(tensors.get(name, b"")) for name in TENSORS})
    except BitbookFormatError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BitbookFormatError("header", f"is not that of a bitbook file ({error!r})") from None
    if again != data[: 8 + size] or 8 + size + sum(map(len, tensors.values())) != len(data):
        raise BitbookFormatError("header", "is not spelt canonically, or the tensors do not fill the file")
    return table, tensors
