"""How each paper counts the size of a network: its rule, never mixed with the file's own bytes.

A rule is a formula over numbers that the paper gives (`..._bits`) and a reading of these numbers off a file. A file
whose codes the rule says nothing about is refused with ValueError.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import inf, log2, prod

import numpy as np

from ._arrays import fixed_bits
from ._compressed import Compressed
from ._entropy import entropy_bits
from ._indexed import ScalarCode, VectorCode
from ._sparse import SparseCode

FLOAT = 32  # bits of a number that is not compressed
HAN_INDEX_BITS = 4  # of a distance between weights, in the file that the authors released
HAN_CONV_BITS, HAN_LINEAR_BITS = 8, 5  # of a distance, in the first paper (arXiv 1506.02626)


@dataclass(frozen=True)
class Count:
    """A size by a paper's rule: bits, bits of the original by the same rule, and what was counted."""

    bits: float
    original_bits: float
    what: str

    @property
    def ratio(self) -> float:
        """Compression ratio by the rule: infinite where the rule counts no bits, 1 where there were none either."""
        if self.bits:
            return self.original_bits / self.bits
        return inf if self.original_bits else 1.0


@dataclass(frozen=True)
class Shared:
    """A tensor of weights: flat places of the nonzero ones, the number 0..k-1 of each one's value, and k."""

    shape: tuple[int, ...]
    places: np.ndarray
    values: np.ndarray
    k: int


def huffman_bits(counts: np.ndarray) -> int:
    """Return the total bits of the Huffman code of symbols with these counts, without its table.

    counts: (k,) whole numbers >= 0; symbols that do not occur get no code. A single symbol takes one bit each time.
    Every merge of two subtrees adds one bit to all symbols below it (Huffman 1952).
    """
    heap = [int(count) for count in counts if count]
    if len(heap) == 1:
        return heap[0]
    heapq.heapify(heap)
    bits = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        bits += merged
        heapq.heappush(heap, merged)
    return bits


def moea(compressed: Compressed) -> list[Count]:
    """Count as arXiv 2501.03095, Table I: indices into one codebook of the whole network, itself left out."""
    codes = compressed.codes
    scalar = [code for code in codes.values() if type(code) is ScalarCode and code.scales is None]
    if len(scalar) != len(codes):
        raise ValueError("moea counts scalar codes without scales only; this file has others")
    if len({code.codebook for code in scalar}) != 1:
        raise ValueError("moea counts one codebook for the whole network; this file has more, or none")
    counts = np.bincount(np.concatenate([code.indices.ravel() for code in scalar]))
    weights = int(counts.sum())
    return [
        Count(weights * fixed_bits(int(np.count_nonzero(counts))), FLOAT * weights, "indices of equal length"),
        Count(huffman_bits(counts), FLOAT * weights, "indices, Huffman-coded"),
    ]


def pqf_bits(layers: Iterable[tuple[int, int, int]], rest: int) -> float:
    """Return the bits of layers (indices, k, d), with float16 codebooks, and `rest` other parameters."""
    return sum(indices * log2(k) + 16 * k * d for indices, k, d in layers) + FLOAT * rest


def pqf(compressed: Compressed) -> list[Count]:
    """Count as arXiv 2010.15703: indices, codebooks, 32 bits for each other parameter, batch norms as two vectors."""
    layers = [(indices.size, k, d) for indices, k, d in _indexed(compressed, "pqf")]
    rest = _dense(compressed) + 2 * sum(rows.shape[1] for rows in compressed.batch_norm.values())
    original = FLOAT * (_coded(compressed) + rest)
    return [Count(pqf_bits(layers, rest), original, "indices, codebooks, other parameters")]


def han2016_bits(tensor: Shared, *, index_bits: int = HAN_INDEX_BITS) -> np.ndarray:
    """Return the bits of a pruned tensor with its codebook, (2,): at fixed length, and Huffman-coded without tables.

    Between two weights stands their distance; one over 2**index_bits takes fillers, which are stored as weights of
    zero, so the codebook has a zero, too (arXiv 1510.00149, and the layout of the file released with it).
    """
    zeros = np.diff(tensor.places, prepend=-1) - 1
    fillers = int((zeros >> index_bits).sum())
    bits = fixed_bits(tensor.k + 1)
    distances = np.bincount(zeros & (1 << index_bits) - 1, minlength=1 << index_bits)
    distances[-1] += fillers
    fixed = (len(zeros) + fillers) * (bits + index_bits)
    coded = huffman_bits(np.array([fillers, *np.bincount(tensor.values)])) + huffman_bits(distances)
    return np.array([fixed, coded]) + (FLOAT << bits)


def han2016(compressed: Compressed) -> list[Count]:
    """Count as Deep Compression: values, distances, codebooks, 32 bits for each dense parameter; no batch norm."""
    tensors = list(_shared(compressed, "han2016"))
    rest = FLOAT * _dense(compressed)
    fixed, coded = (sum(map(han2016_bits, tensors), np.zeros(2)) + rest).tolist()
    original = FLOAT * _coded(compressed) + rest
    what = f"values, {HAN_INDEX_BITS}-bit distances, codebooks, dense parameters"
    return [Count(fixed, original, what), Count(coded, original, "the same with Huffman codes, without their tables")]


def admm_bits(layers: Iterable[tuple[int, int]]) -> int:
    """Return the bits of "weight data": (nonzero weights, levels) of each layer; zero is no level."""
    return sum(nonzeros * fixed_bits(levels) for nonzeros, levels in layers)


def relative_bits(tensor: Shared) -> int:
    """Return the bits of a pruned tensor with Han's relative indices: 8 bits for a convolution's, else 5; fillers too.

    A distance that they cannot hold takes fillers, each a weight of zero (arXiv 1506.02626).
    """
    index_bits = HAN_CONV_BITS if len(tensor.shape) > 2 else HAN_LINEAR_BITS
    fillers = int((np.diff(tensor.places, prepend=-1) - 1 >> index_bits).sum())
    return (len(tensor.places) + fillers) * (fixed_bits(tensor.k) + index_bits)


def admm(compressed: Compressed) -> list[Count]:
    """Count as arXiv 1811.01907, nonzero weights, then "weight data"; then with what the paper leaves out.

    A coded vector counts as biases, not as weights. Batch norms are not counted. Of a network that lost channels the
    weights left are taken for the original ones: a ratio to those before needs their number.
    """
    tensors = [tensor for tensor in _shared(compressed, "admm") if len(tensor.shape) > 1]
    layers = [(len(tensor.places), tensor.k) for tensor in tensors]
    original = FLOAT * sum(prod(tensor.shape) for tensor in tensors)
    indexed = sum(map(relative_bits, tensors))
    biases = _dense(compressed) + _coded(compressed) - original // FLOAT
    rest = FLOAT * (sum(map(np.count_nonzero, compressed.codebooks.values())) + biases)
    return [
        Count(FLOAT * sum(nonzeros for nonzeros, _ in layers), original, "nonzero weights as floats"),
        Count(admm_bits(layers), original, "nonzero weights in the bits of their levels"),
        Count(indexed, original, "the same with relative indices"),
        Count(indexed + rest, original + FLOAT * biases, "the same with codebooks and biases as floats"),
    ]


def deep_k_means_bits(layers: Iterable[tuple[np.ndarray, int, int]], rest: int) -> float:
    """Return the bits of layers (uses of each codeword, k, d): entropy, float32 codebooks, and the `rest`."""
    return sum(entropy_bits(uses) + FLOAT * k * d for uses, k, d in layers) + FLOAT * rest


def deep_k_means(compressed: Compressed) -> list[Count]:
    """Count as Wu et al. 2018: entropy of indices, 32 bits for codebooks and dense parameters; no batch norm."""
    layers = [(np.bincount(indices.ravel()), k, d) for indices, k, d in _indexed(compressed, "deep-k-means")]
    rest = _dense(compressed)
    original = FLOAT * (_coded(compressed) + rest)
    return [Count(deep_k_means_bits(layers, rest), original, "entropy of indices, codebooks, dense parameters")]


RULES: dict[str, Callable[[Compressed], list[Count]]] = {
    "moea": moea,
    "pqf": pqf,
    "han2016": han2016,
    "admm": admm,
    "deep-k-means": deep_k_means,
}


def recount(compressed: Compressed, rule: str) -> list[Count]:
    """Return the sizes of a file by a paper's rule, a key of RULES; ValueError where its codes do not fit the rule."""
    if rule not in RULES:
        raise ValueError(f"there is no rule {rule!r}, only {', '.join(RULES)}")
    return RULES[rule](compressed)


def _indexed(compressed: Compressed, rule: str) -> Iterator[tuple[np.ndarray, int, int]]:
    """Yield indices, k and d of each layer; d is 0 where an earlier layer has the same codebook."""
    seen: set[str] = set()
    for name, code in compressed.codes.items():
        if not isinstance(code, ScalarCode | VectorCode) or getattr(code, "scales", None) is not None:
            raise ValueError(f"{name}: {rule} counts indices of codewords without scales, not a {code.kind} code")
        book = compressed.codebooks[code.codebook]
        yield code.indices, len(book), 0 if code.codebook in seen else book.size // len(book)
        seen.add(code.codebook)


def _shared(compressed: Compressed, rule: str) -> Iterator[Shared]:
    """Yield each layer by the values of its weights, zeros apart."""
    for name, code in compressed.codes.items():
        inner = code.inner if isinstance(code, SparseCode) else code
        if not isinstance(inner, ScalarCode) or inner.scales is not None:
            raise ValueError(f"{name}: {rule} counts values and zeros without scales, not a {code.kind} code")
        book = compressed.codebooks[inner.codebook]
        used = inner.indices[book[inner.indices] != 0]
        numbers = np.cumsum(book != 0) - 1  # (k,) of each nonzero value
        yield Shared(code.shape, np.flatnonzero(code.decode(compressed.codebooks)), numbers[used], numbers[-1] + 1)


def _coded(compressed: Compressed) -> int:
    return sum(prod(code.shape) for code in compressed.codes.values())


def _dense(compressed: Compressed) -> int:
    """Count dense parameters: whole numbers and booleans are none."""
    return sum(values.size for values in compressed.dense.values() if values.dtype.kind in "fc")
