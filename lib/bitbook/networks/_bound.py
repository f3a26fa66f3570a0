"""A bound on what is built: a specification from a file may ask for no more than the file holds."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

MORE_TENSORS, MORE_NUMBERS = 256, 1 << 27


@contextmanager
def at_most(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Refuse modules that register more parameters and buffers than these, or larger ones, as soon as they are made.

    Four times these are allowed and a fixed number more, as a network may be built with layers that are replaced and,
    where it lost channels, with all of them at first. Raises ValueError within the block.
    """
    sizes = [tensor.numel() for tensor in tensors]
    tensors_left, numbers_left = 4 * len(sizes) + MORE_TENSORS, 4 * sum(sizes) + MORE_NUMBERS

    def count(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        nonlocal tensors_left, numbers_left
        if tensor is not None:
            tensors_left, numbers_left = tensors_left - 1, numbers_left - tensor.numel()
            if min(tensors_left, numbers_left) < 0:
                raise ValueError(
                    f"the module and the file differ in {type(module).__name__}.{name}: the specification asks for "
                    "more weights than the file holds; give the matching module as into="
                )

    with register_module_parameter_registration_hook(count), register_module_buffer_registration_hook(count):
        yield
