"""The header: one line of canonical JSON inside that of a safetensors file with one tensor of bytes.

For files so small that it would be a large part of them there is a compact form, which only this package reads: a mark,
the header's length, and the same line, in which single bytes stand for frequent words.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from ._names import check_name, count_words, lengthen, shorten

KEY = "bitbook"
VERSION = 1
COMPACT = b"BBK2"  # as a safetensors file it would have a header of 800 MB or more
# The words of the compact form, for the bytes from 0x80 on. Files depend on them: words may be added at the end only.
_SPELT = (
    '{"codebooks":["|{"batch_norm":["|{"codes":["|"],"codes":["|"],"codebooks":["|"],"dense":["|"],"parameters":|'
    ',"specification":{"arguments":{|"kept":{"|},"of":{"arguments":{|},"factory":"|"}},"factory":"shrunk"}}|"}}|","|":|'
    ',"|":true|":false|relu_after_pooling|lenet5|cifar_resnet|digits_cnn|","sparse |","scalar |","grid |","vector |'
    'sparse |scalar | scalar * |x5x5 scalar * |x3x3 scalar * |x1x1 scalar * |f2 |f4 |","f2 | bias: |: bias|: |.weight|'
    ".bias|conv|fc|layer|linear|bn|conv1.weight|conv2.weight|fc1.weight|fc2.weight|conv1.bias|conv2.bias|fc1.bias|"
    'fc2.bias|{"codebooks":["f2 |conv{1,2}.weight|fc{1,2}.weight|{conv,fc}{1,2}.weight|{conv,fc}{1,2}.bias|'
    '"],"dense":["f2 |'
    # what the codes of LeNet-5 say one after another
    ': *.bias conv{1,2}.weight","f2 |: fc{1,2}.weight"],"codes":["scalar |: conv{1,2}.weight","f2 |'
    ' *.bias: conv1.bias","sparse | *.bias: conv2.bias","sparse | *.bias: fc1.bias","sparse |'
    ' *.bias: fc2.bias","sparse |'
    'x5x5 scalar * conv1.weight: conv1.weight","scalar |x5x5 scalar * conv2.weight: conv2.weight","scalar |'
    ' scalar * fc1.weight: fc1.weight","scalar | scalar * fc2.weight: fc2.weight|conv2":|,"fc1":|'
    '"],"parameters":431080,"specification":{"arguments":{"kept":{"|'
    '},"of":{"arguments":{"relu_after_pooling":true},"factory":"lenet5"}},"factory":"shrunk"}}|'
    '},"of":{"arguments":{},"factory":"lenet5"}},"factory":"shrunk"}}'
)
WORDS = _SPELT.split("|")
_LONGEST_FIRST = re.compile("|".join(map(re.escape, sorted(WORDS, key=len, reverse=True))))
_BYTE = {word: chr(0x80 + place) for place, word in enumerate(WORDS)}
PARTS = ("codebooks", "codes", "batch_norm", "dense")  # of the table: lines of descriptions and names
MAX_NAMES = 1 << 14  # of a part: bounds the memory
MAX_WORDS = 1 << 17  # of all names, as words and numbers: bounds the time to spell them
MAX_LETTERS = 1 << 21  # of all names


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


def write_compact(table: Mapping[str, Any]) -> bytes:
    """Return the compact header; ValueError for names with letters beyond ASCII."""
    text = canonical(table)
    if not text.isascii():
        raise ValueError("a compact header holds ASCII only: rename what has other letters, or leave compact off")
    text = _LONGEST_FIRST.sub(lambda found: _BYTE[found[0]], text)
    if len(text) >= 1 << 16:
        raise ValueError("a compact header holds less than 65,536 bytes: leave compact off")
    return COMPACT + len(text).to_bytes(2, "little") + text.encode("latin-1")


def read_header(data: bytes) -> tuple[dict[str, Any], int]:
    """Return the table and where the header ends; BitbookFormatError unless it is spelt as the writers do."""
    if data.startswith(COMPACT):
        return _read_compact(data)
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


def _read_compact(data: bytes) -> tuple[dict[str, Any], int]:
    start = len(COMPACT) + 2
    end = start + int.from_bytes(data[len(COMPACT) : start], "little")
    try:
        text = data[start:end].decode("latin-1")
        table = json.loads(text.translate({0x80 + place: word for place, word in enumerate(WORDS)}))
        same = end <= len(data) and write_compact(table) == data[:end]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise BitbookFormatError("header", f"is not that of a bitbook file ({error!r})") from None
    if not same or type(table) is not dict:
        raise BitbookFormatError("header", "is cut off or not in canonical spelling")
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
    parts, words, letters = {}, 0, MAX_LETTERS
    for part in PARTS:
        described: dict[str, str] = {}
        lines = table.pop(part, None)
        for line in lines or ():
            description, patterns = line.split(": ")
            names = lengthen(patterns, MAX_NAMES - len(described), letters)
            for name in names:
                check_name(name)
                letters -= len(name)
                words += count_words(name)
                if words > MAX_WORDS:
                    raise ValueError(f"has names of more than {MAX_WORDS:,} words and numbers in all; use shorter ones")
            described |= dict.fromkeys(names, description)
        described = dict(sorted(described.items()))
        if lines is not None and (not lines or lines != group(described)):
            raise ValueError("its table is not in canonical spelling")
        parts[part] = {name: description.split(" ") for name, description in described.items()}
    return parts
