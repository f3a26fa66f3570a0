"""Random crops, flips and holes for whole batches at once, determined by a generator."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from bitbook.datasets import ImageFiles


def augment(images: Tensor, *, policy: str, generator: torch.Generator) -> Tensor:
    """Augment images (N, C, H, W), uint8 or float, by a policy such as "crop4+flip"; shape and type stay.

    Parts, joined by "+": `cropP` pads P black pixels all round and cuts out the old size at random (a shift by up to
    P), `flip` mirrors left and right with probability 1/2, `cutoutS` blackens a square of S pixels around a random
    centre; "none" alone does nothing. All draws come from `generator` on the CPU, so that they are the same for every
    device. Raises ValueError for another policy.
    """
    if policy == "none":
        return images
    n, _, height, width = images.shape
    rows = torch.arange(height).expand(n, height)  # where each row of the result comes from
    columns = torch.arange(width).expand(n, width)
    hole = None
    for part in policy.split("+"):
        kind, size = _parse(part, policy)
        if kind == "crop":
            shift = torch.randint(-size, size + 1, (2, n, 1), generator=generator)
            rows, columns = rows + shift[0], columns + shift[1]
        elif kind == "flip":
            mirrored = torch.rand(n, 1, generator=generator) < 0.5
            columns = torch.where(mirrored, columns.flip(1), columns)
        elif kind == "cutout":
            centre = torch.rand(2, n, 1, generator=generator)
            hole_rows = _near(torch.arange(height), centre[0] * height, size)  # (N, H)
            hole_columns = _near(torch.arange(width), centre[1] * width, size)  # (N, W)
            hole = hole_rows[:, :, None] & hole_columns[:, None, :]
    black = ((rows < 0) | (rows >= height))[:, :, None] | ((columns < 0) | (columns >= width))[:, None, :]  # (N, H, W)
    if hole is not None:
        black |= hole
    device = images.device
    rows, columns = rows.clamp(0, height - 1).to(device), columns.clamp(0, width - 1).to(device)
    pixels = images.permute(0, 2, 3, 1)  # (N, H, W, C): neighbouring bytes in channels-last memory
    result = pixels[torch.arange(n, device=device)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return result.masked_fill_(black.to(device)[..., None], 0).permute(0, 3, 1, 2)


def sample(images: Tensor | ImageFiles, count: int, *, policy: str, seed: int) -> Tensor:
    """Draw `count` augmented images: without replacement, or in several rounds where there are fewer of them."""
    generator = torch.Generator().manual_seed(seed)
    rounds = [torch.randperm(len(images), generator=generator) for _ in range(-(-count // len(images)))]
    return augment(images[torch.cat(rounds)[:count]], policy=policy, generator=generator)


def _parse(part: str, policy: str) -> tuple[str, int]:
    match = re.fullmatch(r"(crop|cutout)(\d+)|(flip)", part)
    if match is None:
        raise ValueError(f"augmentation policy {policy!r}: {part!r} is none of cropP, cutoutS, flip")
    return (match[1], int(match[2])) if match[1] else (match[3], 0)


def _near(positions: Tensor, centre: Tensor, size: int) -> Tensor:
    return ((positions + 0.5 - centre).abs() * 2) < size
