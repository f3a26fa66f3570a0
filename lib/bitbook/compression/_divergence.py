"""What a search on a trained network minimises: the divergence from its outputs on augmented training images."""

import copy

from torch import Tensor, nn

from bitbook import training
from bitbook.codes import Compressed
from bitbook.tasks import Task


class Divergence:
    """The mean Kullback-Leibler divergence of a file's outputs from the float network's, in nats an image.

    images: how many augmented training images, drawn by the seed; no test image is ever seen here.
    """

    def __init__(self, network: nn.Module, task: Task, *, images: int = 2000, seed: int = 0) -> None:
        # Other images than those that the same seed draws for the batch-norm re-estimation.
        self.images = task.calibration(images, seed=seed + 1_000_000)  # (images, C, H, W)
        self.float_logits = training.logits(network, self.images)  # (images, classes)
        self._labels = task.labels
        self._into = copy.deepcopy(network)

    def __call__(self, compressed: Compressed) -> float:
        module = compressed.to_module(into=self._into)
        return self.of(training.logits(module, self.images))

    def of(self, logits: Tensor) -> float:
        """Return the divergence of outputs (images, classes)."""
        return training.kl_divergence(self.float_logits, logits, labels=self._labels)
