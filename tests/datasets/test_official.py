"""Official archives, rebuilt small, become the canonical arrays that they were made of."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile

import numpy as np
import pytest
from bitbook import datasets
from bitbook.datasets import _canonical as canonical
from bitbook.datasets import _official as official
from bitbook.datasets._canonical import ImageSet

RNG = np.random.default_rng(0)


def pictures(train, test, shape, classes):
    x = RNG.integers(0, 256, (train + test, *shape), dtype=np.uint8)
    y = RNG.integers(0, classes, train + test, dtype=np.uint8)
    return {"x_train": x[:train], "y_train": y[:train], "x_test": x[train:], "y_test": y[train:]}


def idx(array):
    return gzip.compress(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes())


def records(images, labels, coarse=False):
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    columns = [np.full((len(labels), 1), 7, np.uint8)] * coarse + [labels[:, None], planes]
    return np.concatenate(columns, axis=1).tobytes()


def archive(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def mnist_files(arrays):
    return {f"/{key}.gz": idx(arrays[key]) for key in ("x_train", "y_train", "x_test", "y_test")}


def cifar10_files(arrays):
    x, y = np.array_split(arrays["x_train"], 5), np.array_split(arrays["y_train"], 5)
    members = {f"cifar-10-batches-bin/data_batch_{i + 1}.bin": records(x[i], y[i]) for i in range(5)}
    members["cifar-10-batches-bin/test_batch.bin"] = records(arrays["x_test"], arrays["y_test"])
    return {"/cifar10.tar.gz": archive(members)}


def cifar100_files(arrays):
    halves = {split: records(arrays[f"x_{split}"], arrays[f"y_{split}"], coarse=True) for split in ("train", "test")}
    return {"/cifar100.tar.gz": archive({f"cifar-100-binary/{split}.bin": halves[split] for split in halves})}


@pytest.mark.parametrize(
    ("name", "shape", "files"),
    [
        ("mnist", (28, 28), mnist_files),
        ("cifar10", (32, 32, 3), cifar10_files),
        ("cifar100", (32, 32, 3), cifar100_files),
    ],
)
def test_fetch_writes_the_canonical_file(name, shape, files, server, tmp_path, monkeypatch):
    arrays = pictures(10, 4, shape, 10)
    server.files = files(arrays)
    server.breaks = [50]
    sources = {server.url + path: hashlib.md5(content).hexdigest() for path, content in server.files.items()}
    monkeypatch.setitem(official.SOURCES, name, sources)
    monkeypatch.setitem(canonical.SETS, name, ImageSet(train=10, test=4, shape=shape, classes=10))
    monkeypatch.setenv("BITBOOK_DATA", str(tmp_path))
    path = datasets.fetch(name, progress=False)
    with np.load(path) as file:
        assert {key: file[key].tolist() for key in file} == {key: value.tolist() for key, value in arrays.items()}
    assert datasets.load(name, split="train").labels.tolist() == arrays["y_train"].tolist()
    assert list((tmp_path / "downloads").iterdir()) == []


def test_official_cifar100_keeps_the_calibration_set_beside_it(server, tmp_path, monkeypatch):
    shape = (32, 32, 3)
    lossy, full = pictures(5, 4, shape, 100), pictures(10, 4, shape, 100)
    monkeypatch.setitem(canonical.SETS, "cifar100", ImageSet(train=10, test=4, shape=shape, classes=100))
    monkeypatch.setitem(canonical.SETS, "cifar100-calib10k", ImageSet(train=5, test=4, shape=shape, classes=100))
    monkeypatch.setenv("BITBOOK_DATA", str(tmp_path))
    np.savez(tmp_path / "cifar100.npz", **lossy)
    server.files = cifar100_files(full)
    content = server.files["/cifar100.tar.gz"]
    monkeypatch.setitem(
        official.SOURCES, "cifar100", {f"{server.url}/cifar100.tar.gz": hashlib.md5(content).hexdigest()}
    )
    datasets.fetch("cifar100", progress=False)
    assert datasets.load("cifar100", split="train").labels.tolist() == full["y_train"].tolist()
    assert datasets.load("cifar100-calib10k", split="train").labels.tolist() == lossy["y_train"].tolist()


def test_data_set_without_a_source_is_refused():
    with pytest.raises(ValueError, match="no official download"):
        datasets.fetch("digits")


def odd_archives():
    garbage = {"/cifar10.tar.gz": b"no archive"}
    truncated = {"/cifar10.tar.gz": cifar10_files(pictures(10, 4, (32, 32, 3), 10))["/cifar10.tar.gz"][:-1000]}
    members = {f"cifar-10-batches-bin/data_batch_{i}.bin": b"x" for i in range(1, 6)}
    short = {"/cifar10.tar.gz": archive({**members, "cifar-10-batches-bin/test_batch.bin": b"x"})}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in (*members, "cifar-10-batches-bin/test_batch.bin"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
    links = {"/cifar10.tar.gz": buffer.getvalue()}
    missing = {"/cifar10.tar.gz": archive(members)}
    few = cifar10_files(pictures(5, 4, (32, 32, 3), 10))
    return {"garbage": garbage, "cut": truncated, "short": short, "links": links, "missing": missing, "few": few}


@pytest.mark.parametrize("kind", ["garbage", "cut", "short", "links", "missing", "few"])
def test_odd_archives_are_one_line_and_replace_nothing(kind, server, tmp_path, monkeypatch):
    server.files = odd_archives()[kind]
    sources = {server.url + path: hashlib.md5(content).hexdigest() for path, content in server.files.items()}
    monkeypatch.setitem(official.SOURCES, "cifar10", sources)
    monkeypatch.setitem(canonical.SETS, "cifar10", ImageSet(train=10, test=4, shape=(32, 32, 3), classes=10))
    monkeypatch.setenv("BITBOOK_DATA", str(tmp_path))
    (tmp_path / "cifar10.npz").write_bytes(b"before")
    with pytest.raises(datasets.DownloadFailed, match=r"put .*cifar10\.npz there yourself") as caught:
        datasets.fetch("cifar10", progress=False)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "cifar10.npz").read_bytes() == b"before"


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(10**6)))
    monkeypatch.setattr(official, "LARGEST", 10**5)
    with pytest.raises(ValueError, match="more than 100,000 bytes"):
        official.read_mnist([tmp_path / "bomb.gz"] * 4)
