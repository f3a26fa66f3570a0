"""ImageNet and its subsets: folders of class folders, decoded when they are used."""

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ._dataset import DatasetDamaged, DatasetMissing, folder

SIZE = 224
CLASSES = 1000
AHEAD = 3  # batches decoded while one is in use
ONLY_SPLIT = {"imagenet-sample1000": "train"}  # of sets without train/ and val/; the others are for testing
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


class ImageFiles:
    """Images uint8 (N, 3, 224, 224) RGB in files: a slice or an index tensor decodes those that it takes.

    Files of just that size are taken as they are; of others the shorter side becomes 256 (bilinear) and the centre is
    cut out. Raises DatasetDamaged for a file that cannot be decoded.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self.shape = (len(paths), 3, SIZE, SIZE)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        return next(batches(self, [index]))

    def chosen(self, index: slice | Tensor) -> Sequence[Path]:
        """The paths that an index takes."""
        return self.paths[index] if isinstance(index, slice) else [self.paths[i] for i in index.tolist()]

    def to(self, device: torch.device) -> Self:
        """Itself: files stay where they are, and what is taken out goes to the network's device."""
        return self


def batches(images: Tensor | ImageFiles, indices: Iterable[slice | Tensor]) -> Iterator[Tensor]:
    """Take batches (n, C, H, W) out of images, one after the other.

    Files are decoded ahead while the batch before is in use, by threads on all cores: decoding releases the
    interpreter's lock. What comes out does not depend on their number.
    """
    if isinstance(images, Tensor):
        yield from (images[index] for index in indices)
        return
    pool = ThreadPoolExecutor(os.cpu_count())
    waiting: deque = deque()
    try:
        for index in [*indices, *[None] * AHEAD]:
            if index is not None:
                waiting.append([pool.submit(_decode, path) for path in images.chosen(index)])
            if waiting and (index is None or len(waiting) > AHEAD):
                decoded = np.stack([image.result() for image in waiting.popleft()])  # (n, 224, 224, 3)
                yield torch.from_numpy(decoded).permute(0, 3, 1, 2)
    finally:
        pool.shutdown(cancel_futures=True)


@cache
def wnids() -> tuple[str, ...]:
    """The thousand WordNet identifiers of ImageNet-1k in the order of its labels."""
    return tuple((Path(__file__).parent / "imagenet_wnids.csv").read_text().split()[1:])


def splits(name: str) -> tuple[str, ...]:
    """The splits that a set of class folders has: "train" and "val" folders, or one set that is itself a split."""
    root = folder() / name
    found = tuple(split for split, inner in (("train", "train"), ("test", "val")) if (root / inner).is_dir())
    return found or (ONLY_SPLIT.get(name, "test"),)


def read(name: str, split: str) -> tuple[ImageFiles, np.ndarray]:
    """The images of a split and their labels int64 (N,), which follow ImageNet's 1,000 classes however few there are.

    Raises DatasetMissing where there is no such folder, DatasetDamaged for class folders that name no class.
    """
    root = folder() / name
    if not root.is_dir():
        raise DatasetMissing(
            f"data set {name}: there is no {root}: put or link a folder there that holds ImageNet's class folders"
            " (n01440764, ...), or train and val folders of them"
        )
    if split not in splits(name):
        raise DatasetMissing(
            f"data set {name} has no {split} images: {root} holds only {', '.join(splits(name))}: put or link"
            " folders train and val of class folders there"
        )
    inner = root / {"train": "train", "test": "val"}[split]
    known = {wnid: label for label, wnid in enumerate(wnids())}
    paths, labels = [], []
    for place in sorted(path for path in (inner if inner.is_dir() else root).iterdir() if path.is_dir()):
        wnid = re.search(r"n\d{8}", place.name)
        if wnid is None or wnid[0] not in known:
            raise DatasetDamaged(f"{place}: the name of a class folder must hold its identifier, such as n01440764")
        files = sorted(path for path in place.iterdir() if path.suffix.lower() in SUFFIXES)
        paths += files
        labels += [known[wnid[0]]] * len(files)
    if not paths:
        raise DatasetDamaged(f"{root}: there are no {split} images in class folders such as n01440764")
    return ImageFiles(paths), np.array(labels)


def _decode(path: Path) -> np.ndarray:
    """One image uint8 (224, 224, 3)."""
    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except OSError as error:
        raise DatasetDamaged(f"{path} cannot be decoded ({error}): replace it or take it away") from error
    if image.size != (SIZE, SIZE):
        scale = 256 / min(image.size)
        width, height = (int(scale * side + 1e-9) for side in image.size)
        left, top = round((width - SIZE) / 2), round((height - SIZE) / 2)
        image = image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + SIZE, top + SIZE))
    return np.asarray(image)
