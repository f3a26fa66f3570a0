"""Tasks: their names, numbers and where their weights and images come from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bitbook import datasets, networks, tasks
from bitbook.datasets import canonical
from bitbook.datasets.canonical import ImageSet


@pytest.mark.parametrize("task", tasks.TASKS.values(), ids=tasks.TASKS)
def test_networks_fit_their_data_sets(task):
    kind = datasets.SETS[task.dataset]
    channels = kind.shape[2] if len(kind.shape) == 3 else 1
    outputs = task.network(seed=0).eval()(torch.rand(2, channels, *kind.shape[:2]))
    assert outputs.shape == (2, kind.classes)
    labels = torch.zeros(2, dtype=torch.int64)
    assert all(0 <= metric(outputs, labels) <= 1 for metric in task.metrics.values())
    assert task.headline == next(iter(task.metrics)) == "top1"


def test_unknown_tasks_are_refused():
    with pytest.raises(ValueError, match="known: digits, mnist, cifar10"):
        tasks.get("cifar11")


def test_a_task_without_given_weights_says_so():
    with pytest.raises(ValueError, match="train its network"):
        tasks.get("digits").given_weights()


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
        assert (task.train().name, len(task.train())) == (name, train)


def test_given_weights_are_fetched_once_and_kept_as_safetensors(server, tmp_path, monkeypatch):
    monkeypatch.setenv("BITBOOK_DATA", str(tmp_path))
    task = tasks.get("cifar10")
    state = task.network(seed=0).state_dict()
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "source.th")
    server.files["/resnet20.th"] = (tmp_path / "source.th").read_bytes()
    given = networks.GivenWeights(task.specification, f"{server.url}/resnet20.th", networks.checksum(state))
    monkeypatch.setitem(networks.GIVEN, "cifar10_resnet20", given)
    for _ in range(2):
        assert networks.checksum(task.given_weights()) == given.checksum
    assert len(server.requests) == 1
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["cifar10_resnet20.safetensors"]
