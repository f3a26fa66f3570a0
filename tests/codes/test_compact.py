"""The compact header: the same table in fewer bytes, nothing believed that was not checked, words that stay."""

import dataclasses
import json
import zlib

import numpy as np
import pytest
from bitbook import BitbookFormatError
from bitbook.codes._container import CHECKSUM_BYTES, checksum, decode
from bitbook.codes._header import COMPACT, WORDS, read_header, write_compact

FAMILIES = ("grid", "scalar", "sparse", "vector")


@pytest.fixture(params=FAMILIES)
def network(request, make_network):
    return make_network(request.param)


def resealed(data: bytes) -> bytes:
    return data[:-CHECKSUM_BYTES] + checksum(data[:-CHECKSUM_BYTES])


def test_compact_file_holds_the_same_and_stays_compact(network):
    small = dataclasses.replace(network, compact=True)
    data, usual = small.to_bytes(), network.to_bytes()
    again = decode(data)
    assert again.compact
    assert not decode(usual).compact
    assert dataclasses.replace(again).to_bytes() == data  # coded anew
    assert dataclasses.replace(again, compact=False).to_bytes() == usual
    for name, values in network.decode().items():
        np.testing.assert_array_equal(again.decode()[name], values)
    assert again.ledger().total == len(data)
    (table, end), (usual_table, usual_end) = read_header(data), read_header(usual)
    assert table == usual_table
    assert data[end:-CHECKSUM_BYTES] == usual[usual_end:-CHECKSUM_BYTES]
    assert end < 0.6 * usual_end


def test_every_changed_byte_of_a_compact_header_is_refused_or_harmless(make_network):
    data = dataclasses.replace(make_network("sparse"), compact=True).to_bytes()
    _, end = read_header(data)
    weights = decode(data).decode()
    for place in range(end):
        for change in (1, 0x40, 0x80):
            forged = bytearray(data)
            forged[place] ^= change
            try:
                found = decode(resealed(bytes(forged)))
            except BitbookFormatError:
                continue
            assert found.to_bytes() == bytes(resealed(bytes(forged)))
            for name, values in found.decode().items():
                assert values.shape == weights.get(name, values).shape


def test_cut_off_and_uncanonical_headers_are_refused(make_network):
    data = dataclasses.replace(make_network("scalar"), compact=True).to_bytes()
    table, end = read_header(data)
    for cut in range(end):
        with pytest.raises(BitbookFormatError):
            read_header(data[:cut])
    spelt_out = json.dumps(table, sort_keys=True, separators=(",", ":")).encode()
    for text in (spelt_out, b"[]", b"3", b"", 3000 * b"["):
        with pytest.raises(BitbookFormatError, match="header"):
            read_header(COMPACT + len(text).to_bytes(2, "little") + text)


def test_names_beyond_ascii_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match="leave compact off"):
        write_compact({"dense": ["f2 3: größe"]})


def test_words_are_the_ones_that_files_were_written_with():
    """Files hold the places of words: new ones may only be added behind."""
    assert zlib.crc32("|".join(WORDS[:75]).encode()) == 2_618_578_818
    assert len(WORDS) == len(set(WORDS)) <= 128
    assert all(word.isascii() and len(word) > 1 for word in WORDS)
