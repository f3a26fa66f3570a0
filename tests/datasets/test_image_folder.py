"""Folders of ImageNet classes against torchvision's transforms and labels."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from bitbook import datasets, training
from bitbook.datasets import _image_folder
from bitbook.datasets._image_folder import wnids
from PIL import Image
from torch import nn
from torchvision.transforms import v2

RNG = np.random.default_rng(0)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A function that writes random images of given sizes into the class folders of a set and returns them."""
    monkeypatch.setenv("BITBOOK_DATA", str(tmp_path))

    def write(name, sizes):
        images = {}
        for path, (width, height) in sizes.items():
            file = tmp_path / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            images[path] = Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8))
            images[path].save(file)
        return images

    return write


def test_labels_follow_the_thousand_classes_however_few_there_are(place):
    assert len(wnids()) == len(set(wnids())) == 1000 and list(wnids()) == sorted(wnids())
    sizes = {"n15075141/b.png": (224, 224), "n01443537_goldfish/a.png": (224, 224), "n01440764/c.png": (224, 224)}
    place("imagenet-mine", sizes)
    mine = datasets.load("imagenet-mine", split="test")
    assert mine.labels.tolist() == [0, 1, 999]  # toilet tissue is the last class
    assert (mine.classes, mine.images.shape) == (1000, (3, 3, 224, 224))


def test_images_are_resized_and_cropped_as_torchvision_does(place):
    sizes = {
        f"n01440764/{i}.png": size for i, size in enumerate([(224, 224), (500, 375), (333, 500), (256, 301), (99, 80)])
    }
    images = place("imagenet-mine", sizes)
    usual = v2.Compose([v2.Resize(256), v2.CenterCrop(224), v2.PILToTensor()])
    expected = [v2.PILToTensor()(image) if image.size == (224, 224) else usual(image) for image in images.values()]
    files = datasets.load("imagenet-mine", split="test").images
    assert torch.equal(files[:], torch.stack(expected))
    assert torch.equal(files[torch.tensor([3, 1])], torch.stack([expected[3], expected[1]]))
    assert files[1:3].is_contiguous(memory_format=torch.channels_last)


def test_train_and_val_folders_are_the_splits(place, reads):
    place("imagenet", {"train/n01440764/a.png": (8, 9), "train/n01443537/b.png": (8, 9), "val/n01443537/c.png": (8, 9)})
    assert datasets.load("imagenet", split="train").labels.tolist() == [0, 1]
    assert datasets.load("imagenet", split="test").labels.tolist() == [1]
    assert reads == ["imagenet"]
    assert {split: mark["count"] for split, mark in datasets.fingerprint("imagenet").items()} == {"train": 2, "test": 1}


def test_a_set_without_splits_is_never_both(place):
    for name, split, other in (("imagenet-sample1000", "train", "test"), ("imagenet-dev1000", "test", "train")):
        place(name, {"n01440764/a.png": (8, 9)})
        assert len(datasets.load(name, split=split)) == 1
        assert list(datasets.fingerprint(name)) == [split]
        with pytest.raises(datasets.DatasetMissing, match=f"has no {other} images"):
            datasets.load(name, split=other)


def test_faults_say_what_to_do(place, tmp_path):
    with pytest.raises(datasets.DatasetMissing, match="put or link a folder there"):
        datasets.load("imagenet-mine", split="test")
    place("imagenet-mine", {"n01440764/a.png": (300, 300), "n01440764/b.png": (300, 300)})
    damaged = tmp_path / "imagenet-mine" / "n01440764" / "b.png"
    damaged.write_bytes(damaged.read_bytes()[:5000])
    with pytest.raises(datasets.DatasetDamaged, match=r"b\.png cannot be decoded"):
        datasets.load("imagenet-mine", split="test").images[:]
    (tmp_path / "imagenet-mine" / "goldfish").mkdir()
    with pytest.raises(datasets.DatasetDamaged, match="goldfish: the name of a class folder must hold its identifier"):
        datasets.load("imagenet-mine", split="test")
    (tmp_path / "imagenet-empty" / "n01440764").mkdir(parents=True)
    with pytest.raises(datasets.DatasetDamaged, match="no test images"):
        datasets.load("imagenet-empty", split="test")


def test_fingerprints_see_files_and_labels_and_not_their_names(place, tmp_path):
    place("imagenet-a", {"n01440764/a.png": (8, 9), "n01443537/b.png": (8, 9)})
    root = tmp_path / "imagenet-a"
    original = datasets.fingerprint("imagenet-a")
    (root / "n01440764" / "a.png").rename(root / "n01440764" / "z.png")
    assert datasets.fingerprint("imagenet-a") == original
    (root / "n01440764").rename(root / "n01484850")
    assert datasets.fingerprint("imagenet-a") != original


def test_batches_come_in_order_and_are_decoded_ahead(place, monkeypatch):
    place("imagenet-mine", {f"n01440764/{i}.png": (224, 224) for i in range(6)})
    files = datasets.load("imagenet-mine", split="test").images
    everything, done, decode = files[:], [], _image_folder._decode

    def noted(path):
        done.append(path)
        return decode(path)

    monkeypatch.setattr(_image_folder, "_decode", noted)
    indices = [torch.tensor([4, 1]), slice(2, 4), torch.tensor([0]), slice(5, 6)]
    taken = datasets.batches(files, indices)
    assert torch.equal(next(taken), everything[[4, 1]])
    while len(done) < 6:  # all others are decoded, though nobody has asked for them
        time.sleep(0.01)
    assert [batch.tolist() for batch in taken] == [everything[index].tolist() for index in indices[1:]]
    assert len(done) == 6
    assert torch.equal(next(datasets.batches(everything, indices)), everything[[4, 1]])


def test_a_damaged_file_among_those_ahead_is_named_when_its_turn_comes(place, tmp_path):
    place("imagenet-mine", {f"n01440764/{i}.png": (300, 300) for i in range(3)})
    damaged = tmp_path / "imagenet-mine" / "n01440764" / "1.png"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    taken = datasets.batches(datasets.load("imagenet-mine", split="test").images, [slice(0, 1), slice(1, 3)])
    assert len(next(taken)) == 1
    with pytest.raises(datasets.DatasetDamaged, match=r"1\.png cannot be decoded"):
        next(taken)


def test_training_on_files_is_training_on_their_images(place):
    place("imagenet-mine", {f"n01440764/{i}.png": (224, 224) for i in range(8)})
    files, ends = datasets.load("imagenet-mine", split="test").images, []
    for images in (files, files[:]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 2, 32, 32), nn.Flatten(), nn.Linear(98, 2))
        recipe = training.Recipe(epochs=2, batch_size=2, augmentation="crop16+flip", learning_rate=0.01)
        history = training.fit(network, images, torch.arange(8) % 2, recipe, seed=0, progress=False)
        ends.append((history.loss, training.logits(network, images).tolist()))
    assert ends[0] == ends[1]
