"""Weights to codewords: annealed k-means over blocks, and rounding that keeps a layer's outputs close."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np

from bitbook.clustering import nearest_codewords, vector_kmeans
from bitbook.codes import Code, Coded, SparseCode, VectorCode, small_floats
from bitbook.compression import Moments

DAMPING = 0.01  # of the moments' mean diagonal, as in GPTQ
ROUNDS, STEPS = 4, 20  # of rounding and fitting in turn; of conjugate gradients


def quantise(
    tensors: Mapping[str, np.ndarray],
    sizes: Mapping[str, tuple[int, int]],
    *,
    annealing: str = "SR-C",
    iterations: int = 100,
    shared: bool = False,
    sparsity: float = 0.0,
    seed: int = 0,
) -> Coded:
    """Return the codes of blocks of weights, by annealed k-means layer by layer.

    Args:
        tensors: the weights by parameter name.
        sizes: (k, d) of those to code.
        annealing, iterations: of `clustering.vector_kmeans`.
        shared: whether layers of one (k, d) share their codebook.
        sparsity: the share of each layer's weights that are zero, the smallest; blocks are then runs of the others
            (masked before quantisation, after MVQ).
        seed: of k-means.
    """
    together = defaultdict(list)
    for name, size in sizes.items():
        together[f"{size[0]}x{size[1]}" if shared else name].append(name)
    codes: dict[str, Code] = {}
    codebooks = {}
    for book, names in together.items():
        k, d = sizes[names[0]]
        positions = {name: _largest(tensors[name], sparsity, d) for name in names if sparsity}
        rows = [(tensors[name][positions[name]] if sparsity else tensors[name]).reshape(-1, d) for name in names]
        found = vector_kmeans(np.concatenate(rows), k, annealing=annealing, iterations=iterations, seed=seed)
        codebooks[book] = small_floats(found.codebook)
        if sparsity:  # what is left of the weights is not zero
            codebooks[book][codebooks[book] == 0] = np.finfo(np.float16).tiny
        for name, labels in zip(names, np.split(found.labels, np.cumsum([len(row) for row in rows])[:-1]), strict=True):
            if sparsity:
                inner = VectorCode(labels, book, (int(positions[name].sum()),))
                codes[name] = SparseCode(positions[name], inner)
            else:
                codes[name] = VectorCode(labels.reshape(len(tensors[name]), -1), book, tensors[name].shape)
    return Coded(codes, codebooks)


def _largest(tensor: np.ndarray, sparsity: float, d: int) -> np.ndarray:
    """Where the largest weights are, bool in the tensor's shape, as many as whole blocks hold."""
    kept = max(round((1 - sparsity) * tensor.size / d), 1) * d
    positions = np.zeros(tensor.size, bool)
    positions[np.argsort(-np.abs(tensor), axis=None, kind="stable")[:kept]] = True
    return positions.reshape(tensor.shape)


def fitted_to_outputs(
    tensors: Mapping[str, np.ndarray], coded: Coded, moments: Mapping[str, Moments], *, rounds: int = ROUNDS
) -> Coded:
    """Return vector codes such that each layer's outputs, not its weights, come out close.

    In turn, codewords are chosen block by block, the later blocks making up for the errors of those before, and
    codebooks are fitted to all layers that use them by least squares of their outputs (after arXiv 2402.15319, GPTVQ).

    moments: (groups, inputs, inputs) of `compression.input_moments`, for every coded layer.
    """
    codes = cast(Mapping[str, VectorCode], coded.codes)
    weights = {name: tensors[name].reshape(len(tensors[name]), -1).astype(np.float64) for name in codes}
    damped = {name: [_damped(moment) for moment in moments[name]] for name in weights}
    factors = {n: [np.linalg.cholesky(np.linalg.inv(m)).T for m in parts] for n, parts in damped.items()}  # upper
    books = {name: book.astype(np.float64) for name, book in coded.codebooks.items()}
    for _ in range(rounds):
        indices = {}
        for name, code in codes.items():
            parts = zip(np.split(weights[name], len(factors[name])), factors[name], strict=True)
            indices[name] = np.concatenate([_round(part, factor, books[code.codebook]) for part, factor in parts])
        for book in books:
            users = [name for name, code in codes.items() if code.codebook == book]
            books[book] = _refit(books[book], [(weights[n], indices[n], damped[n]) for n in users])
    found = {name: replace(code, indices=indices[name]) for name, code in codes.items()}
    return Coded(found, {name: small_floats(book) for name, book in books.items()}).without_unused()


def _damped(moments: np.ndarray) -> np.ndarray:
    """Moments with something on the diagonal, so that inputs that hardly occur do no harm; mean diagonal about 1."""
    mean = max(moments.trace() / len(moments), np.finfo(np.float64).tiny)
    return moments / mean + np.eye(len(moments)) * DAMPING


def _round(weights: np.ndarray, factor: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """Indices (outputs, inputs / d) for weights (outputs, inputs), by the upper factor of the inverse moments."""
    weights, d = weights.copy(), codebook.shape[1]
    indices = np.empty((len(weights), len(factor) // d), np.int64)
    for block, start in enumerate(range(0, len(factor), d)):
        own, later = slice(start, start + d), slice(start + d, None)
        unit = np.linalg.inv(factor[own, own])  # in its units an error costs the same in all directions
        indices[:, block] = nearest_codewords(weights[:, own] @ unit, codebook @ unit)
        error = (weights[:, own] - codebook[indices[:, block]]) @ unit
        weights[:, later] -= error @ factor[own, later]
    return indices


def _refit(codebook: np.ndarray, layers: Sequence[tuple[np.ndarray, np.ndarray, Sequence[np.ndarray]]]) -> np.ndarray:
    """The codebook (k, d) of least squared error in the outputs of layers (weights, indices, moments), by CG."""

    def gradient(errors: Iterable[np.ndarray]) -> np.ndarray:  # of half the squared error, with its sign turned
        total = np.zeros_like(codebook)
        for error, (_, indices, moments) in zip(errors, layers, strict=True):
            parts = [part @ own for part, own in zip(np.split(error, len(moments)), moments, strict=True)]
            np.add.at(total, indices.ravel(), np.concatenate(parts).reshape(-1, codebook.shape[1]))
        return total

    def decoded(book: np.ndarray) -> list[np.ndarray]:
        return [book[indices].reshape(weights.shape) for weights, indices, _ in layers]

    found = codebook.copy()
    residual = gradient([weights - near for (weights, *_), near in zip(layers, decoded(found), strict=True)])
    direction, squared = residual, np.sum(residual**2)
    for _ in range(STEPS):
        if squared == 0:
            break
        curved = gradient(decoded(direction))
        step = squared / np.sum(direction * curved)
        found += step * direction
        residual = residual - step * curved
        squared, before = np.sum(residual**2), squared
        direction = residual + squared / before * direction
    return found
