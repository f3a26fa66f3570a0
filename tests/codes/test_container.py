"""The file gives back what was put in, to the last bit, and its ledger counts every byte."""

import json
import os
import pickle
import signal
import subprocess
import sys

import bitbook
import numpy as np
import pytest
import safetensors
from bitbook import GridCode, ScalarCode, SparseCode, VectorCode
from safetensors.numpy import load_file


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
    with pytest.raises(OSError, match="disk is full"):
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


def test_odd_shapes_come_back():
    """No weights, one weight, a codebook of one, vectors, five axes, a layer that is all pruned."""
    codes = {
        "empty": ScalarCode(np.zeros((0, 3), int), "one"),
        "single": ScalarCode(np.array(0), "one"),
        "same": ScalarCode(np.zeros((40, 50), int), "one"),
        "vector": ScalarCode(np.arange(300) % 3, "three", np.float16(0.5)),
        "video": ScalarCode(np.arange(2 * 3 * 2 * 3 * 3).reshape(2, 3, 2, 3, 3) % 3, "three"),
        "wide": ScalarCode(np.arange(2 * 9 * 9).reshape(2, 1, 9, 9) % 3, "three"),
        "pruned": SparseCode(np.zeros((30, 40), bool), ScalarCode(np.zeros(0, int), "one")),
        "kept": SparseCode(np.ones((3, 4), bool), VectorCode(np.array([[0], [1], [1]]), "fours", (3, 4))),
        "removed": GridCode(np.zeros((3, 4), int), np.zeros(3, int), np.zeros(3, int)),
    }
    codebooks = {"one": np.float16([2]), "three": np.float32([-1, 0.5, 3]), "fours": np.ones((2, 4), np.float16)}
    parts = {"dense": {"none": np.zeros((0, 2), np.float16)}, "specification": {}, "original_parameters": 0}
    network = bitbook.Compressed(codes=codes, codebooks=codebooks, **parts)
    assert_same(network, bitbook.codes.decode(network.to_bytes()))


def test_a_network_can_be_pickled(compressed):
    assert pickle.loads(pickle.dumps(compressed)).to_bytes() == compressed.to_bytes()


@pytest.fixture(scope="module")
def resnet20(data_folder) -> tuple[dict[str, np.ndarray], bitbook.Compressed]:
    """The given ResNet-20 with one uniform step of 0.07 for the whole network."""
    state = load_file(data_folder / "weights" / "cifar10_resnet20.safetensors")
    book = (np.arange(-40, 41) * 0.07).astype(np.float16)
    tensors = {name: weights for name, weights in state.items() if weights.ndim > 1}
    codes = {name: ScalarCode(np.rint(weights / 0.07).astype(int) + 40, "all") for name, weights in tensors.items()}
    normalisation = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    arguments = {"depth": 20, "classes": 10, "shortcut": "A", **normalisation}
    parts = {"codebooks": {"all": book}, "specification": {"factory": "cifar_resnet", "arguments": arguments}}
    return state, bitbook.Compressed.from_state(state, codes=codes, **parts)


def test_header_and_tables_of_a_resnet20_are_small(resnet20):
    _, network = resnet20
    parts = network.ledger().by_part()
    assert network.original_parameters == 269_722
    assert parts["header"] + parts["coder tables"] + parts["checksum"] < 1200  # the bar is 3000


def test_a_resnet20_is_coded_far_below_the_entropy_of_its_layers(resnet20):
    _, network = resnet20
    rows = [row for row in network.ledger().rows if row.section in network.codes]
    assert sum(row.bytes for row in rows) < 0.89 * sum(row.bound for row in rows)
    assert_same(network, bitbook.codes.decode(network.to_bytes()))


def test_fewer_mantissa_bits_stay_close_and_take_less(resnet20):
    state, network = resnet20
    parts = {name: getattr(network, name) for name in ("codes", "codebooks", "specification")}
    coarse = bitbook.Compressed.from_state(state, mantissa=5, **parts)
    assert len(coarse.to_bytes()) < len(network.to_bytes()) - 600
    for module, rows in network.batch_norm.items():
        np.testing.assert_allclose(coarse.batch_norm[module], rows, rtol=2**-6)
