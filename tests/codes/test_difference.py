"""What `differences` reports, and that it reports nothing where nothing differs."""

import dataclasses

import numpy as np
from bitbook import ScalarCode
from bitbook.codes import decode, differences


def test_equal_networks_have_no_differences(compressed):
    assert differences(compressed, decode(compressed.to_bytes())) == []


def test_one_changed_index_is_found_in_weights_codes_and_bytes(make_network):
    one = make_network("scalar")
    indices = one.codes["linear.weight"].indices.copy()
    before, indices[0, 0] = one.codebooks["shared"][indices[0, 0]], 16 - indices[0, 0]
    codes = {**one.codes, "linear.weight": ScalarCode(indices, "shared")}
    found = differences(one, dataclasses.replace(one, codes=codes))
    largest = abs(float(one.codebooks["shared"][indices[0, 0]]) - float(before))
    assert [(d.section, d.kind, d.what) for d in found if d.kind != "bytes"] == [
        ("linear.weight", "weights", f"1 of 80 differ, by up to {largest:.3g}"),
        ("linear.weight", "codes", "1 of 80 indices differ"),
    ]


def test_other_codebooks_headers_and_missing_entries_are_found(make_network):
    one = make_network("scalar")
    codebooks = {**one.codebooks, "own": one.codebooks["own"] * np.float32(2)}
    dense = {"linear.bias": one.dense["linear.bias"]}
    other = dataclasses.replace(one, codebooks=codebooks, dense=dense, original_parameters=99)
    found = {(d.section, d.kind): d.what for d in differences(one, other)}
    assert found["file", "header"] == "original_parameters: 1234 -> 99"
    assert found["steps", "weights"] == "only in the first"
    assert found["own", "codes"] == "codebook float32 (4,) -> float32 (4,)"
    assert found["conv2.weight", "weights"].startswith("48 of 48 differ")
    assert ("conv2.weight", "codes") not in found


def test_bytes_add_up_to_the_files(make_network):
    one, other = make_network("scalar", 0), make_network("scalar", 1)
    changes = [d for d in differences(one, other) if d.kind == "bytes" and d.section != "file"]
    total = sum(
        int(new) - int(old) for old, new in (d.what.split(": ")[1].replace(",", "").split(" -> ") for d in changes)
    )
    own = {row.part: row.bytes for row in other.ledger().rows if row.section == "file"}
    before = {row.part: row.bytes for row in one.ledger().rows if row.section == "file"}
    assert total == other.ledger().total - one.ledger().total - sum(own.values()) + sum(before.values())


def test_numbers_of_every_kind_are_compared(make_network):
    one = make_network("scalar")
    before = {
        "seen": np.array([True, False]),
        "step": np.uint8([1, 5]),
        "wave": np.complex64([1 + 2j]),
        "kind": np.int8([1]),
    }
    after = {
        "seen": np.array([True, True]),
        "step": np.uint8([3, 5]),
        "wave": np.complex64([1 + 5j]),
        "kind": np.int16([1]),
    }
    old, new = (dataclasses.replace(one, dense=dense) for dense in (before, after))
    found = {d.section: d.what for d in differences(old, new) if d.kind == "weights"}
    assert found == {
        "seen": "1 of 2 differ, by up to 1",
        "step": "1 of 2 differ, by up to 2",
        "wave": "1 of 1 differ, by up to 3",
        "kind": "int8 -> int16",
    }
