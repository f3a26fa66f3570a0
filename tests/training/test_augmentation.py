"""Augmentation of whole batches against one image at a time."""

from __future__ import annotations

import pytest
import torch
from bitbook.training import augment, sample

IMAGES = torch.randint(1, 256, (64, 3, 9, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def crops(image, padding):
    """Every crop of a padded image, by its shift."""
    height, width = image.shape[1:]
    padded = torch.nn.functional.pad(image, [padding] * 4)
    spots = [(y, x) for y in range(2 * padding + 1) for x in range(2 * padding + 1)]
    return {(y, x): padded[:, y : y + height, x : x + width] for y, x in spots}


def test_every_result_is_a_crop_of_its_own_image_and_all_crops_occur():
    seen = set()
    for seed in range(8):
        for image, result in zip(IMAGES, augment(IMAGES, policy="crop1", generator=generator(seed)), strict=True):
            spots = [spot for spot, crop in crops(image, 1).items() if torch.equal(crop, result)]
            assert len(spots) == 1
            seen.add(spots[0])
    assert len(seen) == 9


def test_flip_mirrors_about_half_of_the_images():
    flipped = augment(IMAGES, policy="flip", generator=generator())
    same = (flipped == IMAGES).flatten(1).all(1)
    mirrored = (flipped == IMAGES.flip(3)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 16 < mirrored.sum() < 48


def test_crop_and_flip_combine():
    for image, result in zip(IMAGES, augment(IMAGES, policy="crop2+flip", generator=generator()), strict=True):
        assert any(torch.equal(crop, result) or torch.equal(crop.flip(2), result) for crop in crops(image, 2).values())


def test_cutout_blackens_one_square_and_nothing_else():
    result = augment(IMAGES, policy="cutout4", generator=generator())
    black = (result == 0).all(1)  # (N, H, W); no pixel of IMAGES is black
    assert torch.equal(result, IMAGES.masked_fill(black[:, None], 0))
    for hole in black:
        rows, columns = hole.any(1).nonzero(), hole.any(0).nonzero()
        assert (
            hole.sum()
            == len(rows) * len(columns)
            == (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
        )
        assert 2 <= len(rows) <= 4 and 2 <= len(columns) <= 4  # cut at the border by half at most


@pytest.mark.parametrize("policy", ["none", "crop4", "crop4+flip", "crop2+flip+cutout3"])
def test_the_generator_alone_decides_and_type_and_shape_stay(policy):
    first, again = (augment(IMAGES, policy=policy, generator=generator(3)) for _ in range(2))
    assert torch.equal(first, again)
    floats = augment(IMAGES.double(), policy=policy, generator=generator(3))
    assert torch.equal(floats, first.double())
    assert (first.dtype, first.shape) == (IMAGES.dtype, IMAGES.shape)


@pytest.mark.parametrize("policy", ["crop", "crop4+mirror", "", "flip2"])
def test_unknown_policies_are_refused(policy):
    with pytest.raises(ValueError, match="none of cropP, cutoutS, flip"):
        augment(IMAGES, policy=policy, generator=generator())


def test_sample_draws_each_image_once_per_round():
    marked = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1)
    values = sample(marked, 25, policy="none", seed=0).flatten().tolist()
    assert sorted(values[:10]) == sorted(values[10:20]) == list(range(10))
    assert len(set(values[20:])) == 5
    assert values != sample(marked, 25, policy="none", seed=1).flatten().tolist()
