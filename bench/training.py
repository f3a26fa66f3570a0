"""Training and evaluation of ResNet-20 beside the barest PyTorch loops: images per second, as ratios of one run.

Below that, what DP-Net's training adds to a plain one in bfloat16: the float network's outputs, the quantisers, and the
clustering of all layers every 130 steps.

The bare training loop has no augmentation, no schedule, no progress and no checkpoint, its images are floats already,
and of the two memory layouts it gets the faster one. Rounds are interleaved, so that other load falls on all sides.
"""

import copy
import dataclasses
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from bitbook import tasks
from bitbook.clustering import kmeans1d
from bitbook.compression import weight_tensors
from bitbook.methods import dpnet, self_compression
from bitbook.networks import channel_graph
from bitbook.training import Recipe, distillation, fit, logits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

WAITING = ("_local_scalar_dense", "nonzero", "bincount", "_to_copy", "copy_")  # operators that may wait for a GPU
BATCH, STEPS, ROUNDS = 128, 6, 5
EVERY, EPOCH = 130, 50_000  # steps between two clusterings, images


def bare_training(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    """One epoch of SGD with Nesterov momentum over float images (N, C, H, W)."""
    network.train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    for index in torch.randperm(len(images)).split(BATCH):
        optimiser.zero_grad()
        F.cross_entropy(network(images[index]), labels[index]).backward()
        optimiser.step()


def bare_evaluation(network: nn.Module, images: Tensor) -> None:
    """One pass over float images (N, C, H, W), as many at a time as ours."""
    network.eval()
    with torch.inference_mode():
        for batch in images.split(100):
            network(batch)


def rates(functions: dict[str, Callable[[], None]], images: int) -> dict[str, float]:
    """Median images per second of interleaved rounds, after one to warm up."""
    seconds = {name: [] for name in functions}
    for _ in range(ROUNDS + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return {name: images / float(np.median(times[1:])) for name, times in seconds.items()}


class Operators(TorchDispatchMode):
    """Counts the operators that the processor issues, by name: what a step costs it, whatever the device."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.counts[function.overloadpacket.__name__] += 1
        return function(*args, **(kwargs or {}))


def host_work(train: Callable[[int], None]) -> Counter:
    """Operators of one training step: those of two trainings of one epoch, whose images differ by one batch."""
    counts = []
    for steps in (2, 3):
        with Operators() as mode:
            train(steps)
        counts.append(mode.counts)
    return counts[1] - counts[0]


def shrinking(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Self-compression of a network with all its channels, and with every second one gone."""
    graph = channel_graph.trace(network)
    gone = {name: range(1, len(ids), 2) for name, ids in graph.layers.items() if not np.isin(ids, graph.fixed).any()}
    half = channel_graph.remove(network, graph, gone, tolerance=None)
    recipe = Recipe(epochs=1, batch_size=BATCH, optimiser="adam", learning_rate=1e-3)
    scheme = self_compression.SelfCompression(gamma=0.01, every=0)

    def train(student: nn.Module) -> None:
        fit(copy.deepcopy(student), images, labels, recipe, seed=0, scheme=scheme, progress=False)

    measured = rates({"all channels": lambda: train(network), "half of them": lambda: train(half)}, len(images))
    for name, rate in measured.items():
        print(f"shrinking   {name:20}  {rate:7.0f} images/s  {rate / measured['all channels']:5.2f} times (bar 1.6)")


def main() -> None:
    task = tasks.get("cifar10")
    network = task.network(seed=0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device)
    generator = torch.Generator().manual_seed(0)
    stored = torch.randint(0, 256, (BATCH * STEPS, 32, 32, 3), dtype=torch.uint8, generator=generator)
    stored = stored.permute(0, 3, 1, 2)  # channels-last, as data sets come
    labels = torch.randint(0, 10, (len(stored),), generator=generator).to(device)
    last = (stored / 255).to(device)
    first = last.contiguous()
    recipe = Recipe(epochs=1, batch_size=BATCH, augmentation="crop4+flip", label_smoothing=0.1)

    def ours() -> None:
        with TemporaryDirectory() as folder:
            fit(network, stored, labels, recipe, seed=0, folder=Path(folder), progress=False)

    training = rates(
        {
            "bitbook": ours,
            "bare, channels first": lambda: bare_training(network, first, labels),
            "bare, channels last": lambda: bare_training(network, last, labels),
        },
        len(stored),
    )
    evaluation = rates(
        {
            "bitbook": lambda: logits(network, stored),
            "bare, channels first": lambda: bare_evaluation(network, first),
            "bare, channels last": lambda: bare_evaluation(network, last),
        },
        len(stored),
    )
    for what, measured in (("training", training), ("evaluation", evaluation)):
        best = max(rate for name, rate in measured.items() if name != "bitbook")
        for name, rate in measured.items():
            print(f"{what:10}  {name:20}  {rate:7.0f} images/s  {rate / best:5.2f} of the best bare loop")
    half = dataclasses.replace(recipe, precision="bfloat16")
    learner, quantised = copy.deepcopy(network), copy.deepcopy(network)
    teacher, scheme = distillation(copy.deepcopy(network)), dpnet.DPQ(k=4, every=10**9)  # clustering is timed below
    friendly = rates(
        {
            "plain": lambda: fit(network, stored, labels, half, seed=0, progress=False),
            "distillation": lambda: fit(learner, stored, labels, half, seed=0, objective=teacher, progress=False),
            "DPQ, k = 4": lambda: fit(
                quantised, stored, labels, half, seed=0, scheme=scheme, objective=teacher, progress=False
            ),
        },
        len(stored),
    )
    for name, rate in friendly.items():
        print(f"bfloat16    {name:20}  {rate:7.0f} images/s  {rate / friendly['plain']:5.2f} of plain training")
    through = {"scheme": scheme, "objective": teacher}
    for name, student, own in (("plain", network, {}), ("DPQ, k = 4", quantised, through)):
        options = {"seed": 0, "progress": False, **own}
        work = host_work(lambda n, s=student, o=options: fit(s, stored[: n * BATCH], labels[: n * BATCH], half, **o))
        waiting = {operator: work[operator] for operator in WAITING if work[operator]}
        print(f"a step of   {name:20}  {work.total():7d} operators, of which may wait for a GPU: {waiting}")
    shrinking(network, stored, labels)
    layers = list(weight_tensors(network).values())
    clustering = rates({"clustering": lambda: [kmeans1d(layer, 4) for layer in layers]}, 1)["clustering"]
    share = EPOCH / BATCH / EVERY / clustering / (EPOCH / friendly["DPQ, k = 4"])
    print(f"clustering all {len(layers)} layers every {EVERY} steps: {share:.2%} of an epoch (bar 3 %)")


if __name__ == "__main__":
    main()
