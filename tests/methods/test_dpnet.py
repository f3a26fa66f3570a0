"""DP-Net without training on the bundled digits: optimal layers, the rate-distortion table, budgets that files keep."""

import kmeans1d
import numpy as np
import pytest
from bitbook import training
from bitbook.codes import Coded
from bitbook.compression import Divergence, assemble, rate_distortion_table, weight_tensors
from bitbook.methods import dpnet


def test_every_layer_is_clustered_as_well_as_a_peer_does(network):
    tensors = weight_tensors(network)
    coded = dpnet.optimal_layers(tensors, 5)
    for name, tensor in tensors.items():
        clusters, centroids = kmeans1d.cluster(tensor.ravel().astype(float).tolist(), 5)
        np.testing.assert_allclose(coded.codebooks[name], np.float16(centroids), rtol=1e-3)
        np.testing.assert_array_equal(coded.codes[name].indices.ravel(), clusters)


def test_a_wider_step_takes_fewer_bits(network):
    tensors = weight_tensors(network)
    used = [dpnet.entropy_constrained_layers(tensors, step).codebooks for step in (0.2, 1.0)]
    assert all(len(used[1][name]) < len(used[0][name]) for name in tensors)


def test_the_table_measures_what_a_single_coded_layer_costs(task, network):
    tensors, divergence = weight_tensors(network), Divergence(network, task, images=100)
    options = [dpnet.optimal_layers(tensors, k) for k in (2, 8)]
    table = rate_distortion_table(network, tensors, options, divergence)
    layer = list(tensors).index("conv2.weight")
    first = table.options[0]
    alone = Coded({"conv2.weight": first.codes["conv2.weight"]}, first.codebooks)
    alone = assemble(network, alone)
    # Batch norm and the dense layers are stored in half precision in the file, so the two agree only nearly.
    assert table.divergence[layer, 0] == pytest.approx(divergence(alone), rel=0.05)
    whole = assemble(network, table.options[1])
    assert table.bytes[:, 1].sum() + table.rest == len(whole.to_bytes())


def test_a_stopped_table_resumes(task, network, tmp_path, monkeypatch):
    tensors, divergence = weight_tensors(network), Divergence(network, task, images=20)
    options = [dpnet.optimal_layers(tensors, k) for k in (2, 4)]
    first = rate_distortion_table(network, tensors, options, divergence, folder=tmp_path)
    monkeypatch.setattr(training, "kl_divergence", lambda *_: pytest.fail("measured again"))
    again = rate_distortion_table(network, tensors, options, divergence, folder=tmp_path)
    np.testing.assert_array_equal(again.divergence, first.divergence)
    np.testing.assert_array_equal(again.bytes, first.bytes)
    assert again.least == first.bytes.min(1).sum() + first.rest
    swapped = rate_distortion_table(network, tensors, options[::-1], divergence, folder=tmp_path)
    np.testing.assert_array_equal(swapped.bytes, first.bytes[:, ::-1])  # options are known by what they are
    with pytest.raises(ValueError, match="made with another images"):
        rate_distortion_table(network, tensors, options, Divergence(network, task, images=30), folder=tmp_path)
    with pytest.raises(pytest.fail.Exception, match="measured again"):
        rate_distortion_table(network, tensors, [dpnet.optimal_layers(tensors, 3)], divergence, folder=tmp_path)


def test_no_clustering_beats_the_optimum():
    weights = np.random.default_rng(0).laplace(size=500)
    columns = dpnet.clustering_costs(weights, [2, 5])
    assert columns["k"] == [2, 5]
    assert min(columns["Lloyd"] + columns["uniform bins"]) >= 1 - 1e-9
    assert max(columns["uniform bins"]) > 1.1


@pytest.mark.parametrize("rounding", ["nearest", "compensated"])
def test_files_keep_their_budget(task, network, rounding):
    before = weight_tensors(network)["conv2.weight"].copy()
    sizes = [
        len(dpnet.compress(network, task, budget=budget, rounding=rounding, images=100).to_bytes())
        for budget in (4000, 6000)
    ]
    assert 3000 < sizes[0] <= 4050 and sizes[0] < sizes[1] <= 6050
    np.testing.assert_array_equal(weight_tensors(network)["conv2.weight"], before)


def test_k_clusters_for_every_layer(task, network):
    compressed = dpnet.compress(network, task, k=4, images=100)
    assert {len(book) for book in compressed.codebooks.values()} == {4}


@pytest.mark.parametrize("arguments", [{}, {"k": 4, "budget": 5000}, {"k": 4, "rounding": "up"}, {"budget": 10}])
def test_nonsense_is_refused(task, network, arguments):
    with pytest.raises(ValueError, match=r"either k|rounding is|smallest options"):
        dpnet.compress(network, task, images=50, **arguments)
