"""The combined pipeline on the bundled digits: rate-distortion weights, files that keep their ratio, and resuming."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from bitbook import training
from bitbook.clustering import entropy_constrained
from bitbook.codes import Coded, Compressed, ScalarCode
from bitbook.compression import assemble, weight_tensors
from bitbook.methods import dpnet
from bitbook.methods.dpnet._bit_budget import EXACT, Pruned, _points, lamp_scores, rate_distortion_weight
from bitbook.methods.dpnet._combined import _bits_within
from bitbook.networks import checksum

SCHEDULE = dpnet.Schedule(ratio=12, epochs=2, every=5, batch_size=64)
PRUNED = dataclasses.replace(SCHEDULE, ratio=18, values=4)


@pytest.fixture(scope="module")
def compressed(network, task):
    return dpnet.combined(network, task, SCHEDULE)


@pytest.mark.parametrize("share", [3.0, 1.0, 0.2])
def test_the_rate_weight_is_that_of_so_many_bits(share):
    rng = np.random.default_rng(0)
    tensors = {"a": rng.normal(size=3000), "b": 0.1 * rng.laplace(size=(40, 50))}
    bits = share * 5000
    rate_weight = rate_distortion_weight(tensors, bits)
    taken = [
        sum(entropy_constrained(x, p, zero=True).bits for x in tensors.values())
        for p in (rate_weight, rate_weight / 1.05)
    ]
    assert taken[0] <= 1.01 * bits
    assert taken[1] > 0.99 * bits


def test_bits_within_goes_by_what_the_labels_take_in_the_file():
    rng = np.random.default_rng(1)
    indices = rng.integers(0, 4, (200, 300)).astype(np.uint8)  # two bits each, and no coder does better
    code = ScalarCode(indices, "w")
    file = Compressed(
        codes={"w": code},
        codebooks={"w": np.array([-1, 0, 1, 2], np.float16)},
        dense={},
        specification={"factory": "none", "arguments": {}},
        original_parameters=indices.size,
    )
    rest = len(file.to_bytes()) - sum(row.bytes for row in file.ledger().rows if row.section == "w")
    assert _bits_within(len(file.to_bytes()), file) == pytest.approx(2 * indices.size, rel=1e-3)
    assert _bits_within(rest + 7500, file) == pytest.approx(60000, rel=0.01)
    assert _bits_within(rest / 2, file) == 0


def test_file_keeps_its_ratio_and_zero_is_a_value(compressed):
    assert 12 <= compressed.ratio < 14
    largest = max(compressed.codes.values(), key=lambda code: code.indices.size)
    zeros = (largest.decode(compressed.codebooks) == 0).mean()
    assert zeros == pytest.approx(np.bincount(largest.indices.ravel()).max() / largest.indices.size)
    assert zeros > 0.2


def test_network_stays_and_seed_decides(network, task, compressed, tmp_path):
    before = checksum(network.state_dict())
    again = dpnet.combined(network, task, SCHEDULE, folder=tmp_path)
    assert checksum(network.state_dict()) == before
    assert again.to_bytes() == compressed.to_bytes()
    # A finished training is not repeated, and what follows it ends in the same file.
    assert dpnet.combined(network, task, SCHEDULE, folder=tmp_path).to_bytes() == compressed.to_bytes()


def test_training_gains_over_the_same_clusters_untrained(network, task, compressed):
    train = task.train()
    outputs = training.logits(network, train.images)
    tensors = weight_tensors(network)
    bits = _bits_within(len(compressed.to_bytes()), compressed)
    weight = rate_distortion_weight(tensors, bits)
    found = {name: entropy_constrained(tensor, weight, zero=True) for name, tensor in tensors.items()}
    coded = Coded.by_layer({name: (clusters.labels, clusters.values) for name, clusters in found.items()})
    untrained = assemble(network, coded, calibration=task.calibration(seed=0))
    files = [compressed.to_module(), untrained.to_module()]
    trained, before = (training.kl_divergence(outputs, training.logits(file, train.images)) for file in files)
    assert trained < 0.8 * before


def test_scores_against_the_sum_over_all_weights_that_are_not_smaller():
    weights = np.random.default_rng(2).normal(size=(7, 9)).astype(np.float32)
    squares = weights.astype(np.float64) ** 2
    expected = [[square / squares[squares >= square].sum() for square in row] for row in squares]
    np.testing.assert_allclose(lamp_scores(weights), expected, rtol=1e-12)
    assert lamp_scores(np.zeros((2, 2))).tolist() == [[0, 0], [0, 0]]


def test_pruning_reaches_the_bits_and_what_is_pruned_stays_pruned(network):
    trained = copy.deepcopy(network)
    bit_budget, weights = Pruned(4), sum(t.size for t in weight_tensors(network).values())
    bit_budget.attach(trained, 4.0 * weights)
    pruned = {name: np.zeros(t.shape, bool) for name, t in weight_tensors(network).items()}
    for bits in (1.5, 0.7):
        bit_budget.refresh(trained, bits * weights)
        taken = 0.0
        for name, layer in training.attached(trained, training.StraightThrough).items():
            indices = layer.indices(training.entering(trained, name, layer)).numpy()
            share = np.bincount(indices.ravel(), minlength=5) / indices.size
            taken -= indices.size * (share[share > 0] * np.log2(share[share > 0])).sum()
            zeros = layer.values.numpy()[indices] == 0
            assert (zeros >= pruned[name]).all()
            assert len(np.unique(indices[~zeros])) <= 4
            pruned[name] = zeros
            training.original(trained, name).data += 0.1  # whatever momentum does to them
        assert taken / weights == pytest.approx(bits, rel=0.03)


def test_a_pruned_file_keeps_its_ratio_with_k_values_a_layer(network, task, tmp_path):
    file = dpnet.combined(network, task, PRUNED, folder=tmp_path)
    assert 18 <= file.ratio < 21
    assert all(len(book) <= 4 + (0 in book) for book in file.codebooks.values())
    assert any(0 in book for book in file.codebooks.values())
    assert dpnet.combined(network, task, PRUNED, folder=tmp_path).to_bytes() == file.to_bytes()


def test_a_ratio_beyond_reach_is_an_error(network, task):
    with pytest.raises(ValueError, match=r"ratio 500: .*lower the ratio"):
        dpnet.combined(network, task, dpnet.Schedule(ratio=500, epochs=1, every=5))


def test_the_bins_of_a_large_layer_give_nearly_its_own_clusters():
    weights = torch.randn(EXACT + 1, generator=torch.Generator().manual_seed(0)) ** 3
    binned = entropy_constrained(_points(weights), 0.01, zero=True, resolution=512)
    own = entropy_constrained(weights.numpy(), 0.01, zero=True, resolution=512)
    assert len(_points(weights)) < len(weights) / 8
    cost = [clusters.cost + 0.01 * clusters.bits for clusters in (binned, own)]
    assert cost[0] == pytest.approx(cost[1], rel=1e-3)
