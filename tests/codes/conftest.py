"""Example networks of every family of codes."""

from collections.abc import Callable

import bitbook
import numpy as np
import pytest
from bitbook import Compressed, GridCode, ScalarCode, SparseCode, VectorCode

Parts = tuple[dict, dict]  # codes, codebooks


def heavy(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Weights as networks have them: heavy tails, channels of different scale, smooth kernels."""
    weights = rng.laplace(size=shape)
    if len(shape) == 4:
        weights += 0.5 * np.roll(weights, 1, axis=-1)
    return weights * rng.uniform(0.3, 1.5, (shape[0], *[1] * (len(shape) - 1)))


def nearest(weights: np.ndarray, book: np.ndarray) -> np.ndarray:
    return np.abs(weights[..., None] - book.astype(np.float64)).argmin(-1)


def scalar(rng: np.random.Generator) -> Parts:
    """One shared codebook, one of a layer, scales of a layer and of channels."""
    shared, own = np.linspace(-4, 4, 17).astype(np.float16), np.float32([-1.5, -0.25, 0.25, 1.5])
    conv, conv2, linear = heavy(rng, 8, 3, 3, 3), heavy(rng, 6, 8, 1, 1), heavy(rng, 10, 8)
    return {
        "conv1.weight": ScalarCode(nearest(conv, shared), "shared", np.linspace(0.5, 1, 8).astype(np.float16)),
        "conv2.weight": ScalarCode(nearest(conv2, own), "own", np.float32(0.3)),
        "linear.weight": ScalarCode(nearest(linear, shared), "shared"),
    }, {"shared": shared, "own": own}


def vector(rng: np.random.Generator) -> Parts:
    """Two layers that share a codebook of kernels, one with codewords of four."""
    kernels, fours = rng.normal(size=(16, 9)).astype(np.float16), rng.normal(size=(7, 4)).astype(np.float32)
    return {
        "conv1.weight": VectorCode(rng.integers(0, 16, (8, 3)), "kernels", (8, 3, 3, 3)),
        "conv2.weight": VectorCode(rng.integers(0, 16, (6, 8)), "kernels", (6, 8, 3, 3)),
        "linear.weight": VectorCode(rng.integers(0, 7, (10, 2)), "fours", (10, 8)),
    }, {"kernels": kernels, "fours": fours}


def sparse(rng: np.random.Generator) -> Parts:
    """Positions at three densities; scalar, vector and grid codes inside."""
    codebooks = {"values": np.float16([-1, -0.5, 0.5, 1]), "pairs": rng.uniform(1, 2, (5, 2)).astype(np.float16)}
    half, few, blocks = rng.random((8, 3, 3, 3)) < 0.5, rng.random((20, 30)) < 0.02, rng.random((6, 8)) < 0.3
    half.flat[0] ^= half.sum() % 2 == 1
    ones = rng.integers(1, 8, (1, int(blocks.sum())))
    return {
        "conv1.weight": SparseCode(half, VectorCode(rng.integers(0, 5, half.sum() // 2), "pairs", (half.sum(),))),
        "conv2.weight": SparseCode(blocks, GridCode(ones, np.array([4]), np.array([-2]))),
        "linear.weight": SparseCode(few, ScalarCode(rng.integers(0, 4, few.sum()), "values")),
    }, codebooks


def grid(rng: np.random.Generator) -> Parts:
    """Depths from 0 (removed) to 8 bits."""
    depths = np.array([0, 1, 2, 3, 3, 5, 8, 0])
    half = (1 << depths >> 1).reshape(-1, 1, 1, 1)
    values = np.clip(np.rint(heavy(rng, 8, 3, 3, 3) * half), -half, np.maximum(half - 1, 0)).astype(int)
    return {"conv1.weight": GridCode(values, depths, np.where(depths, -depths, 0))}, {}


FAMILIES: dict[str, Callable[[np.random.Generator], Parts]] = {
    family.__name__: family for family in (scalar, vector, sparse, grid)
}


def network(family: str, seed: int = 0) -> Compressed:
    """A small network of one family, with a batch norm, dense entries in both types, and an odd specification."""
    rng = np.random.default_rng(seed)
    codes, codebooks = FAMILIES[family](rng)
    return Compressed(
        codes=codes,
        codebooks=codebooks,
        dense={"linear.bias": rng.normal(size=10).astype(np.float16), "steps": np.float32(rng.normal())},
        batch_norm={"bn1": rng.normal(size=(2, 8)).astype(np.float16), "bn2": np.ones((4, 6), np.float32)},
        specification={"factory": "digits_cnn", "arguments": {"widths": [8, 6], "kept": {"bn2": [0, 2, 5]}}},
        original_parameters=1234,
        half_source=family == "grid",
        epsilon=1e-3 if family == "vector" else 1e-5,
    )


@pytest.fixture(params=sorted(FAMILIES))
def compressed(request: pytest.FixtureRequest) -> bitbook.Compressed:
    return network(request.param)


@pytest.fixture(scope="session")
def make_network() -> Callable[[str, int], bitbook.Compressed]:
    return network


@pytest.fixture(scope="session")
def make_weights() -> Callable[..., np.ndarray]:
    return heavy
