"""At how many positions a network uses each layer's weights."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import torch
from torch import nn

_SHAPES = {"digits_cnn": (1, 8, 8), "lenet5": (1, 28, 28), "mnist_cnn": (1, 28, 28), "torchvision": (3, 224, 224)}


def image_shape(specification: Mapping) -> tuple[int, int, int]:
    """Return the usual (C, H, W) of the images of a network of bitbook's."""
    arguments = specification.get("arguments", {})
    if specification.get("factory") == "shrunk":
        return image_shape(arguments["of"])
    small = (3, 32, 32)
    return small if arguments.get("small_images") else _SHAPES.get(specification.get("factory", ""), small)


def output_positions(network: nn.Module, shape: Sequence[int]) -> dict[str, tuple[int, int]]:
    """Return output positions and groups of each convolution and linear layer, by the name of its weight.

    Args:
        network: The network, which sees one image of zeros.
        shape: (C, H, W) of the images.

    Raises:
        ValueError: The network does not take such images.
    """
    found: dict[str, tuple[int, int]] = {}

    def hook(name: str):
        def record(module: nn.Module, _: tuple, output: torch.Tensor) -> None:
            groups = getattr(module, "groups", 1)
            channels = module.weight.shape[0]
            before = found.get(name, (0, groups))[0]  # a layer may be used more than once
            found[name] = (before + output.numel() // channels, groups)

        return record

    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    layers = {name: module for name, module in network.named_modules() if isinstance(module, kinds)}
    training = network.training
    with ExitStack() as hooks, torch.no_grad():
        for name, module in layers.items():
            hooks.enter_context(module.register_forward_hook(hook(f"{name}.weight")))
        try:
            network.eval()(torch.zeros(1, *shape))
        except RuntimeError as error:
            raise ValueError(f"the network takes no images of {'x'.join(map(str, shape))}: {error}") from error
        finally:
            network.train(training)
    return found
