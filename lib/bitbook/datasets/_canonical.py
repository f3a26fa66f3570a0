"""Image sets in one canonical form: NAME.npz with x_train, y_train, x_test, y_test, all uint8."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import _digits as digits
from ._dataset import DatasetDamaged, DatasetMissing, folder


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


def read(name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, H, W) or (N, H, W, 3) and labels uint8 (N,) of a split, checked."""
    if name not in SETS:
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(SETS)}, imagenet, imagenet-NAME")
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
    check(name, split, images, labels, path)
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


def check(name: str, split: str, images: np.ndarray, labels: np.ndarray, path: Path | None) -> None:
    """Raise DatasetDamaged unless images and labels are what the data set's split must hold."""
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
