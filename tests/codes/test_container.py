"""The file gives back what was put in, to the last bit, and its ledger counts every byte."""

import json
import os
import signal
import subprocess
import sys

import bitbook
import numpy as np
import pytest
import safetensors


def assert_same(one: bitbook.Compressed, other: bitbook.Compressed) -> None:
    ours, theirs = one.decode(), other.decode()
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert ours[name].dtype == theirs[name].dtype == np.float32
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    for field in ("specification", "original_parameters", "half_source", "epsilon"):
        assert getattr(one, field) == getattr(other, field)


def test_a_file_gives_back_the_same_network(compressed, tmp_path):
    path = tmp_path / "network.bitbook"
    bitbook.save(compressed, path)
    loaded = bitbook.load(path)
    assert_same(compressed, loaded)
    assert loaded.to_bytes() == path.read_bytes()
    assert compressed.ledger().total == os.stat(path).st_size
    assert compressed.ratio == 4 * 1234 / os.stat(path).st_size


def test_the_file_is_a_safetensors_file_with_one_metadata_key(compressed, tmp_path):
    compressed.save(tmp_path / "network.bitbook")
    with safetensors.safe_open(tmp_path / "network.bitbook", "numpy") as file:
        assert set(file.keys()) <= {"codes", "codebooks", "rest"}
        ((key, text),) = file.metadata().items()
    assert key == "bitbook"
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))


def test_equal_content_gives_equal_bytes_whatever_the_order(make_network):
    one = make_network("scalar")
    fields = {name: getattr(one, name) for name in one.__dataclass_fields__}
    for name in ("codes", "codebooks", "dense", "batch_norm", "specification"):
        fields[name] = dict(reversed(fields[name].items()))
    assert bitbook.Compressed(**fields).to_bytes() == one.to_bytes()


def test_a_shrunken_network_s_widths_and_index_maps_come_back(compressed):
    arguments = bitbook.codes.decode(compressed.to_bytes()).specification["arguments"]
    assert arguments == {"widths": [8, 6], "kept": {"bn2": [0, 2, 5]}}


def test_more_numbers_than_allowed_are_refused(compressed, tmp_path):
    compressed.save(tmp_path / "a.bitbook")
    with pytest.raises(bitbook.BitbookFormatError, match="claims more than max_weights = 100"):
        bitbook.load(tmp_path / "a.bitbook", max_weights=100)


def test_a_full_disk_leaves_the_old_file_whole(make_network, tmp_path, monkeypatch):
    path = tmp_path / "network.bitbook"
    make_network("grid").save(path)
    old = path.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        make_network("scalar").save(path)
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["network.bitbook"]


def test_a_killed_save_leaves_the_old_file_whole(make_network, tmp_path):
    path = tmp_path / "network.bitbook"
    make_network("grid").save(path)
    old = path.read_bytes()
    script = (
        "import os, sys, time, bitbook\n"
        "network = bitbook.load(sys.argv[1])\n"
        "os.fsync = lambda handle: (print('writing', flush=True), time.sleep(60))\n"
        "network.save(sys.argv[1])\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"writing\n"
    child.send_signal(signal.SIGKILL)
    child.wait(10)
    assert path.read_bytes() == old
    bitbook.load(path)


def test_save_asks_for_the_usual_permissions(make_network, tmp_path):
    (tmp_path / "plain").touch()
    make_network("grid").save(tmp_path / "network.bitbook")
    assert os.stat(tmp_path / "network.bitbook").st_mode == os.stat(tmp_path / "plain").st_mode
