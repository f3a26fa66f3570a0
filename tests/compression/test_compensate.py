"""Compensation of whole networks: moments against a dense reference, and what it promises."""

import numpy as np
import pytest
import torch
from bitbook import tasks, training
from bitbook.codes import Coded, ScalarCode
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
    features = network[0](images)
    assert features[0, 0].numel() <= 64  # so that every position is taken
    moments = input_moments(network, images)
    columns = _columns(network[0], images).double()
    np.testing.assert_allclose(moments["0.weight"], columns @ columns.transpose(1, 2), rtol=1e-5, atol=1e-4)
    flat = features.flatten(1).double().detach()
    np.testing.assert_allclose(moments["2.weight"], (flat.T @ flat)[None], rtol=1e-5, atol=1e-4)


def test_other_padding_is_refused():
    with pytest.raises(ValueError, match="reflect"):
        input_moments(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), torch.rand(1, 1, 8, 8))


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
