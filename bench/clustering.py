"""Clustering beside its peers: times as ratios of one run, costs as ratios to the best known.

Times of one thread are CPU time of the thread, medians of interleaved runs, so that other load on the machine falls on
both sides. Real layers are read from $BITBOOK_DATA where that is set; otherwise Laplacian weights take their place.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import ckwrap
import faiss
import kmeans1d as kmeans1d_package
import numpy as np
import torch
from bitbook.clustering import (
    entropy_constrained,
    kmeans1d,
    kmeans1d_layers,
    nearest_codewords,
    search_order,
    sort_weights,
    uniform_bins,
    vector_kmeans,
)
from bitbook.clustering._nearest import assign, pack
from bitbook.clustering._permutation_search import BlockCovariance
from bitbook.clustering._threads import Workers
from safetensors.numpy import load_file


def seconds(functions: dict[str, Callable], repeats: int) -> dict[str, float]:
    """Median CPU seconds of this thread, one call of each function in turn after a first to compile and warm up."""
    times = {name: [] for name in functions}
    for repeat in range(repeats + 1):
        for name, function in functions.items():
            start = time.thread_time()
            function()
            if repeat:
                times[name].append(time.thread_time() - start)
    return {name: float(np.median(measured)) for name, measured in times.items()}


def wall(function: Callable) -> tuple[float, float, object]:
    """Least wall seconds and CPU seconds of all threads in three calls, and the result."""
    times = []
    for _ in range(3):
        start = time.perf_counter(), time.process_time()
        result = function()
        times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return *np.min(times, 0).tolist(), result


def one_dimension() -> None:
    x = np.random.default_rng(0).normal(0, 1, 1_000_000).astype(np.float32)
    exact = x.astype(np.float64)
    ours = seconds({"16": lambda: kmeans1d(x, 16), "256": lambda: kmeans1d(x, 256)}, 5)
    peers = {"kmeans1d": lambda: kmeans1d_package.cluster(x, 16), "ckwrap": lambda: ckwrap.ckmeans(exact, 16)}
    theirs = seconds(peers, 1)
    found = kmeans1d_package.cluster(x, 16)
    cost = np.square(exact - np.array(found.centroids)[found.clusters]).sum()
    print(f"kmeans1d, 1,000,000 normal weights, k = 16: {ours['16'] * 1e3:.0f} ms")
    print(f"  times faster than the kmeans1d package: {theirs['kmeans1d'] / ours['16']:.1f} (bar 15)")
    print(f"  times faster than ckwrap: {theirs['ckwrap'] / ours['16']:.1f}")
    print(f"  cost against the package's, less one: {kmeans1d(x, 16).cost / cost - 1:.1e} (bar 1e-9)")
    print(f"  k = 256 takes {ours['256'] / ours['16']:.2f} times as long as k = 16 (bar 2)")
    rng = np.random.default_rng(0)
    layers = {f"layer{i}": rng.laplace(0, 0.02, size).astype(np.float32) for i, size in enumerate(resnet50())}
    total = sum(layer.size for layer in layers.values())
    elapsed, worked, _ = wall(lambda: kmeans1d_layers(layers, 16, threads=2))
    print(
        f"  {len(layers)} layers, {total:,} weights, k = 16, two threads: {elapsed:.1f} s (bar 10), {worked:.1f} of CPU"
    )
    edges = np.linspace(x.min(), x.max(), 256)
    times = seconds({"digitize": lambda: np.digitize(x, edges), "ours": lambda: uniform_bins(x, 256)}, 5)
    print(f"uniform bins with their means: {times['digitize'] / times['ours']:.1f} times faster than np.digitize alone")


def resnet50() -> list[int]:
    """Sizes of the 53 largest weight tensors of ResNet-50: all but the first convolution."""
    sizes, inputs = [2048 * 1000], 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        sizes.append(inputs * 4 * width)
        for _ in range(blocks):
            sizes += [inputs * width, 9 * width * width, 4 * width * width]
            inputs = 4 * width
    return sizes


def entropy() -> None:
    folder = os.environ.get("BITBOOK_DATA")
    if folder:
        network = load_file(Path(folder) / "weights" / "cifar10_resnet20.safetensors")
        layers = [weights for weights in network.values() if weights.ndim > 1]
    else:
        rng = np.random.default_rng(0)
        layers = [rng.laplace(0, 0.02, size).astype(np.float32) for size in (432, 2304, 9216, 36_864)]
    name = "ResNet-20" if folder else "Laplacian weights"
    print(f"entropy-constrained clusters against entropy-coded k-means, {len(layers)} layers of {name}")
    for k in (3, 4, 8, 16, 32, 64):
        ratios, bits = [], 0.0
        for weights in layers:
            prepared = sort_weights(weights)
            means = kmeans1d(prepared, k)
            low, high = -60.0, 20.0  # log2 of the weight: the bits fall as it grows
            while high - low > 1e-2:
                middle = (low + high) / 2
                fits = entropy_constrained(prepared, 2.0**middle, resolution=1024).bits <= means.bits
                low, high = (low, middle) if fits else (middle, high)
            ratios.append(entropy_constrained(prepared, 2.0**high, resolution=1024).cost / means.cost)
            bits += means.bits
        print(
            f"  at no more than the {bits / sum(w.size for w in layers):.2f} bits a weight of k = {k}: squared error "
            f"{np.median(ratios):.3f} of k-means' (median), {max(ratios):.3f} at worst (bar: below 1)"
        )
    rate_weight = 1e-4
    prepared = sort_weights(max(layers, key=np.size))
    found = {r: entropy_constrained(prepared, rate_weight, resolution=r) for r in (None, 4096)}
    times = seconds({str(r): lambda r=r: entropy_constrained(prepared, rate_weight, resolution=r) for r in found}, 3)
    best, refined = (clusters.cost + rate_weight * clusters.bits for clusters in found.values())
    print(
        f"  largest layer, {len(prepared)} different weights: {times['4096'] * 1e3:.0f} ms; exact over all borders "
        f"{times['None'] * 1e3:.0f} ms, for {refined / best - 1:.1e} less"
    )


def vectors() -> None:
    torch.manual_seed(0)
    rows = (torch.randn(256, 256, 3, 3) * 0.02).numpy().reshape(-1, 9)  # the data of the reference code's figures
    codebook = rows[:256].copy()
    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatL2(9)
    index.add(codebook)
    tiles = pack(rows, np.zeros(9))
    with Workers(1) as workers:
        functions = {
            "faiss": lambda: index.search(rows, 1),
            "packed": lambda: assign(tiles, codebook, workers),
            "whole": lambda: nearest_codewords(rows, codebook, threads=1),
        }
        times = seconds(functions, 30)
        same = (assign(tiles, codebook, workers) == index.search(rows, 1)[1][:, 0]).mean()
    print(f"vector k-means, 65,536 rows, d = 9, k = 256: an assignment takes {times['packed'] * 1e3:.2f} ms")
    print(f"  times faster than faiss: {times['faiss'] / times['packed']:.2f} (bar 2.5), same labels: {same:.6f}")
    print(f"  with the packing that k-means does once: {times['faiss'] / times['whole']:.2f}")
    reference = {"SR-C": 1.40878e-4, "SR-D": 1.40878e-4, "none": 1.41806e-4}  # of two seeds the better one
    for annealing, theirs in reference.items():
        runs = [
            wall(lambda s=s, a=annealing: vector_kmeans(rows, 256, annealing=a, seed=s, threads=2)) for s in range(3)
        ]
        errors = [clusters.cost / rows.size / theirs for *_, clusters in runs]
        print(
            f"  100 iterations, {annealing}, two threads: {min(t for t, *_ in runs):.2f} s (bar 1.5), "
            f"{min(cpu for _, cpu, _ in runs):.2f} of CPU, error "
            f"{np.mean(errors):.5f} of the reference code's, {max(errors):.5f} at worst of three seeds (bar 1)"
        )
    start = time.process_time()
    peer = faiss.Kmeans(9, 256, niter=100, max_points_per_centroid=65_536)
    peer.train(rows)
    print(
        f"  faiss.Kmeans, 100 iterations, one thread: {time.process_time() - start:.2f} s, error "
        f"{peer.obj[-1] / rows.size / reference['none']:.5f} of the reference code's without annealing"
    )


def permutations() -> None:
    torch.manual_seed(0)
    layers = [(torch.randn(shape) * 0.02).numpy() for shape in ((256, 256, 9), (256, 128, 1))]
    peers = [(18, 14.7e-3, 6.7472e-62), (4, 0.91e-3, 2.4274e-14)]  # d, seconds a swap, determinant after 10,000 swaps
    rng = np.random.default_rng(0)
    for weights, (d, theirs, least) in zip(layers, peers, strict=True):
        search = BlockCovariance(weights, d, np.arange(weights.shape[1]))
        pairs = rng.integers(weights.shape[1], size=(2000, 2))
        swap = seconds({"swap": lambda search=search, pairs=pairs: search.swap(pairs)}, 9)["swap"] / len(pairs)
        print(f"permutation search, weights {weights.shape}, d = {d}: {swap * 1e6:.2f} us a swap")
        print(f"  times faster than the reference code: {theirs / swap:,.0f} (bar 100, aim 1,000)")
        for method in ("swaps", "annealed"):
            took = seconds({method: lambda w=weights, d=d, m=method: search_order(w, d, method=m)}, 1)[method]
            after = [np.exp(search_order(weights, d, method=method, seed=s).after) / least for s in range(3)]
            print(f"  {method}: {took:.2f} s, determinant {max(after):.4f} of the reference's at worst of three seeds")


if __name__ == "__main__":
    one_dimension()
    entropy()
    vectors()
    permutations()
