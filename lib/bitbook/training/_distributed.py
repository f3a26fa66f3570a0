"""Several processes that train one network, each on its share of every batch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


@contextmanager
def processes() -> Iterator[torch.device]:
    """Join the processes that `torchrun` started, and yield this one's device; alone, the GPU where there is one.

    `torchrun --nproc-per-node 4 train.py` runs train.py in four processes, and whatever `fit` trains inside this block
    is trained by all of them: the same code as for one GPU or none.
    """
    together = "RANK" in os.environ
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
    if together:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        if together:
            distributed.destroy_process_group()


def place() -> tuple[int, int]:
    """This process's rank and the number of processes: (0, 1) where it is alone."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def wrapped(network: nn.Module) -> nn.Module:
    """The network as one whose gradients are averaged over all processes, or itself where there is but one."""
    return DistributedDataParallel(network) if place()[1] > 1 else network


def mean(value: Tensor) -> Tensor:
    """The mean of a tensor over all processes, in place."""
    _, count = place()
    if count > 1:
        distributed.all_reduce(value)
        value /= count
    return value


def same_buffers(network: nn.Module) -> None:
    """Give all processes the first one's buffers, such as batch-norm statistics, on which decisions may depend."""
    if place()[1] > 1:
        for buffer in network.buffers():
            distributed.broadcast(buffer, 0)
