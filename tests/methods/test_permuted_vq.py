"""Permute, quantise, fine-tune: functions that stay, sizes as published, files that give what was trained."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from bitbook import codes, training
from bitbook.clustering import log_determinant, nearest_codewords
from bitbook.codes import Coded, Compressed, VectorCode, recount
from bitbook.codes._counting import pqf_bits
from bitbook.compression import Retraining, assemble, input_moments, retrain, weight_tensors
from bitbook.methods import permuted_vq as pvq
from bitbook.networks import batch_norms
from bitbook.networks import channel_graph as cg
from torch import nn

LARGE = pvq.Blocks(k=32, kernels=2)


@pytest.fixture(scope="module")
def quantised(network, task):
    return pvq.permute_and_quantise(network, task, LARGE, pvq.Quantisation(iterations=10))


@pytest.fixture(scope="module")
def images(task):
    return task.calibration(300, seed=3)


def counted(network, blocks):
    sizes = blocks.sizes(network)
    coded = sum(dict(network.named_parameters())[name].numel() for name in sizes)
    layers = [(dict(network.named_parameters())[name].numel() // d, k, d) for name, (k, d) in sizes.items()]
    return pqf_bits(layers, sum(value.numel() for value in network.parameters()) - coded)


@pytest.mark.parametrize(
    ("name", "blocks", "bits"),
    [
        ("resnet18", pvq.Blocks(linear_k=2048), 12_927_232),
        ("resnet18", pvq.Blocks(linear_k=2048, kernels=2), 8_634_624),
        ("resnet50", pvq.Blocks(linear_k=1024), 42_714_368),
        ("resnet50", pvq.Blocks(linear_k=1024, kernels=2, pointwise=8), 26_718_976),
    ],
)
def test_blocks_of_the_paper_s_networks_take_the_paper_s_bits(name, blocks, bits):
    network = getattr(torchvision.models, name)(weights=None)
    assert counted(network, blocks) == bits


def test_resnet18_groups_are_driven_as_in_the_paper_s_code():
    network = torchvision.models.resnet18(weights=None)
    small, large = (pvq.permute(network, b.sizes(network), search="greedy") for b in (pvq.Blocks(), LARGE))
    drivers = [group.driver for group in small if group.driver]
    assert len(small) == len(large) == 12
    assert drivers == [f"layer{i}.0.downsample.0.weight" for i in (2, 3, 4)] + ["fc.weight"]
    assert all(group.driver for group in large)
    assert all(group.after < group.before for group in large if group.after != group.before)


def test_permuted_networks_compute_the_same_and_stay_as_they_were(network, quantised, images):
    before = training.logits(network, images)
    assert (training.logits(quantised.network, images) - before).abs().max() < 1e-5 * before.abs().max()
    changed = [
        n for n, w in weight_tensors(network).items() if not np.array_equal(w, weight_tensors(quantised.network)[n])
    ]
    assert changed == ["conv1.weight", "conv2.weight", "conv3.weight", "fc.weight"]
    assert [group.driver for group in quantised.groups] == ["conv2.weight", "conv3.weight", "fc.weight"]
    assert all(group.after < group.before for group in quantised.groups)


@pytest.mark.parametrize("annealing", ["none", "SR-C"])
def test_clustered_orders_leave_no_driver_with_a_larger_error(network, annealing):
    blocks = pvq.Blocks(k=8, kernels=2, linear=2)
    options = {"searches": ("identity", "annealed", "clustered"), "annealings": (annealing,), "iterations": 10}
    rows = pvq.quantisation_errors(network, blocks, **options)
    errors = {(row["search"], row["layer"]): row["error"] for row in rows}
    drivers = {row["layer"] for row in rows if row["driver"]}
    assert len(drivers) == 3
    for driver in drivers:
        assert errors["clustered", driver] <= errors["identity", driver] * (1 + 1e-6)
    total = {search: sum(errors[search, driver] for driver in drivers) for search in options["searches"]}
    assert total["clustered"] < min(total["identity"], total["annealed"])


def test_the_given_order_stays(network):
    kept = copy.deepcopy(network)
    groups = pvq.permute(kept, LARGE.sizes(kept), search="identity")
    assert [group.driver for group in groups] == ["conv2.weight", "conv3.weight", "fc.weight"]
    assert all(group.after == group.before for group in groups)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in kept.state_dict().items())


class Branches(nn.Module):
    """Concatenated channels, a grouped and a depthwise convolution, a residual stream, a flattened map."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.deep, self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.Conv2d(16, 16, 1, groups=2)
        self.c, self.fc = nn.Conv2d(16, 16, 3, padding=1), nn.Linear(64, 10)

    def forward(self, x):
        x = self.a(x).relu()
        x = self.deep(torch.cat([x, self.b(x).relu()], 1)).relu()
        x = x + self.c(self.grouped(x).relu())
        return self.fc(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))


@pytest.mark.parametrize("search", ["random", "annealed"])
def test_every_kind_of_layer_is_permuted_to_the_determinants_that_the_report_names(search):
    torch.manual_seed(0)
    network, images = Branches().double().eval(), torch.rand(4, 3, 16, 16, dtype=torch.float64)
    before = network(images)
    sizes = pvq.Blocks(kernels=2, pointwise=2, linear=8).sizes(network)
    report = pvq.permute(network, sizes, search=search)
    assert (network(images) - before).abs().max() < 1e-10
    assert {group.driver for group in report} == {"b.weight", "grouped.weight", "c.weight"}
    if search == "annealed":
        tensors = {name: value.detach().numpy() for name, value in network.named_parameters()}
        for name in ("b.weight", "c.weight"):
            last = [group for group in report if group.driver == name][-1]
            weights = tensors[name].reshape(len(tensors[name]), tensors[name].shape[1], -1)
            assert log_determinant(weights, sizes[name][1]) == pytest.approx(last.after)
            assert last.after < last.before


def test_depthwise_and_first_convolutions_and_small_layers_stay_dense():
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, groups=16), nn.Conv2d(16, 10, 1), nn.Conv2d(10, 64, 3, groups=2)
    )
    assert pvq.Blocks(kernels=2, pointwise=8).sizes(network) == {"2.weight": (4, 8), "3.weight": (64, 9)}
    assert pvq.Blocks(k=100, own={"2.weight": (3, 2)}, dense=["3.*"]).sizes(network) == {"2.weight": (3, 2)}


@pytest.mark.parametrize("shared", [False, True])
def test_codewords_are_the_nearest_ones(network, shared):
    tensors, blocks = weight_tensors(network), pvq.Blocks(k=16, kernels=1 / 3)
    coded = pvq.quantise(tensors, blocks.sizes(network), iterations=5, shared=shared)
    assert len(coded.codebooks) == (2 if shared else 3)
    for name, code in coded.codes.items():
        book = coded.codebooks[code.codebook].astype(np.float32)
        rows = tensors[name].reshape(-1, book.shape[1])
        chosen, best = (((rows - book[i]) ** 2).sum(1) for i in (code.indices.ravel(), nearest_codewords(rows, book)))
        assert (chosen <= best * 1.01 + 1e-6).all()


def test_masked_weights_are_zero_and_the_largest_are_coded(network):
    tensors = weight_tensors(network)
    coded = pvq.quantise(tensors, pvq.Blocks(k=16).sizes(network), iterations=5, sparsity=0.5)
    for name, found in coded.decode().items():
        kept = found != 0
        assert abs(kept.mean() - 0.5) < 0.02
        assert np.abs(tensors[name][kept]).min() >= np.abs(tensors[name][~kept]).max()


def test_fitting_lowers_the_error_of_the_outputs_for_exactly_these_moments(network, images):
    tensors, sizes = weight_tensors(network), pvq.Blocks(k=16, kernels=1 / 3).sizes(network)
    moments = input_moments(network, images, only=sizes)
    plain = pvq.quantise(tensors, sizes, iterations=10)
    fitted = pvq.fitted_to_outputs(tensors, plain, moments)

    def errors(coded):
        parts = {n: (tensors[n] - w).reshape(len(w), -1).astype(np.float64) for n, w in coded.decode().items()}
        return np.array([np.einsum("oi,ij,oj", e, moments[n][0], e) for n, e in parts.items()])

    assert (errors(fitted) < errors(plain)).all()


def test_codebooks_are_refitted_as_by_least_squares():
    from bitbook.methods.permuted_vq import _quantise

    rng = np.random.default_rng(0)
    weights, indices, inputs = rng.normal(size=(20, 6)), rng.integers(0, 4, (20, 3)), rng.normal(size=(6, 50))
    book = _quantise._refit(np.zeros((4, 2)), [(weights, indices, [inputs @ inputs.T])])
    columns = np.zeros((20, 50, 4, 2))  # outputs as a function of the codebook
    for block in range(3):
        for row in range(20):
            columns[row, :, indices[row, block]] += inputs[2 * block : 2 * block + 2].T
    best = np.linalg.lstsq(columns.reshape(1000, 8), (weights @ inputs).ravel(), rcond=None)[0]
    assert book.ravel() == pytest.approx(best, abs=1e-6)


def test_the_file_loaded_back_gives_what_was_trained(network, task, quantised, tmp_path):
    """Batch norms, codebooks and biases trained in float go through the file."""
    scheme = training.CodebookTuning(quantised.coded)
    student, data = copy.deepcopy(quantised.network), task.train()
    recipe = training.Recipe(epochs=3, optimiser="adam", learning_rate=3e-3, batch_size=64, weight_decay=0.0)
    done = training.fit(student, data.images, data.labels, recipe, seed=0, scheme=scheme)
    moved = [
        not torch.equal(a.running_mean, b.running_mean)
        for a, b in zip(batch_norms(done.network).values(), batch_norms(quantised.network).values(), strict=True)
    ]
    assert all(moved)
    for name, code in done.coded.codes.items():
        assert np.array_equal(code.indices, quantised.coded.codes[name].indices)
    assemble(done.network, done.coded).save(tmp_path / "a.bitbook")
    loaded = codes.load(tmp_path / "a.bitbook").to_module()
    ours, theirs = (training.logits(net, data.images) for net in (loaded, done.network.eval()))
    assert (ours.argmax(1) == theirs.argmax(1)).float().mean() > 0.998
    assert training.top1(ours, data.labels) == pytest.approx(training.top1(theirs, data.labels), abs=1e-3)
    untuned = assemble(quantised.network, quantised.coded, calibration=task.calibration(500, seed=0)).to_module()
    assert training.top1(ours, data.labels) > training.top1(training.logits(untuned, data.images), data.labels)


def test_compress_is_the_same_in_one_call(network, task, quantised):
    tuning = Retraining(epochs=1, optimiser="adam", learning_rate=1e-3, precision="float32")
    file = pvq.compress(network, task, LARGE, pvq.Quantisation(iterations=10), tuning=tuning)
    again = retrain(quantised.network, task, training.CodebookTuning(quantised.coded), tuning)
    assert file.to_bytes() == again.to_bytes()
    assert all(isinstance(code, VectorCode) for code in file.codes.values())


def test_files_take_the_paper_s_count_and_less():
    """ResNet-18's shapes with random numbers, k > 256 among them; the rest as float32, as counted, and as float16."""
    network = torchvision.models.resnet18(weights=None)
    for value in [*network.parameters(), *(norm.running_mean for norm in batch_norms(network).values())]:
        nn.init.normal_(value)
    sizes = replace(pvq.Blocks(), linear_k=2048).sizes(network)
    rng, weights = np.random.default_rng(0), weight_tensors(network)
    coded = Coded(
        {
            n: VectorCode(rng.integers(0, k, (len(weights[n]), weights[n][0].size // d)), n, weights[n].shape)
            for n, (k, d) in sizes.items()
        },
        {n: rng.normal(size=size).astype(np.float16) for n, size in sizes.items()},
    )
    state = {n: v.numpy() for n, v in network.state_dict().items() if n not in coded.codes}
    file = Compressed.from_state(
        state,
        codes=coded.codes,
        codebooks=coded.codebooks,
        specification={},
        dtype=np.float32,
        original_parameters=11_689_512,
    )
    (count,) = recount(file, "pqf")
    assert count.bits == 12_927_232
    assert 0.98 < len(file.to_bytes()) / (count.bits / 8) < 1.01
    indices = sum(row.bytes for row in file.ledger().rows if row.section in coded.codes)
    assert indices == pytest.approx(11_516_928 / 8, rel=0.01)  # 11 bits for each of the last layer's, not 16
    assert len(assemble(network, coded).to_bytes()) < len(file.to_bytes())


@pytest.fixture(scope="module")
def mask_rcnn():
    torch.manual_seed(0)
    small = {"min_size": 64, "max_size": 96, "rpn_post_nms_top_n_test": 20, "box_detections_per_img": 5}
    make = torchvision.models.detection.maskrcnn_resnet50_fpn
    network = make(weights=None, weights_backbone=None, box_score_thresh=0.0, **small).eval()
    for norm in batch_norms(network).values():
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.1)
    return network


def test_mask_rcnn_takes_6_65_mib_by_the_paper_s_count(mask_rcnn):
    assert round(counted(mask_rcnn, pvq.MASK_RCNN) / 8 / 2**20, 2) == 6.65


def test_permuted_mask_rcnn_gives_the_same_boxes_and_masks(mask_rcnn):
    graph, rng = pvq.mask_rcnn_graph(mask_rcnn), np.random.default_rng(0)
    groups = cg.groups(graph)
    assert len(groups) == 37 + 9  # of the backbone; of the pyramid and the heads
    images = [torch.rand(3, 64, 80, generator=torch.Generator().manual_seed(1))]
    with torch.no_grad():
        mask_rcnn.double()
        before = mask_rcnn([image.double() for image in images])[0]
        cg.permute(mask_rcnn, graph, {group: rng.permutation(group.size) for group in groups})
        after = mask_rcnn([image.double() for image in images])[0]
    assert len(before["boxes"])
    for name, value in before.items():
        assert torch.allclose(value.double(), after[name].double(), rtol=1e-5, atol=1e-5), name
