"""Canonical data sets: what is read, what is refused, what is counted."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest
import torch
from bitbook import datasets
from bitbook.datasets import _canonical as canonical
from bitbook.datasets import _digits as digits
from bitbook.datasets._canonical import ImageSet
from sklearn.datasets import load_digits

RNG = np.random.default_rng(0)
SHAPE = (6, 5, 3)


@pytest.fixture
def arrays(tmp_path, monkeypatch):
    """Arrays of a small set named `tiny`, not yet on disk; BITBOOK_DATA is an empty folder."""
    monkeypatch.setenv("BITBOOK_DATA", str(tmp_path))
    monkeypatch.setitem(canonical.SETS, "tiny", ImageSet(train=8, test=4, shape=SHAPE, classes=10))
    x = RNG.integers(0, 256, (12, *SHAPE), dtype=np.uint8)
    y = RNG.integers(0, 10, 12, dtype=np.uint8)
    return {"x_train": x[:8], "y_train": y[:8], "x_test": x[8:], "y_test": y[8:]}


def test_images_come_as_channels_last_tensors(arrays, tmp_path):
    np.savez(tmp_path / "tiny.npz", **arrays)
    tiny = datasets.load("tiny", split="train")
    assert (tiny.images.shape, tiny.images.dtype, tiny.labels.dtype) == ((8, 3, 6, 5), torch.uint8, torch.int64)
    assert tiny.images.is_contiguous(memory_format=torch.channels_last)
    assert tiny.images[3, 2, 5, 1] == arrays["x_train"][3, 5, 1, 2]
    assert (len(tiny), tiny.name, tiny.classes) == (8, "tiny", 10)


def test_test_split_reads_are_told_and_fingerprints_are_not(arrays, tmp_path, reads):
    np.savez(tmp_path / "tiny.npz", **arrays)
    datasets.load("tiny", split="test")
    datasets.load("tiny", split="test")
    datasets.load("tiny", split="train")
    datasets.fingerprint("tiny")
    assert reads == ["tiny", "tiny"]


def test_fingerprint_ignores_order_and_sees_every_pixel_and_label(arrays, tmp_path):
    def mark(**changed):
        np.savez(tmp_path / "tiny.npz", **(arrays | changed))
        return datasets.fingerprint("tiny")["train"]

    original = mark()
    order = RNG.permutation(8)
    assert mark(x_train=arrays["x_train"][order], y_train=arrays["y_train"][order]) == original
    assert mark(y_train=arrays["y_train"][::-1])["hash"] != original["hash"]
    brighter = arrays["x_train"].copy()
    brighter[5, 0, 0, 0] ^= 1
    assert mark(x_train=brighter)["hash"] != original["hash"]
    assert (original["count"], original["shape"]) == (8, [6, 5, 3])


def test_missing_set_says_how_to_get_it(arrays):
    with pytest.raises(datasets.DatasetMissing, match="bitbook data tiny"):
        datasets.load("tiny", split="train")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "member"])
def test_damaged_file_says_what_to_do(arrays, tmp_path, damage):
    path = tmp_path / "tiny.npz"
    if damage == "member":
        del arrays["x_test"]
    np.savez(path, **arrays)
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    if damage == "flipped":
        content[content.index(arrays["x_test"].tobytes())] ^= 1
        path.write_bytes(content)
    if damage == "empty":
        path.write_bytes(b"")
    with pytest.raises(datasets.DatasetDamaged, match=r"tiny\.npz cannot be read .* run `bitbook data tiny`"):
        datasets.load("tiny", split="test")


@pytest.mark.parametrize(
    "wrong",
    [
        {"x_train": np.zeros((7, *SHAPE), np.uint8)},
        {"x_train": np.zeros((8, 3, 6, 5), np.uint8)},
        {"x_train": np.zeros((8, *SHAPE), np.float32)},
        {"y_train": np.zeros(7, np.uint8)},
        {"y_train": np.full(8, 10, np.uint8)},
    ],
)
def test_wrong_content_is_refused(arrays, tmp_path, wrong):
    np.savez(tmp_path / "tiny.npz", **(arrays | wrong))
    with pytest.raises(datasets.DatasetDamaged, match="tiny"):
        datasets.load("tiny", split="train")


def test_calibration_images_are_never_taken_for_cifar100(tmp_path, monkeypatch):
    monkeypatch.setenv("BITBOOK_DATA", str(tmp_path))
    monkeypatch.setitem(canonical.SETS, "cifar100", ImageSet(train=6, test=2, shape=SHAPE, classes=100))
    monkeypatch.setitem(canonical.SETS, "cifar100-calib10k", ImageSet(train=3, test=2, shape=SHAPE, classes=100))
    for held, other, train in (("cifar100-calib10k", "cifar100", 3), ("cifar100", "cifar100-calib10k", 6)):
        x, y = np.zeros((train, *SHAPE), np.uint8), np.zeros(train, np.uint8)
        np.savez(tmp_path / "cifar100.npz", x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
        assert len(datasets.load(held, split="train")) == train
        with pytest.raises(datasets.DatasetMissing, match=f"holds {held}, not {other}"):
            datasets.load(other, split="train")
        assert len(datasets.load("cifar100", split="test")) == 2


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="known: digits, mnist"):
        datasets.load("imagenet22k", split="train")
    with pytest.raises(ValueError, match="'train' or 'test'"):
        datasets.load("digits", split="validation")


def test_digits_are_scikit_learns_with_or_without_the_tracked_file(tmp_path, monkeypatch):
    source = load_digits()
    monkeypatch.setattr(digits, "BUNDLED", tmp_path / "digits.npz")
    for _ in ("from scikit-learn", "from the file"):
        train, test = (datasets.load("digits", split=split) for split in ("train", "test"))
        assert test.labels.tolist() == source.target[::5].tolist()
        assert len(train) + len(test) == len(source.target)
        assert torch.equal(torch.round(test.images[:, 0] / 255 * 16), torch.from_numpy(source.images[::5]).float())
        digits.write(digits.BUNDLED)
    first = digits.BUNDLED.read_bytes()
    digits.write(digits.BUNDLED)
    assert digits.BUNDLED.read_bytes() == first


def test_cifar10_is_the_known_set(data_folder):
    images = datasets.load("cifar10", split="train").images
    mean = images.sum((0, 2, 3), dtype=torch.int64) / (50000 * 32 * 32 * 255)
    assert mean.tolist() == pytest.approx([0.49139968, 0.48215841, 0.44653091], abs=1e-7)


def test_mnist_rebuilds_the_original_files(data_folder):
    md5 = {"train": "6bbc9ace898e44ae57da46a324031adb", "test": "2646ac647ad5339dbf082846283269ea"}
    for split, expected in md5.items():
        images = datasets.load("mnist", split=split).images
        header = struct.pack(">HBB3I", 0, 8, 3, len(images), 28, 28)
        assert hashlib.md5(header + images.numpy().tobytes()).hexdigest() == expected
