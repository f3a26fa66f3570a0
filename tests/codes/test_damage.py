"""Damaged and forged files: BitbookFormatError that names section and fault, or exactly the right weights."""

import copy
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from bitbook import BitbookFormatError
from bitbook.codes._container import CHECKSUM_BYTES, checksum, decode
from bitbook.codes._header import read_header, write_header
from hypothesis import given, settings
from hypothesis import strategies as st

FAMILIES = ("grid", "scalar", "sparse", "vector")
DAMAGED, FORGED = 4700, 300  # of each family; with the false tables more than 20,000 files
MAX_WEIGHTS = 20_000

FALSE_SHAPES = [
    "1" + 12 * "0",
    "1000000x1000000",
    "9" * 30,
    "0",
    "0x999999999999",
    "100x100",
    "-8",
    "7x5",
    "()",
    "2x",
    70 * "1x" + "1",
]
FALSE_WORDS = ["", "scalar", "vector", "sparse", "grid", "f2", "f4", "f8", "f4*", "*", "nobody", "shared", "values"]
FALSE_NAMES = ["", "a b", "a: b", "{a,b", 9 * "{0,1,2,3,4,5,6,7,8,9}", "linear.bias", "bn1", "bn1.weight", "nul\0"]
FALSE_TOPS: list[tuple[str, Any]] = [
    *(("version", value) for value in (0, 2, "1", None, [1])),
    *(("parameters", value) for value in (-1, 1.5, True, None, "1", 10**400)),
    *(("specification", value) for value in (None, [], 3, "x")),
    *(("epsilon", value) for value in (0, 1, -1.0, 1e400, "1e-5", None)),
    *(("half_source", value) for value in (0, 1, "yes", None)),
    *(
        (part, value)
        for part in ("codes", "dense")
        for value in (None, 3, {}, "text", [3], [[]], ["x"], [": a"], ["grid 8: "])
    ),
    ("unknown", 1),
]


@pytest.fixture(scope="module")
def files(make_network) -> dict[str, bytes]:
    return {family: make_network(family).to_bytes() for family in FAMILIES}


def seal(table: dict, payload: bytes) -> bytes:
    """Return a file whose length and checksum are right, whatever it claims otherwise."""
    data = write_header(table, len(payload) + CHECKSUM_BYTES) + payload
    return data + checksum(data)


def damage(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Flip bits, cut, insert, repeat, or splice in a piece of another file."""
    a, b = sorted(rng.integers(0, len(data) + 1, 2).tolist())
    match rng.integers(0, 6):
        case 0:
            bits = np.unpackbits(np.frombuffer(data, np.uint8))
            bits[rng.integers(0, len(bits), rng.integers(1, 4))] ^= 1
            return np.packbits(bits).tobytes()
        case 1:
            return data[:a]
        case 2:
            return data[:a] + data[b:]
        case 3:
            return data[:a] + rng.bytes(int(rng.integers(1, 9))) + data[a:]
        case 4:
            return data[:b] + data[a:]
        case _:
            return data[:a] + other[a:b] + data[b:]


def false_tables(table: dict) -> Iterator[dict]:
    """Yield tables that claim what is not so: shapes, counts, kinds, types, codebooks, names, versions."""
    for part, lines in ((part, lines) for part, lines in table.items() if isinstance(lines, list)):
        for i, line in enumerate(lines):
            description, names = line.split(": ")
            words = description.split(" ")
            claims = [f"{description}: {false}" for false in FALSE_NAMES]
            for place in range(len(words)):
                for false in (*FALSE_SHAPES, *FALSE_WORDS):
                    claims.append(" ".join([*words[:place], false, *words[place + 1 :]]) + f": {names}")
            for claim in claims:
                if claim != line:
                    yield {**table, part: [*lines[:i], claim, *lines[i + 1 :]]}
            yield {**table, part: lines[:i] + lines[i + 1 :]}
            yield {**table, part: [*lines, line]}
    for key, value in FALSE_TOPS:
        yield {**table, key: value}
    for key in table:
        yield {other: value for other, value in table.items() if other != key}
    deep: list = []
    for _ in range(900):
        deep = [deep]
    yield {**table, "codes": deep}


def assert_refused_or_sound(data: bytes, *, again: bool) -> bool:
    """Return whether a forged file was refused; otherwise it must be a sound file of other weights."""
    try:
        compressed = decode(data, max_weights=MAX_WEIGHTS)
    except BitbookFormatError as error:
        assert error.section and error.fault
        return True
    weights = compressed.decode()
    assert sum(values.size for values in weights.values()) <= 2 * MAX_WEIGHTS
    assert all(np.isfinite(values).all() for values in weights.values())
    if again:
        same = decode(compressed.to_bytes()).decode()
        assert all(np.array_equal(same[name], weights[name]) for name in weights)
    return False


@pytest.mark.parametrize("family", FAMILIES)
def test_damage_is_always_found(files, family):
    rng = np.random.default_rng(FAMILIES.index(family))
    for _ in range(DAMAGED):
        damaged = damage(files[family], files[FAMILIES[int(rng.integers(4))]], rng)
        if damaged != files[family]:
            with pytest.raises(BitbookFormatError):
                decode(damaged)


@pytest.mark.parametrize("family", FAMILIES)
def test_forged_payloads_are_refused_or_sound(files, family):
    table, start = read_header(files[family])
    payload = files[family][start:-CHECKSUM_BYTES]
    rng = np.random.default_rng(FAMILIES.index(family))
    for i in range(FORGED):
        head = int(rng.integers(1, len(payload) + 1)) if i % 2 else 60  # lengths, methods and counts come first
        forged = damage(payload[:head], payload[::-1], rng) + payload[head:]
        assert_refused_or_sound(seal(table, forged), again=i % 10 == 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_forged_tables_are_refused_or_sound(files, family):
    table, start = read_header(files[family])
    payload = files[family][start:-CHECKSUM_BYTES]
    sound: set[str] = set()
    for false in false_tables(table):
        try:
            forged = seal(false, payload)
        except (ValueError, RecursionError):
            continue  # JSON cannot say that
        if not assert_refused_or_sound(forged, again=False):
            sound |= {part for part in {**table, **false} if false.get(part) != table.get(part)}
    assert sound <= {"codes", "codebooks", "dense", "batch_norm", "epsilon", "half_source"}


@pytest.mark.parametrize("family", FAMILIES)
def test_claims_do_not_fill_memory(files, family):
    table, start = read_header(files[family])
    tracemalloc.start()
    for part in ("codes", "codebooks", "dense", "batch_norm"):
        for i, line in enumerate(table.get(part, [])):
            kind, _, rest = line.split(" ", 2)
            for shape in FALSE_SHAPES:
                false = {**table, part: [*table[part][:i], f"{kind} {shape} {rest}", *table[part][i + 1 :]]}
                assert_refused_or_sound(seal(false, files[family][start:-CHECKSUM_BYTES]), again=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20


def test_headers_that_are_none_are_refused(files):
    for text in (b"", b"{}", b"[" * 10**6, b'{"__metadata__":{"bitbook":"' + b"[" * 10**5 + b'"}}', b"\xff" * 50):
        data = len(text).to_bytes(8, "little") + text
        with pytest.raises(BitbookFormatError):
            decode(data + checksum(data))
    for size in (0, 2**63, 2**64 - 1):
        data = size.to_bytes(8, "little") + files["grid"][8:-CHECKSUM_BYTES]
        with pytest.raises(BitbookFormatError):
            decode(data + checksum(data))


def test_the_message_names_section_and_fault(files):
    table, start = read_header(files["scalar"])
    payload = files["scalar"][start:-CHECKSUM_BYTES]
    false = copy.deepcopy(table)
    false["codes"] = [line.replace("10x8 ", "5000x8 ") for line in false["codes"]]
    with pytest.raises(
        BitbookFormatError, match=r"linear\.weight: with it the file claims more than max_weights = 9,000"
    ):
        decode(seal(false, payload), max_weights=9000)
    with pytest.raises(BitbookFormatError, match="header: has version 2, this bitbook reads 1"):
        decode(seal({**table, "version": 2}, payload))
    with pytest.raises(BitbookFormatError, match="checksum: does not match"):
        decode(files["scalar"][:-1])
    with pytest.raises(BitbookFormatError, match=r"holds what it should not: a\\x1b\[31m\\u202e"):
        decode(seal({**table, "a\x1b[31m\u202e": 1}, payload))


@given(
    family=st.sampled_from(FAMILIES), place=st.integers(0, 10**6), new=st.binary(max_size=12), cut=st.integers(0, 12)
)
@settings(max_examples=300, deadline=None)
def test_any_edit_is_found_and_any_forged_edit_refused_or_sound(files, family, place, new, cut):
    data = files[family]
    at = place % len(data)
    edited = data[:at] + new + data[at + cut :]
    if edited != data:
        with pytest.raises(BitbookFormatError):
            decode(edited)
        forged = edited[:-CHECKSUM_BYTES]
        assert_refused_or_sound(forged + checksum(forged), again=False)
