"""The header: one line of canonical JSON inside that of a safetensors file with one tensor of bytes."""

import json
from collections.abc import Mapping
from typing import Any

from ._names import check_name, count_words, lengthen, shorten

KEY = "bitbook"
VERSION = 1
PARTS = ("codebooks", "codes", "batch_norm", "dense")  # of the table: lines of descriptions and names
MAX_NAMES = 1 << 14  # of a part: bounds the memory
MAX_WORDS = 1 << 17  # of all names, as words and numbers: bounds the time to spell them


class BitbookFormatError(ValueError):
    """A file is not a whole and true bitbook file; the message names the section and the fault."""

    def __init__(self, section: str, fault: str) -> None:
        self.section, self.fault = _printable(section), _printable(fault)
        super().__init__(f"{self.section}: {self.fault}")


def _printable(text: str) -> str:
    """Return a text without control characters: what a forged file says must not reach the terminal as such."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


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


def ungroup(table: dict[str, Any]) -> dict[str, dict[str, list[str]]]:
    """Take the lines of all PARTS out of the table; return the words of each name's description, sorted by name.

    A part that the table lacks has no names, and no empty list does, so that there is one spelling. Raises ValueError
    unless the lines are spelt as `group` does, and for more names or longer ones than the limits of a file.
    """
    parts, words = {}, 0
    for part in PARTS:
        described: dict[str, str] = {}
        lines = table.pop(part, None)
        for line in lines or ():
            description, patterns = line.split(": ")
            described |= dict.fromkeys(lengthen(patterns, MAX_NAMES - len(described)), description)
        described = dict(sorted(described.items()))
        for name in described:
            check_name(name)
            words += count_words(name)
        if words > MAX_WORDS:
            raise ValueError(f"has names of more than {MAX_WORDS:,} words and numbers in all; use shorter ones")
        if lines is not None and (not lines or lines != group(described)):
            raise ValueError("its table is not in canonical spelling")
        parts[part] = {name: description.split(" ") for name, description in described.items()}
    return parts
