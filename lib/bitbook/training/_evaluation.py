"""Running a network over images: float inputs from stored ones, logits in one pass, metrics by name."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from bitbook.datasets import ImageFiles, batches


def device() -> torch.device:
    """The GPU where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


Batch: TypeAlias = Tensor | tuple | dict


def inputs(network: nn.Module, images: Tensor) -> Tensor:
    """Images as the network takes them: floats in [0, 1] of its type, on its device; stored uint8 is divided by 255.

    Whole numbers of other types, such as words, stay as they are.
    """
    parameter = next(network.parameters())
    if images.dtype == torch.uint8:
        return images.to(parameter.device).to(parameter.dtype) / 255
    return images.to(parameter.device, parameter.dtype if images.is_floating_point() else None)


def run(network: nn.Module, data: Tensor | ImageFiles | Iterable[Batch], *, batch_size: int) -> Iterator[object]:
    """Yield the network's outputs, batch by batch, in the mode that its modules are in.

    data: images, cut into batches and turned into `inputs`; or batches, each a tensor of images, or a tuple or dict of
    the arguments themselves, which are only brought to the network's device.
    """
    if isinstance(data, Tensor | ImageFiles):
        data = batches(data, [slice(i, i + batch_size) for i in range(0, len(data), batch_size)])
    device = next(network.parameters()).device
    for batch in data:
        if isinstance(batch, Tensor):
            yield network(inputs(network, batch))
        elif isinstance(batch, dict):
            yield network(**{name: moved(value, device) for name, value in batch.items()})
        else:
            yield network(*(moved(value, device) for value in batch))


def moved(value: object, device: torch.device) -> object:
    """A tensor or packed sequence on the device; anything else as it is."""
    return value.to(device) if isinstance(value, Tensor | PackedSequence) else value


def batch_length(batch: Batch) -> int:
    """How many images, sequences or rows a batch holds: the length of its first tensor."""
    values = batch.values() if isinstance(batch, dict) else (batch,) if isinstance(batch, Tensor) else batch
    return next((len(value) for value in values if isinstance(value, Tensor) and value.ndim), 1)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and each of its modules back into its own mode afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def logits(
    network: nn.Module, images: Tensor | ImageFiles | Sequence[Batch], *, batch_size: int | None = None
) -> Tensor:
    """The network's outputs (N, C) float32 for images (N, C, H, W), uint8 or floats in [0, 1], in evaluation mode.

    By default it takes about 100,000 pixels at a time (100 images of 32 x 32), and four images at least: the
    feature maps of the networks here then stay in a processor's cache, which is fastest. Batches as `run` takes them
    serve, too; of several outputs, in a tuple or dict, those of floats are put side by side, (N, all of them).
    """
    shape: tuple[int, ...] = getattr(images, "shape", ())
    step = batch_size or (max(4, 102_400 // (shape[2] * shape[3])) if len(shape) == 4 else 100)
    with evaluating(network), torch.inference_mode():
        return torch.cat([joined(output).float().cpu() for output in run(network, images, batch_size=step)])


def joined(output: object) -> Tensor:
    """The one tensor of a network's outputs, or all of those of floats side by side."""
    if isinstance(output, Tensor):
        return output
    values = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    found = [value for value in values if isinstance(value, Tensor) and value.is_floating_point() and value.ndim]
    if not found:
        raise ValueError(f"the network returns {type(output).__name__} without tensors of floats: wrap it to give them")
    if len(found) == 1:
        return found[0]
    if len({len(value) for value in found}) > 1:
        raise ValueError("the network's outputs differ in their first axis: wrap it to give one output")
    return torch.cat([value.flatten(1) if value.ndim > 1 else value[:, None] for value in found], 1)


def evaluate(
    network: nn.Module,
    images: Tensor | ImageFiles,
    labels: Tensor,
    metrics: Mapping[str, Callable[[Tensor, Tensor], float]],
    *,
    batch_size: int | None = None,
) -> dict[str, float]:
    """Every metric of the network on labelled images, by name."""
    outputs = logits(network, images, batch_size=batch_size)
    return {name: metric(outputs, labels) for name, metric in metrics.items()}
