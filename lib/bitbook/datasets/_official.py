"""The official sources of the public data sets, turned into canonical files."""

import contextlib
import gzip
import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from bitbook.files import write_atomically

from ._canonical import SETS, check
from ._dataset import folder
from ._download import DownloadFailed, download

_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"
_CIFAR = "https://www.cs.toronto.edu/~kriz"

LARGEST = 200 << 20  # bytes of any archive and of any file in one

SOURCES: dict[str, dict[str, str]] = {  # URL: MD5 as published
    "mnist": {
        f"{_MNIST}/train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        f"{_MNIST}/train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        f"{_MNIST}/t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        f"{_MNIST}/t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    # The binary archives: the Python ones are pickles.
    "cifar10": {f"{_CIFAR}/cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
    "cifar100": {f"{_CIFAR}/cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8"},
}


def fetch(name: str, *, progress: bool = True) -> Path:
    """Download a data set from its official source, write its canonical file into `folder()`, and return that path.

    A file of CIFAR-100 that holds only the calibration images is kept as cifar100-calib10k.npz.
    Raises ValueError for a data set without such a source, DownloadFailed as `download` does.
    """
    if name not in SOURCES:
        raise ValueError(f"data set {name!r} has no official download; these have one: {', '.join(SOURCES)}")
    target = folder() / f"{name}.npz"
    downloads = folder() / "downloads"
    files = [
        download(url, downloads / url.rsplit("/", 1)[1], known_hash=f"md5:{md5}", largest=LARGEST, progress=progress)
        for url, md5 in SOURCES[name].items()
    ]
    try:
        arrays = READERS[name](files)
        for split in ("train", "test"):
            check(name, split, arrays[f"x_{split}"], arrays[f"y_{split}"], target)
    except Exception as error:  # whatever archives of any content make their readers say
        what = " ".join(str(error).split()) or type(error).__name__
        raise DownloadFailed(
            f"{name}: its source sent what is not this data set ({what}); put {target} there yourself"
        ) from error
    canonical = io.BytesIO()
    np.savez(canonical, **arrays)  # type: ignore[arg-type]  # numpy: any name may be that of an option
    if name == "cifar100" and target.exists():
        with contextlib.suppress(OSError, ValueError, LookupError, zipfile.BadZipFile), np.load(target) as old:
            if len(old["y_train"]) == SETS["cifar100-calib10k"].train:
                shutil.copyfile(target, folder() / "cifar100-calib10k.npz")
    write_atomically(target, canonical.getvalue())
    for file in files:
        file.unlink()
    return target


def _bounded(file: IO[bytes] | gzip.GzipFile | None) -> bytes:
    data = file.read(LARGEST + 1) if file else b""  # a folder or a link in an archive is no file
    if len(data) > LARGEST:
        raise ValueError(f"an archive holds more than {LARGEST:,} bytes")
    return data


def read_mnist(files: list[Path]) -> dict[str, np.ndarray]:
    """Read the four IDX files (images and labels of training, then of test) into canonical arrays."""
    return {key: _idx(path) for key, path in zip(("x_train", "y_train", "x_test", "y_test"), files, strict=True)}


def _idx(path: Path) -> np.ndarray:
    with gzip.open(path) as file:
        data = _bounded(file)
    dimensions = data[3]
    shape = np.frombuffer(data, ">u4", dimensions, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def _cifar(
    files: list[Path], inside: str, train: list[str], test: list[str], *, label_bytes: int
) -> dict[str, np.ndarray]:
    """Read a binary archive into canonical arrays; of coarse and fine labels we take the fine, which come last."""
    arrays = {}
    with tarfile.open(files[0]) as tar:
        for split, members in (("train", train), ("test", test)):
            data = b"".join(_bounded(tar.extractfile(f"{inside}/{member}")) for member in members)
            records = np.frombuffer(data, np.uint8).reshape(-1, label_bytes + 3 * 32 * 32)
            planes = records[:, label_bytes:].reshape(-1, 3, 32, 32)
            arrays[f"x_{split}"] = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))  # (N, 32, 32, 3)
            arrays[f"y_{split}"] = records[:, label_bytes - 1].copy()  # (N,)
    return arrays


_BATCHES = [f"data_batch_{i}.bin" for i in range(1, 6)]
READERS: dict[str, Callable[[list[Path]], dict[str, np.ndarray]]] = {
    "mnist": read_mnist,
    "cifar10": lambda files: _cifar(files, "cifar-10-batches-bin", _BATCHES, ["test_batch.bin"], label_bytes=1),
    "cifar100": lambda files: _cifar(files, "cifar-100-binary", ["train.bin"], ["test.bin"], label_bytes=2),
}
