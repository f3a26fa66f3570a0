"""Codes and the file: speed in MB of float32 weights a second, sizes against entropy, beside plain peers.

One core; times are CPU time of the thread, medians of interleaved runs, so that other load falls on all sides. Real
layers are read from $BITBOOK_DATA where that is set; otherwise Laplacian weights take their place.
"""

import lzma
import os
import subprocess
import sys
import time
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from bitbook import Compressed, GridCode, ScalarCode, SparseCode, VectorCode, load
from bitbook.codes import Code, decode, entropy_bits
from clustering import seconds
from safetensors.numpy import load_file, save_file

SHAPE = (512, 512, 3, 3)
MEGABYTES = 4e-6 * np.prod(SHAPE)


def compressed(codes: dict[str, Code], codebooks: dict[str, np.ndarray], dense: dict | None = None) -> Compressed:
    size = sum(int(np.prod(code.shape)) for code in codes.values())
    return Compressed(codes, codebooks, dense or {}, {"factory": "none", "arguments": {}}, size)


def speed() -> None:
    rng = np.random.default_rng(0)
    scales = rng.uniform(0.5, 2, (SHAPE[0], 1, 1, 1))
    smooth = rng.laplace(size=SHAPE)
    smooth += 0.5 * np.roll(smooth, 1, -1)  # neighbours in a kernel are alike, as in trained networks
    normal = np.clip(np.rint(smooth * scales * 2) + 15, 0, 30).astype(np.uint8)
    book, words = np.linspace(-1, 1, 31).astype(np.float16), rng.normal(size=(256, 9)).astype(np.float16)
    mask = rng.random(SHAPE) < 0.1
    even = rng.integers(0, 16, SHAPE)
    depths = rng.integers(2, 6, SHAPE[0])
    half = (1 << depths >> 1).reshape(-1, 1, 1, 1)
    grid = np.clip(normal.astype(int) - 15, -half, half - 1)
    files = {
        "scalar, 4 bits packed": ({"w": ScalarCode(even, "book")}, {"book": book[:16]}),
        "vector, d = 9, k = 256, packed": (
            {"w": VectorCode(rng.integers(0, 256, (512, 512)), "words", SHAPE)},
            {"words": words},
        ),
        "scalar, entropy-coded": ({"w": ScalarCode(normal, "book")}, {"book": book}),
        "sparse, entropy-coded": ({"w": SparseCode(mask, ScalarCode(normal[mask], "book"))}, {"book": book + 2}),
        "grid, entropy-coded": (
            {"w": GridCode(grid, depths, -depths)},
            {},
        ),
    }
    data = {name: compressed(*parts).to_bytes() for name, parts in files.items()}
    values, squeezed = book.astype(np.float32), zlib.compress(normal.tobytes(), 6)
    gathered = values[normal]
    functions = {
        "copy of float32": gathered.copy,
        "gather from unpacked bytes": lambda: values.take(normal),
        "gather from zlib's bytes": lambda: values.take(np.frombuffer(zlib.decompress(squeezed), np.uint8)),
        **{name: lambda name=name: decode(data[name]).decode() for name in data},
    }
    times = seconds(functions, 5)
    print(f"file in memory to float32, {np.prod(SHAPE):,} weights, one core (bars: 200 packed, 50 entropy-coded)")
    for name, elapsed in times.items():
        size = f"{len(data[name]) * 8 / np.prod(SHAPE):6.3f} bits a weight" if name in data else ""
        against = times["gather from unpacked bytes"] / elapsed
        print(f"  {name:32} {MEGABYTES / elapsed:8.0f} MB/s, {against:5.2f} of a gather   {size}")
    print(f"  zlib takes {8 * len(squeezed) / normal.size:.3f} bits a weight for the entropy-coded scalar one")


def resnet20() -> tuple[dict[str, np.ndarray], str]:
    """Weight tensors of the given ResNet-20, or Laplacian ones of its shapes."""
    if folder := os.environ.get("BITBOOK_DATA"):
        network = load_file(Path(folder) / "weights" / "cifar10_resnet20.safetensors")
        return {name: weights for name, weights in network.items() if weights.ndim > 1}, "ResNet-20"
    rng = np.random.default_rng(0)
    shapes = [(16, 3, 3, 3), *[(16, 16, 3, 3)] * 6, *[(32, 32, 3, 3)] * 6, *[(64, 64, 3, 3)] * 6, (10, 64)]
    return {f"layer{i}": rng.laplace(0, 0.1, shape) for i, shape in enumerate(shapes)}, "Laplacian weights"


def sizes() -> None:
    layers, name = resnet20()
    print(f"{name}, one uniform step in all layers: bytes of the coded indices")
    for step in (0.03, 0.05, 0.07, 0.09, 0.12):
        whole = {key: np.rint(weights / step).astype(int) for key, weights in layers.items()}
        low, high = (extreme([extreme(v) for v in whole.values()]) for extreme in (np.min, np.max))
        codes = {key: ScalarCode(indices - low, "all") for key, indices in whole.items()}
        ledger = compressed(codes, {"all": (np.arange(low, high + 1) * step).astype(np.float16)}).ledger()
        ours = sum(row.bytes for row in ledger.rows if row.section in layers)
        bound = sum(entropy_bits(np.bincount(code.indices.ravel())) for code in codes.values()) / 8
        plain = np.concatenate([code.indices.ravel().astype(np.uint8) for code in codes.values()]).tobytes()
        peers = {"zlib": len(zlib.compress(plain, 9)), "lzma": len(lzma.compress(plain))}
        print(
            f"  step {step}: {ours:,} with tables, {ours / bound - 1:+.1%} to the ideal entropy of each layer alone; "
            + ", ".join(f"{peer} {size / ours:.2f} times as large" for peer, size in peers.items())
        )


def times() -> None:
    layers, name = resnet20()
    whole = {key: np.clip(np.rint(weights / 0.07), -30, 30).astype(int) for key, weights in layers.items()}
    book = (np.arange(-30, 31) * 0.07).astype(np.float16)
    codes = {key: ScalarCode(indices + 30, "all") for key, indices in whole.items()}
    with TemporaryDirectory() as folder:
        file, plain = Path(folder) / "a.bitbook", Path(folder) / "a.safetensors"
        compressed(codes, {"all": book}).save(file)
        save_file({key: np.ascontiguousarray(weights, np.float32) for key, weights in layers.items()}, plain)
        found = seconds(
            {
                "save": lambda: compressed(codes, {"all": book}).save(file),
                "load and decode": lambda: load(file).decode(),
                "load of float32 by safetensors": lambda: load_file(plain),
            },
            5,
        )
        print(f"{name}: " + ", ".join(f"{what} {elapsed * 1e3:.1f} ms" for what, elapsed in found.items()))
        script = f"import bitbook; bitbook.load({str(file)!r}).decode()"
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", script], check=True)
        cold = time.perf_counter() - start
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import numpy"], check=True)
        numpy = time.perf_counter() - start
        print(
            f"  new process, import, load and decode: {cold:.2f} s; a process that imports NumPy: {numpy:.2f} s (wall)"
        )


if __name__ == "__main__":
    speed()
    sizes()
    times()
