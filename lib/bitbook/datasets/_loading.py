"""Loading data sets by name, word of every look at test images, and fingerprints."""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import _canonical as canonical
from . import _image_folder as image_folder
from ._dataset import Dataset, DatasetMissing

_observers: list[Callable[[str], None]] = []  # one at most


def observe_test_reads(observer: Callable[[str], None] | None) -> None:
    """Have a function called with a data set's name at every load of its test split, in place of the one before.

    None: nobody looks on.
    """
    _observers[:] = [observer] if observer else []


def load(name: str, *, split: str) -> Dataset:
    """Load the split "train" or "test" of a data set; `observe_test_reads` observes every load of a test split.

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
        _observe(name)
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
        marks[split] = _mark(contents, len(labels), shape)
    return marks


class NamedImages:
    """The images of a data set that `load` knows by name.

    calibration: name of a set that stands in for training images that are not at hand.
    """

    def __init__(self, name: str, *, calibration: str | None = None) -> None:
        self.name, self._stand_in = name, calibration

    def train(self) -> Dataset:
        """The labelled training images. Raises DatasetMissing where they are not at hand."""
        return load(self.name, split="train")

    def test(self) -> Dataset:
        """The labelled test images; each call counts as a read."""
        return load(self.name, split="test")

    def calibration(self) -> Dataset:
        """The training images, or those that stand in for them; the name of what is returned says which."""
        try:
            return self.train()
        except DatasetMissing:
            if self._stand_in is None:
                raise
            return load(self._stand_in, split="train")

    def fingerprint(self) -> dict:
        """The fingerprints of the images in use per split, plain JSON."""
        train = self.calibration().name
        if train == self.name:
            return {"dataset": self.name, "splits": fingerprint(self.name)}
        stand_in = fingerprint(train, splits=("train",))["train"]
        splits = {"train": {"dataset": train, **stand_in}, **fingerprint(self.name, splits=("test",))}
        return {"dataset": self.name, "splits": splits}


class OwnImages:
    """Images of one's own, in memory.

    train, test: each a pair of images uint8 (N, C, H, W) and labels int64 (N,). Raises ValueError for another form.
    """

    def __init__(self, name: str, *, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> None:
        self.name = name
        classes = 1 + max(int(labels.max()) if len(labels) else 0 for _, labels in (train, test))
        self._splits: dict[str, Dataset] = {}
        for split, (images, labels) in (("train", train), ("test", test)):
            if images.dtype != torch.uint8 or images.ndim != 4 or labels.shape != images.shape[:1]:
                raise ValueError(
                    f"{name}: {split} is images uint8 (N, C, H, W) and labels (N,), "
                    f"not {images.dtype} {tuple(images.shape)} and {tuple(labels.shape)}"
                )
            channels_last = images.contiguous(memory_format=torch.channels_last)
            self._splits[split] = Dataset(name=name, images=channels_last, labels=labels.long(), classes=classes)

    def train(self) -> Dataset:
        """The labelled training images."""
        return self._splits["train"]

    def test(self) -> Dataset:
        """The labelled test images; each call counts as a read."""
        _observe(self.name)
        return self._splits["test"]

    def calibration(self) -> Dataset:
        """The training images."""
        return self.train()

    def fingerprint(self) -> dict:
        """The fingerprints of the images per split, plain JSON."""
        marks = {}
        for split, data in self._splits.items():
            images: Any = data.images
            pixels = images.permute(0, 2, 3, 1).numpy()  # (N, H, W, C)
            contents = (
                image.tobytes() + int(y).to_bytes(8, "little") for image, y in zip(pixels, data.labels, strict=True)
            )
            marks[split] = _mark(contents, len(data), pixels.shape[1:])
        return {"dataset": self.name, "splits": marks}


def _observe(name: str) -> None:
    for observer in _observers:
        observer(name)


def _mark(contents: Iterable[bytes], count: int, shape: tuple[int, ...]) -> dict:
    digests = sorted(hashlib.sha256(content).digest() for content in contents)
    return {"count": count, "shape": list(shape), "hash": hashlib.sha256(b"".join(digests)).hexdigest()}


def _is_folder(name: str) -> bool:
    return name == "imagenet" or name.startswith("imagenet-")
