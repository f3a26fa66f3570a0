"""`bitbook.compress` on ResNet-20 at 16 times, one thread: seconds, bytes of the file, and its top-1, seed by seed.

The seed draws the calibration images. Needs the data set cifar10 and the pretrained weights of its network:
`bitbook data cifar10`.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import time

import bitbook
import numba
import torch
from bitbook import tasks, training

RATIO, IMAGES, SEEDS = 16, 4000, 3

if __name__ == "__main__":
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    task = tasks.get("cifar10")
    network = task.network().eval()
    network.load_state_dict(task.pretrained_weights(), strict=False)
    test = task.test()
    for seed in range(SEEDS):
        images = task.calibration(IMAGES, seed=seed).float() / 255
        wall, cpu = time.perf_counter(), time.process_time()
        file = bitbook.compress(network, calibration=images, ratio=RATIO, progress=False)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        value = training.evaluate(file.to_module(), test.images, test.labels, task.metrics)["top1"]
        print(
            f"seed {seed}: {wall:.0f} s, {cpu:.0f} s of CPU, {len(file.to_bytes()):,} bytes, top-1 {100 * value:.2f} %"
        )
