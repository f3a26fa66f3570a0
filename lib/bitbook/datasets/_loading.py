"""Loading data sets by name, word of every look at test images, and fingerprints."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import numpy as np
import torch

from bitbook.datasets import _canonical as canonical
from bitbook.datasets import _image_folder as image_folder
from bitbook.datasets._dataset import Dataset

_observers: list[Callable[[str], None]] = []  # one at most


def observe_test_reads(observer: Callable[[str], None] | None) -> None:
    """Have a function called with a data set's name at every load of its test split, in place of the one before.

    None: nobody looks on.
    """
    _observers[:] = [observer] if observer else []


def load(name: str, *, split: str) -> Dataset:
    """Load the split "train" or "test" of a data set; `observe_test_reads` tells of every load of a test split.

    "imagenet" and every name that begins with "imagenet-" is a folder of class folders, or of such folders train and
    val; the others are canonical files. Raises ValueError for an unknown name or split, DatasetMissing where there is
    none, DatasetDamaged where it does not hold what its name promises.
    """
    if split not in ("train", "test"):
        raise ValueError(f"unknown split {split!r}: it is 'train' or 'test'")
    if _is_folder(name):
        images, labels = image_folder.read(name, split)
        classes = image_folder.CLASSES
    else:
        pixels, labels = canonical.read(name, split)
        pixels = pixels.reshape(*pixels.shape[:3], -1)  # (N, H, W, C)
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        classes = canonical.SETS[name].classes
    if split == "test":
        for observer in _observers:
            observer(name)
    return Dataset(name=name, images=images, labels=torch.from_numpy(labels.astype(np.int64)), classes=classes)


def fingerprint(name: str, *, splits: Iterable[str] | None = None) -> dict[str, dict]:
    """Per split (all by default): count, image shape, and a hash of images with their labels that ignores their order.

    Two copies agree in it exactly when they hold the same labelled images (of image files: the same files). This is not
    a read of the test split.
    """
    marks = {}
    for split in splits or (image_folder.splits(name) if _is_folder(name) else ("train", "test")):
        if _is_folder(name):
            files, labels = image_folder.read(name, split)
            pairs = zip(files.paths, labels, strict=True)
            contents = (path.read_bytes() + int(label).to_bytes(2, "little") for path, label in pairs)
            shape = (*files.shape[2:], 3)
        else:
            images, labels = canonical.read(name, split)
            contents = (image.tobytes() + bytes([label]) for image, label in zip(images, labels, strict=True))
            shape = images.shape[1:]
        digests = sorted(hashlib.sha256(content).digest() for content in contents)
        mark = hashlib.sha256(b"".join(digests)).hexdigest()
        marks[split] = {"count": len(labels), "shape": list(shape), "hash": mark}
    return marks


def _is_folder(name: str) -> bool:
    return name == "imagenet" or name.startswith("imagenet-")
