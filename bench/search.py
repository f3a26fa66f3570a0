"""The search over real bytes on ResNet-20 with 1,000 images: what a candidate costs, and what a second worker brings.

A candidate's cost is that of a whole search divided by its candidates: rounding and coding of new layers, the file's
bytes, the divergence, NSGA-II itself. It is compared with a plain pass over the same images, both in seconds of this
process's CPU, on one thread, so that other load on the machine matters less; wall seconds stand beside. Needs the data
set cifar10 and the given weights of its network: `bitbook data cifar10`.
"""

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from bitbook import tasks, training
from bitbook.search import GeneSearch

IMAGES, PARENTS, CANDIDATES, ROUNDS = 1000, 24, 96, 3


def timed(function) -> tuple[float, float]:
    """Seconds of CPU and of the wall that a call takes."""
    cpu, wall = time.process_time(), time.perf_counter()
    function()
    return time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    torch.set_num_threads(1)
    task = tasks.get("cifar10")
    network = task.network()
    network.load_state_dict(task.pretrained_weights(), strict=False)
    network.eval()
    print(f"load of the machine, mean over a minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")

    with TemporaryDirectory() as folder:
        made = []
        options = {"images": IMAGES, "finest": 0.5, "coarsest": 2.5}
        start = timed(lambda: made.append(GeneSearch(network, task, folder=Path(folder) / "one", **options)))
        (search,) = made
        passes = sorted(timed(lambda: training.logits(network, search.cost.divergence.images)) for _ in range(ROUNDS))
        cpu, wall = passes[ROUNDS // 2]
        print(
            f"plain pass over {IMAGES} images: {cpu:.2f} s of CPU, {wall:.2f} s; preparing a search: {start[0]:.1f} s"
        )
        spent = timed(lambda: search.evolve(population=PARENTS, evaluations=CANDIDATES))
        each = spent[0] / search.evaluated
        print(f"{search.evaluated} candidates: {each:.2f} s of CPU each, {each / cpu:.2f} passes")
        genes = [point.genes for point in search.front()[:8]]
        layers = timed(lambda: [search.cost.candidate(g) for g in genes])[0] / len(genes)
        print(f"one whose layers are known: {layers:.2f} s of CPU, {layers / cpu:.2f} plain passes")

        seconds = {}
        for workers in (1, 2):
            fresh = GeneSearch(network, task, folder=Path(folder) / f"{workers}", workers=workers, **options)
            fresh.points([fresh.genes.uniform(step) for step in range(workers)])  # starts them
            seconds[workers] = timed(lambda s=fresh: s.evolve(population=PARENTS, evaluations=2 * PARENTS))[1]
        speedup = seconds[1] / seconds[2]
        print(
            f"{2 * PARENTS} candidates: {seconds[1]:.0f} s with one worker, {seconds[2]:.0f} s with two: {speedup:.2f}"
        )
    print(f"load of the machine, mean over a minute: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
