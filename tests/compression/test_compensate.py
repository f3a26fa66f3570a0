"""Compensation of whole networks: moments against a dense reference, and what it promises."""

import itertools

import numpy as np
import pytest
import torch
from bitbook import tasks, training
from bitbook.codes import Coded, GridCode, ScalarCode, SparseCode, VectorCode
from bitbook.compression import compensate, input_moments
from torch import nn


def _columns(layer, x):
    """Inputs of every output position, by convolving with one-hot kernels: an independent way to unfold."""
    groups = []
    for part in x.chunk(layer.groups, 1):
        c, (kh, kw) = part.shape[1], layer.kernel_size
        hot = torch.eye(c * kh * kw).reshape(-1, c, kh, kw)
        out = nn.functional.conv2d(part, hot, None, layer.stride, layer.padding, layer.dilation)  # (N, inputs, H, W)
        groups.append(out.permute(1, 0, 2, 3).flatten(1))
    return torch.stack(groups)


@pytest.mark.parametrize("options", [{"padding": 1}, {"stride": 2, "groups": 2}, {"dilation": 2, "padding": 2}])
def test_moments_are_those_of_all_inputs(options):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(4, 6, 3, **options), nn.Flatten(), nn.LazyLinear(3)).eval()
    images = torch.rand(10, 4, 8, 8)
    network(images)  # gives the lazy layer its shape
    features = network[0](images)
    assert features[0, 0].numel() <= 64  # so that every position is taken
    moments = input_moments(network, images)
    columns = _columns(network[0], images).double()
    np.testing.assert_allclose(moments["0.weight"], columns @ columns.transpose(1, 2), rtol=1e-5, atol=1e-4)
    flat = features.flatten(1).double().detach()
    np.testing.assert_allclose(moments["2.weight"], (flat.T @ flat)[None], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("mode", ["reflect", "circular", "replicate"])
def test_other_padding_is_that_of_the_layer(mode):
    layer = nn.Conv2d(2, 1, 3, padding=1, padding_mode=mode)
    x = torch.rand(3, 2, 6, 6)
    columns = _columns(nn.Conv2d(2, 1, 3), nn.functional.pad(x, (1, 1, 1, 1), mode=mode)).double()
    np.testing.assert_allclose(input_moments(layer, x)["weight"], columns @ columns.transpose(1, 2), rtol=1e-5)


@pytest.mark.parametrize("axes", [1, 3])
def test_moments_of_convolutions_of_other_axes_reproduce_the_outputs(axes):
    torch.manual_seed(0)
    layer = (nn.Conv1d, nn.Conv3d)[axes > 1](4, 6, 3, stride=2, padding=2, dilation=2, groups=2, bias=False)
    x = torch.rand(5, 4, *[7] * axes)
    outputs = layer(x).detach().double()  # (N, 6, ...)
    moments, weight = input_moments(layer, x)["weight"], layer.weight.detach().double().flatten(1).numpy()
    for group in range(2):  # the sum of squared outputs is w M w^T
        rows = weight[3 * group : 3 * group + 3]
        expected = outputs[:, 3 * group : 3 * group + 3].transpose(0, 1).flatten(1).square().sum(1)
        np.testing.assert_allclose(np.einsum("oi,ij,oj->o", rows, moments[group], rows), expected, rtol=1e-5)


@pytest.mark.parametrize("batch_first", [True, False])
def test_moments_of_attention_are_those_of_query_key_and_value(batch_first):
    layer = nn.MultiheadAttention(8, 2, batch_first=batch_first)
    query, key, value = torch.rand(3, 5, 6, 8)
    moments = input_moments(layer, [{"query": query, "key": key, "value": value}])
    assert moments.keys() == {"in_proj_weight"}  # the last projection is not called as a layer
    for moment, x in zip(moments["in_proj_weight"], (query, key, value), strict=True):
        flat = x.flatten(0, 1).double()
        np.testing.assert_allclose(moment, flat.T @ flat, rtol=1e-5)


def test_a_layer_too_wide_for_the_memory_is_rounded_in_blocks_of_its_inputs():
    torch.manual_seed(0)
    layer, x = nn.Linear(300, 5), torch.rand(50, 300)
    with pytest.warns(UserWarning, match="blocks of 64 inputs"):
        blocks = input_moments(layer, [(x,)], memory=500_000)["weight"]
    whole = input_moments(layer, [(x,)])["weight"]
    assert [block.shape[1] for block in blocks] == [64, 64, 64, 64, 44]
    np.testing.assert_allclose(blocks[1], whole[:, 64:128, 64:128], rtol=1e-6)
    weights = layer.weight.detach().numpy()
    values = np.linspace(-0.06, 0.06, 5).astype(np.float16)
    code = ScalarCode(np.zeros(weights.shape, np.uint8), "b")
    found = compensate({"w": weights}, Coded({"w": code}, {"b": values}), {"w": blocks}).codes["w"].indices
    part = ScalarCode(np.zeros((5, 44), np.uint8), "b")
    last = compensate({"w": weights[:, 256:]}, Coded({"w": part}, {"b": values}), {"w": blocks[4]}).codes["w"].indices
    np.testing.assert_array_equal(found[:, 256:], last)


def test_outputs_come_out_closer_at_the_same_codebook():
    task = tasks.get("digits")
    network = task.network(seed=0).eval()
    images = task.calibration(200, seed=0)
    weights = {"conv2.weight": dict(network.named_parameters())["conv2.weight"].detach().numpy()}
    values = np.linspace(-0.3, 0.3, 9).astype(np.float16)[[4, 0, 8, 1, 7, 2, 6, 3, 5]]  # in no order
    nearest = np.abs(weights["conv2.weight"][..., None] - values.astype(np.float64)).argmin(-1).astype(np.uint8)
    coded = Coded({"conv2.weight": ScalarCode(nearest, "b")}, {"b": values})
    ours = compensate(weights, coded, input_moments(network, images))
    expected = training.logits(network, images)
    errors = []
    for found in (coded, ours):
        with torch.no_grad():
            dict(network.named_parameters())["conv2.weight"].copy_(torch.from_numpy(found.decode()["conv2.weight"]))
        errors.append(float((training.logits(network, images) - expected).square().mean()))
    assert errors[1] < 0.8 * errors[0]


def test_scales_are_kept_and_divided_out():
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(5, 8)).astype(np.float32)
    scales = np.float16([0.5, 1, 2, 1, 0.25])
    values = np.linspace(-3, 3, 13).astype(np.float16)
    code = ScalarCode(np.zeros((5, 8), np.uint8), "b", scales)
    found = compensate({"w": weights}, Coded({"w": code}, {"b": values}), {"w": np.eye(8)[None]}).codes["w"]
    expected = np.abs((weights / scales[:, None])[..., None] - values.astype(np.float64)).argmin(-1)
    np.testing.assert_array_equal(found.indices, expected)
    np.testing.assert_array_equal(found.scales, scales)


def _least(weights, moment, choices):
    """The least output error by trying all choices of each weight of one row."""
    errors = []
    for row in itertools.product(*choices):
        error = weights - np.array(row)
        errors.append((error @ moment @ error, row))
    return min(errors)


def _moment(rng):
    x = rng.normal(size=(4, 40)) + rng.normal(size=40)  # inputs that say nearly the same
    return x @ x.T


def test_what_is_pruned_stays_so_and_the_rest_makes_up_for_it():
    rng = np.random.default_rng(3)
    weights, moment, book = rng.normal(size=(40, 4)), _moment(rng), np.float16([-1, -0.5, 0.5, 1])
    positions = rng.random((40, 4)) < 0.7
    nearest = np.abs(weights[positions][:, None] - book).argmin(-1)
    before = Coded({"w": SparseCode(positions, ScalarCode(nearest, "b"))}, {"b": book})
    after = compensate({"w": weights}, before, {"w": moment[None]})
    np.testing.assert_array_equal(after.codes["w"].positions, positions)
    plain, ours = (
        np.einsum("oi,ij,oj->o", weights - c.decode()["w"], moment, weights - c.decode()["w"]) for c in (before, after)
    )
    assert ours.sum() < 0.9 * plain.sum()
    for row in range(3):
        choices = [book if left else [0.0] for left in positions[row]]
        assert _least(weights[row], moment, choices)[0] <= ours[row] * (1 + 1e-6)


def test_a_grid_keeps_depths_and_exponents_and_brings_outputs_closer():
    rng = np.random.default_rng(4)
    weights, moment = rng.normal(size=(36, 4)), _moment(rng)
    depths, exponents = np.tile([2, 3, 0, 2, 4, 3], 6), np.tile([0, -1, 0, -1, -2, -1], 6)
    half = (1 << depths >> 1)[:, None]
    scale = np.ldexp(1.0, exponents)[:, None]
    values = np.clip(np.rint(weights / scale), -half, np.maximum(half - 1, 0)).astype(int)
    before = Coded({"w": GridCode(values, depths, exponents)}, {})
    after = compensate({"w": weights}, before, {"w": moment[None]})
    np.testing.assert_array_equal(after.codes["w"].depths, depths)
    plain, ours = (
        np.einsum("oi,ij,oj->o", weights - c.decode()["w"], moment, weights - c.decode()["w"]) for c in (before, after)
    )
    assert ours.sum() < plain.sum() and ours[2] == plain[2]
    for row in (0, 1, 3):
        choices = [np.arange(-half[row, 0], half[row, 0]) * scale[row, 0]] * 4
        assert _least(weights[row], moment, choices)[0] <= ours[row] * (1 + 1e-6)


def test_a_code_that_cannot_be_rounded_is_named_and_refused():
    coded = Coded({"w": VectorCode(np.zeros((5, 4), int), "b", (5, 8))}, {"b": np.ones((1, 2), np.float16)})
    with pytest.raises(ValueError, match=r"w: GPTQ rounding .* not a vector code: leave it out"):
        compensate({"w": np.zeros((5, 8))}, coded, {"w": np.eye(8)[None]})
