"""Counting rules against the totals that the papers published."""

from math import log2, prod

import numpy as np
import pytest
import torch
import torchvision
from bitbook import Compressed, GridCode, ScalarCode, SparseCode, VectorCode
from bitbook.codes import RULES, huffman_bits, recount
from bitbook.codes._counting import Shared, admm_bits, deep_k_means_bits, han2016_bits, pqf_bits

# Nonzero weights, weights and levels of each layer of the AlexNet that came with ADMM-NN.
ALEXNET = [
    (28_227, 34_848, 256),
    (61_440, 307_200, 128),
    (168_100, 884_736, 128),
    (132_711, 663_552, 128),
    (88_474, 442_368, 128),
    (754_976, 37_748_736, 16),
    (905_970, 16_777_216, 8),
    (327_680, 4_096_000, 256),
]


@pytest.mark.parametrize(
    ("name", "large", "k_linear", "bits"),
    [
        ("resnet18", False, 2048, 12_927_232),
        ("resnet18", True, 2048, 8_634_624),
        ("resnet50", False, 1024, 42_714_368),
        ("resnet50", True, 1024, 26_718_976),
    ],
)
def test_pqf_s_four_totals_from_shapes_alone(name, large, k_linear, bits):
    with torch.device("meta"):
        network = getattr(torchvision.models, name)()
    pointwise = 8 if large and name == "resnet50" else 4
    layers, rest = [], 0
    for key, value in network.named_parameters():
        shape = tuple(value.shape)
        if key == "conv1.weight" or len(shape) == 1:
            rest += prod(shape)  # the first convolution, biases, and the two vectors of each batch norm
            continue
        kernel = prod(shape[2:])
        d = 4 if len(shape) == 2 else pointwise if kernel == 1 else kernel * (1 + large)
        indices = prod(shape) // d
        k = k_linear if len(shape) == 2 else 256
        layers.append((indices, min(k, 2 ** int(log2(indices / 4))), d))
    assert pqf_bits(layers, rest) == bits


def test_admm_s_alexnet_is_24_70_and_209_times_smaller():
    nonzeros, weights = (sum(layer[i] for layer in ALEXNET) for i in (0, 1))
    assert (nonzeros, weights) == (2_467_578, 60_954_656)
    assert round(weights / nonzeros, 2) == 24.70
    levels = [128] * 5 + [8] * 3  # 7 bits for convolutions, 3 for linear layers
    assert round(32 * weights / admm_bits((layer[0], k) for layer, k in zip(ALEXNET, levels, strict=True))) == 209
    assert round(32 * weights / admm_bits((layer[0], layer[2]) for layer in ALEXNET)) == 166


def test_han_s_released_squeezenet_to_the_byte(data_folder):
    """Its 675,763 bytes hold what the rule counts, in whole bytes, and a count of 4 bytes for each of 26 layers."""
    layers = np.load(data_folder / "weights" / "imagenet_squeezenet1_0_deepcompression.npz")
    size = 0
    for name in (key.removesuffix(".codes") for key in layers.files if key.endswith(".codes")):
        codes = layers[f"{name}.codes"].ravel()
        places = np.flatnonzero(codes)
        fixed, _ = han2016_bits(Shared((codes.size,), places, codes[places] - 1, 255))
        size += -(-fixed // 8) + 4 * layers[f"{name}.bias"].size + 4
    assert size == 675_763


def test_deep_k_means_formula():
    uses = [np.array([2, 2, 4]), np.array([1, 1])]
    assert deep_k_means_bits([(uses[0], 3, 3), (uses[1], 2, 5)], rest=7) == 12 + 32 * 9 + 2 + 32 * 10 + 32 * 7


def network(codes, codebooks, **parts) -> Compressed:
    dense = {"linear.bias": np.zeros(10, np.float32), "linear.weight": np.ones((10, 4), np.float16)}
    norms = {"bn": np.ones((2, 6), np.float16)}
    parts = {"dense": dense, "batch_norm": norms, "specification": {}, "original_parameters": 500, **parts}
    return Compressed(codes=codes, codebooks=codebooks, **parts)


@pytest.fixture
def shared() -> Compressed:
    """Two layers, 48 + 16 weights, three values of which one is zero."""
    counts = {"a": [32, 10, 6], "b": [8, 4, 4]}
    codes = {name: ScalarCode(np.repeat([1, 0, 2], n).reshape(-1, 4), "all") for name, n in counts.items()}
    return network(codes, {"all": np.float16([-1, 0, 1])})


def test_moea_counts_indices_only(shared):
    fixed, huffman = recount(shared, "moea")
    assert (fixed.bits, fixed.ratio) == (2 * 64, 16)
    assert huffman.bits == huffman_bits([40, 14, 10]) == 40 + 2 * 24


def test_pqf_counts_a_shared_codebook_once(shared):
    (count,) = recount(shared, "pqf")
    assert count.bits == pytest.approx(64 * log2(3) + 16 * 3 + 32 * (10 + 40 + 12))
    assert count.original_bits == 32 * (64 + 62)


def test_admm_counts_nonzeros_then_what_the_paper_leaves_out(shared):
    nonzeros, data, indexed, whole = recount(shared, "admm")
    assert nonzeros.ratio == 64 / 24
    assert data.ratio == 64 * 32 / 24  # two levels, one bit
    assert indexed.bits == (24 + 1) * (1 + 5)  # the 32 zeros before the first weight take a filler
    assert whole.bits == indexed.bits + 32 * (2 + 10 + 40)
    assert whole.original_bits == 32 * (64 + 10 + 40)


def test_admm_gives_a_convolution_s_distances_eight_bits():
    positions = np.zeros((2, 40, 2, 2), bool)
    positions.ravel()[[255, 256]] = True  # 255 zeros need no filler, with five bits they would need seven
    code = SparseCode(positions, ScalarCode(np.array([0, 1]), "values"))
    assert recount(network({"a": code}, {"values": np.float16([-1, 1])}), "admm")[2].bits == 2 * (1 + 8)


def test_han_counts_fillers_where_distances_are_long():
    positions = np.zeros((2, 50), bool)
    positions[0, [0, 1, 18]] = positions[1, 49] = True  # zeros before each: 0, 0, 16 (a filler), 80 (five)
    code = SparseCode(positions, ScalarCode(np.array([0, 1, 2, 2]), "values"))
    fixed, coded = recount(network({"a": code}, {"values": np.float16([-1, 1, 2])}), "han2016")
    rest = 32 * 50 + 32 * 4
    assert fixed.bits == (4 + 6) * (2 + 4) + rest
    assert coded.bits == huffman_bits([6, 1, 1, 2]) + huffman_bits([4, 6]) + rest
    assert fixed.original_bits == 32 * (100 + 50)


def test_deep_k_means_counts_entropy(shared):
    (count,) = recount(shared, "deep-k-means")
    entropies = sum(-n * log2(n / sum(counts)) for counts in ([32, 10, 6], [8, 4, 4]) for n in counts)
    assert count.bits == pytest.approx(entropies + 32 * 3 + 32 * 50)


def test_a_rule_that_says_nothing_about_a_code_says_so():
    grid = {"a": GridCode(np.ones((2, 3), int), np.array([2, 2]), np.array([0, 0]))}
    vector = {"a": VectorCode(np.zeros((2, 1), int), "book", (2, 3))}
    scaled = {"a": ScalarCode(np.zeros((2, 3), int), "book", np.ones(2, np.float16))}
    for rule in RULES:
        with pytest.raises(ValueError, match=rule):
            recount(network(grid, {}), rule)
        with pytest.raises(ValueError, match=rule):
            recount(network(scaled, {"book": np.ones(1, np.float16)}), rule)
    for rule in ("moea", "han2016", "admm"):
        with pytest.raises(ValueError, match=rule):
            recount(network(vector, {"book": np.ones((1, 3), np.float16)}), rule)
    two = {name: ScalarCode(np.zeros((2, 3), int), name) for name in "ab"}
    with pytest.raises(ValueError, match="one codebook for the whole network"):
        recount(network(two, {name: np.ones(1, np.float16) for name in "ab"}), "moea")
