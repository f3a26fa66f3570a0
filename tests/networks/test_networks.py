"""Networks: their specifications, names, counts and checksums."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from bitbook import networks
from bitbook.networks import _mobile
from safetensors.torch import load_file, save_file
from torch import nn

CIFAR = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
RESNET20 = {"factory": "cifar_resnet", "arguments": {"depth": 20, **CIFAR}}


def weights(network, *, biases=True):
    return sum(p.numel() for n, p in network.named_parameters() if biases or not n.endswith("bias"))


@pytest.mark.parametrize(
    ("factory", "arguments", "image", "parameters"),
    [
        ("digits_cnn", {}, (1, 8, 8), 14_458),
        ("lenet5", {}, (1, 28, 28), 431_080),
        ("efficientnet_lite0", {"classes": 1000}, (3, 64, 64), 4_652_008),  # its package
        ("mobilenet_v1", {"classes": 1000}, (3, 64, 64), 4_231_976),  # Keras
        ("mobilenet_v1", {"width": 0.75, "classes": 1000}, (3, 64, 64), 2_585_560),
        ("mnist_cnn", {}, (1, 28, 28), 87_456),  # its public notebook: 87,860 with 202 depths and 202 exponents
        ("cifar_resnet", {"depth": 20, **CIFAR}, (3, 32, 32), 269_722),  # He et al., table 6: 0.27M
        ("cifar_resnet", {"depth": 56, **CIFAR}, (3, 32, 32), 853_018),  # 0.85M
        ("cifar_resnet", {"depth": 20, "shortcut": "B", "classes": 100, **CIFAR}, (3, 32, 32), 278_324),
        ("resnet9", CIFAR, (3, 32, 32), 6_573_120),  # 6,568,640 of them in convolutions and the linear layer
        ("wide_resnet", {"depth": 16, "width": 4, **CIFAR}, (3, 32, 32), 2_748_890),  # paper, table 4: 2.75M
        ("torchvision", {"name": "resnet18", "classes": 10, "small_images": True, **CIFAR}, (3, 32, 32), 11_173_962),
        ("torchvision", {"name": "squeezenet1_1", "classes": 1000, **CIFAR}, (3, 224, 224), 1_235_496),
        ("torchvision", {"name": "alexnet", "classes": 1000, **CIFAR}, (3, 224, 224), 61_100_840),
        ("torchvision", {"name": "vgg16", "classes": 1000, **CIFAR}, (3, 224, 224), 138_357_544),
        ("resnet9", {"width": 16, **CIFAR}, (3, 32, 32), 412_944),
        ("wide_resnet", {"depth": 16, "width": 4, **CIFAR}, (3, 32, 32), 2_748_890),  # Zagoruyko and Komodakis: 2.7M
    ],
)
def test_shapes_and_counts(factory, arguments, image, parameters):
    network = networks.build({"factory": factory, "arguments": arguments})
    assert weights(network) == parameters
    assert network(torch.rand(2, *image)).shape == (2, arguments.get("classes", 10))


def test_lenet5_is_caffes():
    network = networks.build({"factory": "lenet5", "arguments": {}})
    assert weights(network, biases=False) == 430_500
    plain, rectified = (
        networks.build({"factory": "lenet5", "arguments": {"relu_after_pooling": relu}}, seed=0)
        for relu in (False, True)
    )
    images = torch.rand(3, 1, 28, 28)
    assert not torch.allclose(plain(images), rectified(images))


def test_a_specification_rebuilds_the_same_architecture_and_is_plain_json():
    network = networks.build(
        {"factory": "cifar_resnet", "arguments": {"depth": 20, "mean": (0.5, 0.4, 0.3), "std": [1] * 3}}
    )
    assert json.loads(json.dumps(network.specification)) == network.specification
    twin = networks.build(network.specification)
    twin.load_state_dict(network.state_dict())
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(network.eval()(images), twin.eval()(images))


def test_a_seed_fixes_the_weights_and_leaves_torchs_generator_alone():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, second, other = (networks.build(RESNET20, seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert networks.checksum(first) == networks.checksum(second) != networks.checksum(other)


def test_unknown_factories_and_arguments_are_refused():
    with pytest.raises(ValueError, match="unknown network factory 'alexnet9000'; known: cifar_resnet"):
        networks.build({"factory": "alexnet9000", "arguments": {}})
    for half in ({"arguments": {}}, {"factory": "lenet5"}, {"factory": ["lenet5"], "arguments": {}}):
        with pytest.raises(ValueError, match="specification has the form"):
            networks.build(half)
    with pytest.raises(ValueError, match=r"lenet5.*width"):
        networks.build({"factory": "lenet5", "arguments": {"width": 3}})
    with pytest.raises(ValueError, match="depth 21 must be 6n"):
        networks.build({"factory": "cifar_resnet", "arguments": {"depth": 21, **CIFAR}})


def test_networks_normalise_inside_and_keep_it_out_of_the_state_dict():
    network = networks.build(RESNET20)
    assert not [name for name in network.state_dict() if "mean" in name.split(".") or "normalise" in name]
    images = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    expected = (images.numpy() - np.reshape(CIFAR["mean"], (3, 1, 1))) / np.reshape(CIFAR["std"], (3, 1, 1))
    assert np.allclose(network.normalise.double()(images).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("mean", [0.5, [], [0.5], [[0.5]] * 3, [0.5, 0.5, float("nan")], None])
def test_a_normalisation_that_does_not_fit_is_refused(mean):
    arguments = {"depth": 8, "mean": mean, "std": [0.5] * 3}
    with pytest.raises(ValueError, match=r"cifar_resnet|a mean and a standard deviation above 0 per channel"):
        networks.build({"factory": "cifar_resnet", "arguments": arguments})
    for std in ([0.5, 0.0, 0.5], [0.5, 1e-50, 0.5], [0.5, -1, 0.5], [0.5, float("inf"), 0.5]):
        with pytest.raises(ValueError, match="a standard deviation above 0"):
            networks.Normalise([0.5] * 3, std)


def test_option_a_subsamples_and_pads_half_before_and_half_after():
    block = networks.build(RESNET20).layer2[0]
    x = torch.arange(2 * 16 * 4 * 4, dtype=torch.float32).reshape(2, 16, 4, 4)
    y = block.downsample(x)
    assert y.shape == (2, 32, 2, 2)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert y[:, :8].abs().sum() == y[:, 24:].abs().sum() == 0


def test_checksum_is_that_of_the_tensors_in_any_container():
    state = networks.build(RESNET20, seed=0).state_dict()
    value = networks.checksum(state)
    assert networks.checksum({k: v.numpy() for k, v in reversed(state.items())}) == value
    assert networks.checksum({k: v for k, v in state.items() if "num_batches" not in k}) == value
    with tempfile.TemporaryDirectory() as folder:
        save_file(state, Path(folder) / "x.safetensors")
        assert networks.checksum(load_file(Path(folder) / "x.safetensors")) == value
    for name, change in (("bn1.bias", lambda v: v + 1e-7), ("linear.weight", lambda v: v.T.contiguous())):
        assert networks.checksum(state | {name: change(state[name])}) != value
    renamed = {k.replace("linear", "fc"): v for k, v in state.items()}
    assert networks.checksum(renamed) != value


def test_torchvisions_networks_keep_their_names_and_normalise_inside():
    plain = torchvision.models.squeezenet1_1(num_classes=10).eval()
    ours = networks.build({"factory": "torchvision", "arguments": {"name": "squeezenet1_1", "classes": 10, **CIFAR}})
    ours.load_state_dict(plain.state_dict())
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(ours.eval()(images), plain(networks.Normalise(**CIFAR)(images)))


def test_what_torchvision_does_not_have_is_refused():
    with pytest.raises(ValueError, match="no classifier 'resnet1001'"):
        networks.build({"factory": "torchvision", "arguments": {"name": "resnet1001", **CIFAR}})
    with pytest.raises(ValueError, match="small_images is for ResNets"):
        networks.build({"factory": "torchvision", "arguments": {"name": "alexnet", "small_images": True, **CIFAR}})
    with pytest.raises(ValueError, match="no ImageNet weights for 'lenet'"):
        networks.torchvision_weights("lenet")


def test_torchvisions_weights_are_proven_by_the_hash_in_their_name(tmp_path):
    given = networks.GivenWeights(networks.torchvision_specification("squeezenet1_1"), "https://nowhere", None)
    torch.save({"classifier.1.bias": torch.zeros(3)}, tmp_path / "network.pth")
    content = (tmp_path / "network.pth").read_bytes()
    right = tmp_path / f"network-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    for path in (right, tmp_path / "network-01234567.pth"):
        path.write_bytes(content)
    assert given.read(right).keys() == {"classifier.1.bias"}
    for wrong in ("network-01234567.pth", "network.pth"):
        with pytest.raises(networks.WeightsDamaged):
            given.read(tmp_path / wrong)


@pytest.mark.parametrize("name", ["cifar10_resnet20", "cifar100_resnet56", "imagenet_mobilenet_v1_0.75_224"])
def test_given_weights_fit_their_network_from_either_container(name, data_folder, tmp_path):
    given = networks.GIVEN[name]
    state = given.read(data_folder / "weights" / f"{name}.safetensors")
    networks.build(given.specification).load_state_dict(state)
    original = {"state_dict": {f"module.{key}": value for key, value in state.items()}, "best_prec1": 91.0}
    torch.save(original, tmp_path / "original.th", _use_new_zipfile_serialization=False)
    assert networks.checksum(given.read(tmp_path / "original.th")) == given.checksum


def test_a_packages_weights_are_found_and_renamed(tmp_path, monkeypatch):
    given = networks.GIVEN["imagenet_efficientnet_lite0"]
    state = networks.build(given.specification, seed=0).state_dict()
    (tmp_path / given.package).mkdir()
    (tmp_path / given.package / "__init__.py").touch()
    theirs = {re.sub(r"(^|\.)([a-z])", r"\1_\2", key): value for key, value in state.items()}
    torch.save(theirs, tmp_path / given.package / "lite0.pth")
    monkeypatch.syspath_prepend(tmp_path)
    found = replace(given, checksum=networks.checksum(state)).read(given.packaged())
    assert found.keys() == {key for key in state if not key.endswith("num_batches_tracked")}
    assert networks.GIVEN["cifar10_resnet20"].packaged() is None


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_padding_is_that_of_tensorflow(kernel, stride):
    """Of what the windows lack, the half goes before, the rest after."""
    network = networks.build({"factory": "efficientnet_lite0", "arguments": {"classes": 7}}, seed=0).eval()
    convolutions = [
        m for m in network.modules() if isinstance(m, nn.Conv2d) and (m.kernel_size[0], m.stride[0]) == (kernel, stride)
    ]
    assert convolutions
    for conv in convolutions:
        x = torch.rand(1, conv.in_channels, 12, 12)
        lacking = max((12 // stride - 1) * stride + kernel - 12, 0)
        by_hand = nn.functional.pad(x, (lacking // 2, lacking - lacking // 2) * 2)
        expected = nn.functional.conv2d(by_hand, conv.weight, stride=stride, groups=conv.groups)
        torch.testing.assert_close(_mobile._padded(conv, x), expected)


def test_wrong_weights_are_refused(tmp_path):
    save_file(networks.build(RESNET20, seed=0).state_dict(), tmp_path / "cifar10_resnet20.safetensors")
    with pytest.raises(networks.WeightsDamaged, match=r"delete it, get it again \(https"):
        networks.GIVEN["cifar10_resnet20"].read(tmp_path / "cifar10_resnet20.safetensors")


def test_a_network_of_ours_with_other_layers_is_not_taken_for_ours():
    def changed(change):
        network = networks.build({"factory": "lenet5", "arguments": {}}, seed=0)
        change(network)
        return networks.specification_of(network)

    assert changed(lambda network: None) == {"factory": "lenet5", "arguments": {}}
    for change in (
        lambda network: setattr(network, "after_pooling", torch.nn.GELU()),
        lambda network: setattr(network.conv1, "stride", (2, 2)),
        lambda network: setattr(network, "forward", torch.sigmoid),
        lambda network: network.register_forward_hook(lambda module, given, output: output.softmax(1)),
    ):
        assert changed(change) == {"class": "bitbook.networks._lenet5.LeNet5, with other layers"}
