"""Puts CIFAR-10 together from sprite sheets that travelled in parts; see full/README.md.

python full/gpu_data.py split TRAIN.npz TEST.npz DIR_A DIR_B   two parts of about equal size
python full/gpu_data.py join DATA DIR...                        DATA/cifar10.npz; images of missing parts are black
"""

from __future__ import annotations

import io
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np

FIRST = 30  # training sheets in the first part; the test set goes with the second


def split(train: Path, test: Path, first: Path, second: Path) -> None:
    """Write the sheets, a file each, and the labels into two folders."""
    for name, path in (("train", train), ("test", test)):
        with np.load(path) as file:
            blob, offsets, labels = file["webp"].tobytes(), file["offsets"], file["labels"]
        for sheet, (start, end) in enumerate(pairwise(offsets)):
            folder = first if name == "train" and sheet < FIRST else second
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}-{sheet:02d}.webp").write_bytes(blob[start:end])
        np.save(first / f"labels-{name}.npy", labels)


def images(path: Path) -> np.ndarray:
    """The pictures of a sheet, uint8 (n, 32, 32, 3)."""
    from PIL import Image

    sheet = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))
    rows, columns = sheet.shape[0] // 32, sheet.shape[1] // 32
    return sheet.reshape(rows, 32, columns, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)


def join(target: Path, *folders: Path) -> None:
    """Write the canonical file from all sheets that are there."""
    paths = {path.stem: path for folder in folders for path in folder.glob("*.webp")}
    labels = {path.stem[7:]: np.load(path) for folder in folders for path in folder.glob("labels-*.npy")}
    arrays = {}
    with ThreadPoolExecutor(16) as pool:
        sheets = dict(zip(paths, pool.map(images, paths.values()), strict=True))
    size = len(next(iter(sheets.values())))
    for name, known in labels.items():
        arrays[f"x_{name}"] = np.zeros((-(-len(known) // size) * size, 32, 32, 3), np.uint8)
        for stem, pictures in sheets.items():
            if stem.startswith(name):
                start = int(stem.rpartition("-")[2]) * size
                arrays[f"x_{name}"][start : start + len(pictures)] = pictures
        arrays |= {f"x_{name}": arrays[f"x_{name}"][: len(known)], f"y_{name}": known}
    target.mkdir(parents=True, exist_ok=True)
    np.savez(target / "cifar10.partial.npz", **arrays)
    (target / "cifar10.partial.npz").replace(target / "cifar10.npz")
    print(f"{len(sheets)} sheets in {target / 'cifar10.npz'}")


if __name__ == "__main__":
    {"split": split, "join": join}[sys.argv[1]](*map(Path, sys.argv[2:]))
