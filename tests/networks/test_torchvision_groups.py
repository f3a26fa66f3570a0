"""Every classifier of torchvision: how many groups of channels it has, or why it cannot be traced."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from bitbook import networks
from bitbook.networks import channel_graph as cg
from torch import nn
from torchvision.models import get_model, list_models, regnet

# no channels of maps that a rule could follow: pixels become tokens, and layer norm mixes what it normalises
PERMUTE = r"permute is not an operation"  # ConvNeXt's layer norm over channels last, Swin's tokens
PARTITION = r"window_attention.*reshape makes another shape"
ASSERT = r"VisionTransformer\): eq is not an operation"  # it asserts the size of the image, then makes tokens
SHUFFLE = r"InvertedResidual\): view makes another shape"  # channels in two axes for a while

# groups of two or more channels that may be permuted; a grouped convolution's groups of rows count one by one
# fmt: off
CLASSIFIERS = {
    "alexnet": 7, "convnext_base": PERMUTE, "convnext_large": PERMUTE, "convnext_small": PERMUTE,
    "convnext_tiny": PERMUTE, "densenet121": 120, "densenet161": 160, "densenet169": 168, "densenet201": 200,
    "efficientnet_b0": 40, "efficientnet_b1": 53, "efficientnet_b2": 53, "efficientnet_b3": 59, "efficientnet_b4": 71,
    "efficientnet_b5": 84, "efficientnet_b6": 96, "efficientnet_b7": 115, "efficientnet_v2_l": 144,
    "efficientnet_v2_m": 106, "efficientnet_v2_s": 75, "googlenet": 57, "inception_v3": 94, "maxvit_t": PARTITION,
    "mnasnet0_5": 25, "mnasnet0_75": 25, "mnasnet1_0": 25, "mnasnet1_3": 25, "mobilenet_v2": 25,
    "mobilenet_v3_large": 30, "mobilenet_v3_small": 27, "regnet_x_16gf": 275, "regnet_x_1_6gf": 565,
    "regnet_x_32gf": 307, "regnet_x_3_2gf": 415, "regnet_x_400mf": 765, "regnet_x_800mf": 733, "regnet_x_8gf": 241,
    "regnet_y_128gf": 526, "regnet_y_16gf": 359, "regnet_y_1_6gf": 724, "regnet_y_32gf": 235, "regnet_y_3_2gf": 878,
    "regnet_y_400mf": 1083, "regnet_y_800mf": 597, "regnet_y_8gf": 494, "resnet101": 71, "resnet152": 105,
    "resnet18": 12, "resnet34": 20, "resnet50": 37, "resnext101_32x8d": 2117, "resnext101_64x4d": 4229,
    "resnext50_32x4d": 1029, "shufflenet_v2_x0_5": SHUFFLE, "shufflenet_v2_x1_0": SHUFFLE,
    "shufflenet_v2_x1_5": SHUFFLE, "shufflenet_v2_x2_0": SHUFFLE, "squeezenet1_0": 25, "squeezenet1_1": 25,
    "swin_b": PERMUTE, "swin_s": PERMUTE, "swin_t": PERMUTE, "swin_v2_b": PERMUTE, "swin_v2_s": PERMUTE,
    "swin_v2_t": PERMUTE, "vgg11": 10, "vgg11_bn": 10, "vgg13": 12, "vgg13_bn": 12, "vgg16": 15, "vgg16_bn": 15,
    "vgg19": 18, "vgg19_bn": 18, "vit_b_16": ASSERT, "vit_b_32": ASSERT, "vit_h_14": ASSERT, "vit_l_16": ASSERT,
    "vit_l_32": ASSERT, "wide_resnet101_2": 71, "wide_resnet50_2": 37,
}
# fmt: on
ALWAYS = {"efficientnet_b0", "maxvit_t", "mobilenet_v2", "resnet18", "shufflenet_v2_x0_5", "squeezenet1_1", "vit_b_16"}
LARGE = {"regnet_y_128gf"}  # 645 million weights


def names(wanted):
    return [pytest.param(n, marks=[] if n in ALWAYS else pytest.mark.slow) for n in CLASSIFIERS if wanted(n)]


def classifier(name):
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return get_model(name, weights=None, **options).eval()


def test_the_table_names_every_classifier_of_torchvision():
    assert sorted(CLASSIFIERS) == sorted(list_models(module=torchvision.models))


@pytest.mark.parametrize("name", names(lambda name: True))
def test_groups_found_or_the_reason_why_not(name, monkeypatch):
    widths = regnet.BlockParams.from_init_params

    def computed(**arguments):  # RegNet computes its widths by tensors: not on the meta device
        with torch.device("cpu"):
            return widths(**arguments)

    monkeypatch.setattr(regnet.BlockParams, "from_init_params", computed)
    with torch.device("meta"):  # shapes without weights: enough to trace
        network = classifier(name)
    expected = CLASSIFIERS[name]
    if isinstance(expected, str):
        with pytest.raises(cg.ChannelGraphError, match=expected):
            cg.trace(network)
    else:
        assert len(cg.groups(cg.trace(network))) == expected


@pytest.mark.parametrize(("factory", "groups"), [("mobilenet_v1", 14), ("efficientnet_lite0", 24)])
def test_groups_of_our_own_mobile_networks(factory, groups):
    """One for each pointwise convolution's outputs, those joined by residual sums once, and the first convolution's."""
    graph = cg.trace(networks.build({"factory": factory, "arguments": {}}, seed=0))
    assert len(cg.groups(graph)) == groups


@pytest.mark.parametrize("name", names(lambda name: isinstance(CLASSIFIERS[name], int) and name not in LARGE))
def test_permuted_classifiers_agree_to_a_hundred_thousandth(name):
    torch.manual_seed(1)
    network = classifier(name).double()
    images = torch.rand(3, 3, 96, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.train().momentum = 1.0  # statistics that fit; not the rest, whose auxiliary heads need larger images
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    with torch.no_grad():
        network(images)
        before = network.eval()(images)
        graph, rng = cg.trace(network), np.random.default_rng(3)
        cg.permute(network, graph, {group: rng.permutation(group.size) for group in cg.groups(graph)})
        after = network(images)
    assert (after - before).abs().max() <= 1e-5 * (before - before.mean(0)).abs().max()
