"""Networks by specification, and the checksum that identifies their weights.

A network takes images as float32 (N, C, H, W) in [0, 1], RGB, and normalises them itself: normalisation belongs to the
weights, not to the data. Its `specification` is `{"factory": name, "arguments": {...}}`, plain JSON, from which `build`
makes the same architecture again.
"""

import contextlib
import json
from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import nn

from ._bound import at_most
from ._digits_cnn import digits_cnn
from ._lenet5 import lenet5
from ._mnist_cnn import mnist_cnn
from ._mobile import EfficientNetLite0, MobileNetV1
from ._normalise import Normalise
from ._positions import image_shape, output_positions
from ._pretrained import GIVEN, GivenWeights, WeightsDamaged, checksum, torchvision_specification, torchvision_weights
from ._residual import CifarResNet, ResNet9, WideResNet
from ._structure import bake, batch_norms, is_plain, plain_copy, plain_names, unwrap_inside, unwrapped
from ._torchvision_classifier import torchvision_classifier
from .channel_graph import shrunk

__all__ = [
    "FACTORIES", "GIVEN", "GivenWeights", "Normalise", "WeightsDamaged", "at_most", "bake", "batch_norms", "build",
    "checksum", "image_shape", "is_plain", "output_positions", "plain_copy", "plain_names", "specification_of",
    "torchvision_specification", "torchvision_weights", "unwrap_inside", "unwrapped",
]  # fmt: skip

FACTORIES: dict[str, Callable[..., nn.Module]] = {
    "cifar_resnet": CifarResNet,
    "digits_cnn": digits_cnn,
    "efficientnet_lite0": EfficientNetLite0,
    "lenet5": lenet5,
    "mnist_cnn": mnist_cnn,
    "mobilenet_v1": MobileNetV1,
    "resnet9": ResNet9,
    "shrunk": shrunk,
    "torchvision": torchvision_classifier,
    "wide_resnet": WideResNet,
}


def build(specification: Mapping, *, seed: int | None = None) -> nn.Module:
    """Build the network that a specification describes, with fresh weights.

    `seed` fixes those weights without touching torch's own generator; without it they come from that generator.
    Raises ValueError for what is no specification, a class that is not ours, an unknown factory, and arguments that the
    factory does not take.
    """
    specification = json.loads(json.dumps(specification))  # a copy of our own, and proof that it is plain JSON
    match specification:
        case {"factory": str(name), "arguments": dict(arguments)}:
            factory = FACTORIES.get(name)
        case {"class": str(name)}:
            raise ValueError(f"{name} is no network of bitbook's: make one yourself and give it as into=")
        case _:
            form = '{"factory": name, "arguments": {...}}'
            raise ValueError(f"a network's specification has the form {form}, unlike {specification}")
    if factory is None:
        raise ValueError(f"unknown network factory {name!r}; known: {', '.join(sorted(FACTORIES))}")
    try:
        with torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            network = factory(**arguments)
    except NotImplementedError:  # no values on torch's meta device
        raise
    except (TypeError, RuntimeError, ArithmeticError, LookupError, AttributeError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]  # torch adds where in its own code
        raise ValueError(f"network factory {name!r}: {said:.300}") from error
    network.specification = specification
    return network


def specification_of(network: nn.Module) -> dict:
    """Return the specification from which `build` made a network; of any other class its module and name.

    A class of the same name as one of ours is not taken for ours, nor one of ours with other layers, or with hooks.
    """
    home, own = type(network).__module__, vars(network).get("specification")
    name = f"{home}.{type(network).__qualname__}"
    if isinstance(own, dict):
        if home.startswith("torch.fx."):  # a network that shrank
            return own
        if home.startswith("bitbook.networks."):
            changed = _layers(network) != _layers_of(json.dumps(own))
            return {"class": f"{name}, with other layers"} if changed else own
    return {"class": name}


def _layers(network: nn.Module) -> tuple:
    """What tells a network from another with the same weights."""
    return tuple(
        (
            name,
            type(part).__qualname__,
            part.extra_repr(),
            "forward" in vars(part),
            *part._forward_hooks,
            *part._forward_pre_hooks,
        )
        for name, part in network.named_modules()
    )


@cache
def _layers_of(specification: str) -> tuple:
    with contextlib.suppress(NotImplementedError), torch.device("meta"):  # some compute their widths in tensors
        return _layers(build(json.loads(specification)))
    return _layers(build(json.loads(specification), seed=0))
