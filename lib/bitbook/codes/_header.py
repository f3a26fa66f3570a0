"""The header: one line of canonical JSON inside that of a safetensors file with one tensor of bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ._errors import BitbookFormatError
from ._names import check_name, lengthen, shorten

KEY = "bitbook"
VERSION = 1
MAX_NAMES = 1 << 14


def canonical(value: Any) -> str:
    """Return the one JSON spelling: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def write_header(table: Mapping[str, Any], size: int) -> bytes:
    """Return the first bytes of a file: length of the header, then the header; `size` bytes follow it."""
    entries = {
        "__metadata__": {KEY: canonical({"version": VERSION, **table})},
        "codes": {"data_offsets": [0, size], "dtype": "U8", "shape": [size]},
    }
    text = canonical(entries).encode()
    return len(text).to_bytes(8, "little") + text


def read_header(data: bytes) -> tuple[dict[str, Any], int]:
    """Return the table and where the header ends; BitbookFormatError unless it is spelt as `write_header` does."""
    end = 8 + int.from_bytes(data[:8], "little")
    if end > len(data):
        raise BitbookFormatError("header", "is cut off, or this is no safetensors file")
    try:
        table = json.loads(json.loads(data[8:end])["__metadata__"][KEY])
        version = table.pop("version")
        same = version == VERSION and write_header(table, len(data) - end) == data[:end]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise BitbookFormatError("header", f"is not that of a bitbook file ({error!r})") from None
    if version != VERSION:
        raise BitbookFormatError("header", f"has version {version}, this bitbook reads {VERSION}; try a newer one")
    if not same:
        raise BitbookFormatError("header", "is not in canonical spelling, or claims another length of the file")
    return table, end


def group(described: Mapping[str, str]) -> list[str]:
    """Return "DESCRIPTION: NAMES" for each description, in the order of first use."""
    names: dict[str, list[str]] = {}
    for name, description in described.items():
        names.setdefault(description, []).append(name)
    return [f"{description}: {shorten(same)}" for description, same in names.items()]


def ungroup(lines: Any) -> dict[str, list[str]]:
    """Return the words of each name's description, sorted by name; ValueError unless spelt as `group` does.

    None stands for no names, and no empty list does, so that there is one spelling.
    """
    described: dict[str, str] = {}
    if lines is None:
        return {}
    for line in lines:
        description, patterns = line.split(": ")
        described |= dict.fromkeys(lengthen(patterns, MAX_NAMES - len(described)), description)
    described = dict(sorted(described.items()))
    for name in described:
        check_name(name)
    if not lines or lines != group(described):
        raise ValueError("its table is not in canonical spelling")
    return {name: description.split(" ") for name, description in described.items()}
