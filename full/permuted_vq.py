"""The paper's own networks on ImageNet: torchrun --nproc-per-node 8 full/permuted_vq.py resnet18 small.

Needs the folder imagenet (train and val, a folder a class) in $BITBOOK_DATA; torchvision's weights are fetched. Killed,
the same command goes on from the last epoch. **It has not been run yet.** The paper's: ResNet-18 66.74 % (small) and
63.33 % (large), ResNet-50 75.04 and 72.18 %, after nine epochs.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from bitbook import codes, tasks, training
from bitbook.codes import recount
from bitbook.compression import Retraining
from bitbook.methods import permuted_vq
from bitbook.training import _distributed as distributed

BATCHES = {"resnet18": 128, "resnet50": 64}  # of each process, as is the learning rate
BLOCKS = {
    ("resnet18", "small"): permuted_vq.Blocks(linear_k=2048),
    ("resnet18", "large"): permuted_vq.Blocks(linear_k=2048, kernels=2),
    ("resnet50", "small"): permuted_vq.Blocks(linear_k=1024),
    ("resnet50", "large"): permuted_vq.Blocks(linear_k=1024, kernels=2, pointwise=8),
}


def main() -> None:
    """Permute, quantise, fine-tune, and print the accuracy of the file loaded back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=BATCHES)
    parser.add_argument("regime", choices=("small", "large"))
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--rate", type=float, default=1e-3, help="of Adam, for one process")
    parser.add_argument("--out", type=Path, default=Path(".work/imagenet-pvq"))
    given = parser.parse_args()
    with distributed.processes() as device:
        rank, processes = distributed.place()
        task = tasks.get(f"imagenet-{given.network}")
        task = dataclasses.replace(
            task, recipe=dataclasses.replace(task.recipe, batch_size=processes * BATCHES[given.network])
        )
        network = task.network()
        network.load_state_dict(task.pretrained_weights())
        tuning = Retraining(
            epochs=given.epochs,
            learning_rate=given.rate * processes,
            optimiser="adam",
            weight_decay=0.0,
            distil=0.0,
            precision="float32",
        )
        folder = given.out / f"{given.network}-{given.regime}"
        blocks = BLOCKS[given.network, given.regime]
        file = permuted_vq.compress(network.to(device), task, blocks, tuning=tuning, folder=folder)
        if rank == 0:
            file.save(path := folder / "network.bitbook")
            test, module = task.test(), codes.load(path).to_module().to(device)
            print(recount(file, "pqf"), f"{file.ratio:.2f} times")
            print(training.evaluate(module, test.images, test.labels, task.metrics))


if __name__ == "__main__":
    main()
