"""Random crops, flips and holes for whole batches at once, determined by a generator."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from bitbook.datasets import ImageFiles


def augment(images: Tensor, *, policy: str, generator: torch.Generator) -> Tensor:
    """Augment images (N, C, H, W), uint8 or float, by a policy such as "crop4+flip"; shape and type stay.

    Parts, joined by "+": `cropP` pads P black pixels all round and cuts out the old size at random (a shift by up to
    P), `flip` mirrors left and right with probability 1/2, `cutoutS` blackens a square of S pixels around a random
    centre; "none" alone does nothing. All draws come from `generator` on the CPU, so that they are the same for every
    device. Raises ValueError for another policy, and one of more pixels than images have.
    """
    return apply(images, policy=policy, drawn=draw(len(images), policy=policy, generator=generator))


def draw(count: int, *, policy: str, generator: torch.Generator) -> tuple[Tensor, ...]:
    """The random numbers that a policy needs for so many images, a tensor (..., count, 1) for each of its parts."""
    drawn = []
    for kind, size in _parts(policy):
        if kind == "crop":
            drawn.append(torch.randint(-size, size + 1, (2, count, 1), generator=generator))  # shifts
        elif kind == "flip":
            drawn.append(torch.rand(count, 1, generator=generator))
        else:
            drawn.append(torch.rand(2, count, 1, generator=generator))  # centres, as shares of height and width
    return tuple(drawn)


def apply(images: Tensor, *, policy: str, drawn: Sequence[Tensor]) -> Tensor:
    """Augment images (N, C, H, W) by what `draw` drew for them, on the device where they are."""
    if policy == "none":
        return images
    n, _, height, width = images.shape
    device = images.device
    every_row, every_column = torch.arange(height, device=device), torch.arange(width, device=device)
    rows, columns = every_row.expand(n, height), every_column.expand(n, width)  # where each pixel comes from
    hole = None
    for (kind, size), numbers in zip(_parts(policy), drawn, strict=True):
        if size > max(height, width):
            raise ValueError(
                f"augmentation policy {policy!r}: images have {height} x {width} pixels, fewer than {size}"
            )
        numbers = numbers.to(device)
        if kind == "crop":
            rows, columns = rows + numbers[0], columns + numbers[1]
        elif kind == "flip":
            columns = torch.where(numbers < 0.5, columns.flip(1), columns)
        else:
            hole_rows = _near(every_row, numbers[0] * height, size)  # (N, H)
            hole_columns = _near(every_column, numbers[1] * width, size)  # (N, W)
            hole = hole_rows[:, :, None] & hole_columns[:, None, :]
    black = ((rows < 0) | (rows >= height))[:, :, None] | ((columns < 0) | (columns >= width))[:, None, :]  # (N, H, W)
    if hole is not None:
        black |= hole
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    pixels = images.permute(0, 2, 3, 1)  # (N, H, W, C): neighbouring bytes in channels-last memory
    result = pixels[torch.arange(n, device=device)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return result.masked_fill_(black[..., None], 0).permute(0, 3, 1, 2)


def sample(images: Tensor | ImageFiles, count: int, *, policy: str, seed: int) -> Tensor:
    """Draw `count` augmented images: without replacement, or in several rounds where there are fewer of them."""
    generator = torch.Generator().manual_seed(seed)
    rounds = [torch.randperm(len(images), generator=generator) for _ in range(-(-count // len(images)))]
    return augment(images[torch.cat(rounds)[:count]], policy=policy, generator=generator)


def _parts(policy: str) -> list[tuple[str, int]]:
    """The parts of a policy and their sizes in pixels."""
    parts = [] if policy == "none" else policy.split("+")
    found = []
    for part in parts:
        match = re.fullmatch(r"(crop|cutout)(\d{1,6})|(flip)", part)
        if match is None:
            raise ValueError(f"augmentation policy {policy!r}: {part!r} is none of cropP, cutoutS, flip")
        found.append((match[1], int(match[2])) if match[1] else (match[3], 0))
    return found


def _near(positions: Tensor, centre: Tensor, size: int) -> Tensor:
    return ((positions + 0.5 - centre).abs() * 2) < size
