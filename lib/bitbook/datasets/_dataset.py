"""What a data set is here, where it lies, and how its absence is reported."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pooch
from torch import Tensor

if TYPE_CHECKING:
    from ._image_folder import ImageFiles


class DatasetMissing(FileNotFoundError):
    """A data set is not where it is looked for."""


class DatasetDamaged(ValueError):
    """A data set's file cannot be read or does not hold what its name promises."""


@dataclass(frozen=True)
class Dataset:
    """One split of an image set: images uint8 (N, C, H, W) RGB or grey in channels-last memory, labels int64 (N,).

    Sets of image files hold ImageFiles instead, which decode what is taken out of them by a slice or an index tensor.
    """

    name: str
    images: Tensor | ImageFiles
    labels: Tensor
    classes: int

    def __len__(self) -> int:
        return len(self.labels)


def folder() -> Path:
    """The folder of data sets and pretrained weights: `$BITBOOK_DATA`, else the user's cache folder."""
    return Path(os.environ.get("BITBOOK_DATA") or pooch.os_cache("bitbook"))
