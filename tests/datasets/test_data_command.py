"""`bitbook data NAME`: fetches what is missing, once, and says what is there."""

from __future__ import annotations

import gzip
import hashlib
import struct

import numpy as np
from bitbook.cli import main
from bitbook.datasets import _canonical as canonical
from bitbook.datasets import _official as official
from bitbook.datasets._canonical import ImageSet


def test_missing_set_is_fetched_once(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BITBOOK_DATA", str(tmp_path))
    for name, count in (("train", 6), ("test", 2)):
        images = np.zeros((count, 28, 28), np.uint8)
        for key, array in ((f"/x-{name}", images), (f"/y-{name}", images[:, 0, 0])):
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            server.files[key] = gzip.compress(header + array.tobytes())
    sources = {server.url + path: hashlib.md5(content).hexdigest() for path, content in server.files.items()}
    monkeypatch.setitem(official.SOURCES, "mnist", sources)
    monkeypatch.setitem(canonical.SETS, "mnist", ImageSet(train=6, test=2, shape=(28, 28), classes=10))
    for _ in range(2):
        assert main(["data", "mnist"]) == 0
        assert capsys.readouterr().out == "mnist: 6 train images, 2 test images\n"
    assert len(server.requests) == 4


def test_what_cannot_be_fetched_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BITBOOK_DATA", str(tmp_path))
    assert main(["data", "cifar100-calib10k"]) != 0
    error = capsys.readouterr().err
    assert error.startswith("bitbook: data set cifar100-calib10k: there is no ") and error.count("\n") == 1
