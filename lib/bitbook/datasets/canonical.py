"""Image sets in one canonical form: NAME.npz with x_train, y_train, x_test, y_test, all uint8."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch
import torch
from torch import Tensor

from bitbook.datasets import digits


class DatasetMissing(FileNotFoundError):
    """A data set is not where it is looked for."""


class DatasetDamaged(ValueError):
    """A data set's file cannot be read or does not hold what its name promises."""


@dataclass(frozen=True)
class Dataset:
    """One split of an image set: images uint8 (N, C, H, W) RGB or grey in channels-last memory, labels int64 (N,)."""

    name: str
    images: Tensor
    labels: Tensor
    classes: int

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ImageSet:
    """What a canonical file must hold: images per split, the shape of one image, the number of classes."""

    train: int
    test: int
    shape: tuple[int, ...]
    classes: int


SETS: Mapping[str, ImageSet] = {
    "digits": ImageSet(train=1437, test=360, shape=(8, 8), classes=10),
    "mnist": ImageSet(train=60000, test=10000, shape=(28, 28), classes=10),
    "cifar10": ImageSet(train=50000, test=10000, shape=(32, 32, 3), classes=10),
    "cifar100": ImageSet(train=50000, test=10000, shape=(32, 32, 3), classes=100),
    # 10,000 of CIFAR-100's training images, packed with loss: for calibration, not for training. Its test images are
    # the official ones. It may lie in cifar100.npz, where it is recognised by its count.
    "cifar100-calib10k": ImageSet(train=10000, test=10000, shape=(32, 32, 3), classes=100),
}

_test_reads: Counter[str] = Counter()


def folder() -> Path:
    """The folder of data sets and given weights: `$BITBOOK_DATA`, else the user's cache folder."""
    return Path(os.environ.get("BITBOOK_DATA") or pooch.os_cache("bitbook"))


def test_reads() -> dict[str, int]:
    """How often this process has loaded the test split of each data set."""
    return dict(_test_reads)


def load(name: str, *, split: str) -> Dataset:
    """Load the split "train" or "test" of a data set; every load of a test split is counted in `test_reads`.

    Raises ValueError for an unknown name or split, DatasetMissing where there is no file, DatasetDamaged where it does
    not hold what its name promises.
    """
    if split not in ("train", "test"):
        raise ValueError(f"unknown split {split!r}: it is 'train' or 'test'")
    images, labels = _read(name, split)
    if split == "test":
        _test_reads[name] += 1
    images = images.reshape(*images.shape[:3], -1)  # (N, H, W, C)
    return Dataset(
        name=name,
        images=torch.from_numpy(images).permute(0, 3, 1, 2),
        labels=torch.from_numpy(labels.astype(np.int64)),
        classes=SETS[name].classes,
    )


def fingerprint(name: str) -> dict[str, dict]:
    """Per split: count, image shape and a hash of images with their labels that does not depend on their order.

    Two copies agree in it exactly when they hold the same labelled images. This is not a read of the test split.
    """
    return {split: _fingerprint(*_read(name, split)) for split in ("train", "test")}


def _fingerprint(images: np.ndarray, labels: np.ndarray) -> dict:
    pairs = zip(images, labels, strict=True)
    digests = sorted(hashlib.sha256(image.tobytes() + bytes([label])).digest() for image, label in pairs)
    shape = list(images.shape[1:])
    return {"count": len(labels), "shape": shape, "hash": hashlib.sha256(b"".join(digests)).hexdigest()}


def _read(name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, H, W) or (N, H, W, 3) and labels uint8 (N,) of a split, checked."""
    if name not in SETS:
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(SETS)}")
    path = _find(name)
    if path is None:
        bundled = digits.arrays()
        images, labels = bundled[f"x_{split}"], bundled[f"y_{split}"]
    else:
        try:
            with np.load(path) as file:
                images, labels = file[f"x_{split}"], file[f"y_{split}"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise DatasetDamaged(f"{path} cannot be read ({error}): {_remedy(name)}") from error
    _check(name, split, images, labels, path)
    return images, labels


def _find(name: str) -> Path | None:
    """The file of a data set; None for digits where only scikit-learn has them."""
    if name == "digits":
        return digits.BUNDLED if digits.BUNDLED.exists() else None
    path = folder() / f"{name}.npz"
    if name == "cifar100-calib10k" and not path.exists():
        path = folder() / "cifar100.npz"
    if not path.exists():
        raise DatasetMissing(f"data set {name}: there is no {path}: {_remedy(name)}")
    return path


def _check(name: str, split: str, images: np.ndarray, labels: np.ndarray, path: Path | None) -> None:
    kind = SETS[name]
    expected = (getattr(kind, split), *kind.shape)
    if images.shape == expected and labels.shape == expected[:1] and images.dtype == labels.dtype == np.uint8:
        if labels.max() < kind.classes:
            return
        raise DatasetDamaged(f"{path}: y_{split} holds labels beyond {kind.classes} classes: {_remedy(name)}")
    other = {"cifar100": "cifar100-calib10k", "cifar100-calib10k": "cifar100"}.get(name)
    if other and images.shape == (SETS[other].train, *kind.shape):
        raise DatasetMissing(f"{path} holds {other}, not {name}: {_remedy(name)}")
    found = f"x_{split} is {images.dtype} {images.shape} with {len(labels)} labels"
    raise DatasetDamaged(f"{path}: {found}, expected uint8 {expected}: {_remedy(name)}")


def _remedy(name: str) -> str:
    if name == "digits":
        return "run `dvc checkout data.dvc`, or delete it"
    if name == "cifar100-calib10k":
        return "use the data set cifar100 instead (`bitbook data cifar100` fetches it)"
    return f"run `bitbook data {name}`, or set BITBOOK_DATA to the folder that holds {name}.npz"
