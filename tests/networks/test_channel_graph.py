"""The channel graph: groups, permutation and removal, on networks of every kind of joint."""

from __future__ import annotations

import copy
import pickle

import bitbook
import numpy as np
import pytest
import torch
import torchvision
from bitbook import networks
from bitbook.networks import channel_graph as cg
from torch import nn
from torch.nn import functional as F
from torchvision.models import regnet, vgg

INPUT = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def torchvision_network(*, name, classes=10):
    return getattr(torchvision.models, name)(num_classes=classes)


def vgg16(*, divisor):
    """torchvision's VGG-16 with fewer channels, so that the tests' files stay small; flattened maps of 7 x 7."""
    widths = [width if width == "M" else width // divisor for width in vgg.cfgs["D"]]
    network = vgg.VGG(vgg.make_layers(widths), num_classes=10, init_weights=False)
    hidden = 256
    network.classifier[0] = nn.Linear(widths[-2] * 49, hidden)
    network.classifier[3] = nn.Linear(hidden, hidden)
    network.classifier[6] = nn.Linear(hidden, 10)
    return network


def grouped():
    """A small RegNet: grouped convolutions of 8 channels a group."""
    blocks = regnet.BlockParams.from_init_params(depth=6, w_0=16, w_a=16.0, w_m=2.0, group_width=8)
    return regnet.RegNet(blocks, num_classes=10)


@pytest.fixture(autouse=True)
def factories(monkeypatch):
    monkeypatch.setitem(networks.FACTORIES, "plain_torchvision", torchvision_network)
    monkeypatch.setitem(networks.FACTORIES, "vgg16", vgg16)
    monkeypatch.setitem(networks.FACTORIES, "grouped", grouped)


NETWORKS = {
    "resnet18": ("plain_torchvision", {"name": "resnet18"}, 32),
    "resnet20": ("cifar_resnet", {"depth": 20, **INPUT}, 32),
    "resnet20-B": ("cifar_resnet", {"depth": 20, "shortcut": "B", "classes": 100, **INPUT}, 32),
    "resnet56": ("cifar_resnet", {"depth": 56, **INPUT}, 32),
    "resnet9": ("resnet9", INPUT, 32),
    "wide-resnet": ("wide_resnet", {"depth": 16, "width": 2, **INPUT}, 32),
    "squeezenet": ("plain_torchvision", {"name": "squeezenet1_1"}, 64),
    "vgg16": ("vgg16", {"divisor": 8}, 32),
    "lenet5": ("lenet5", {}, 28),
    "mobilenet_v2": ("plain_torchvision", {"name": "mobilenet_v2"}, 64),
    "mobilenet_v3": ("plain_torchvision", {"name": "mobilenet_v3_small"}, 64),  # products: squeeze and excitation
    "densenet121": ("plain_torchvision", {"name": "densenet121"}, 32),
    "regnet": ("grouped", {}, 32),
}


def made(name):
    """A network in evaluation mode whose batch norms do something, and images that it tells apart."""
    factory, arguments, size = NETWORKS[name]
    network = networks.build({"factory": factory, "arguments": arguments}, seed=1)
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(8, 1 if name == "lenet5" else 3, size, size, generator=generator)
    normed = any(isinstance(module, NORMS) for module in network.modules())
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)) and not normed:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        if isinstance(module, NORMS):
            module.momentum = 1.0
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0, 0.3, generator=generator)
    with torch.no_grad():
        network.train()(images)  # running statistics that fit
    return network.eval(), images[:3]


def logits(network, images):
    with torch.no_grad():
        return network(images).double()


def same(ours, theirs):
    spread = (theirs - theirs.mean(0)).abs().max()
    return (ours - theirs).abs().max() <= 1e-4 * spread  # relative to what tells the images apart: the strictest scale


def silence(network, graph, rng):
    """Make channels zero: a third of every group, everywhere, and a fifth of each layer that a residual sum reads."""
    tensors = network.state_dict()
    norms = {name for name, module in network.named_modules() if isinstance(module, NORMS)}
    summed = [ids for step in graph.steps if step.kind == "sum" for ids in step.operand_ids]
    layers = [ids for ids in graph.layers.values() if any(np.isin(ids, s).any() for s in summed)]
    places = [
        (place.parameters, place.positions[picked].ravel())
        for group in cg.groups(graph)
        for picked in [rng.permutation(group.size)[: group.size // 3]]
        for place in group.parents
    ]
    for ids in layers:
        picked = rng.permutation(ids)[: len(ids) // 5]
        places += [(s.parameters, np.flatnonzero(np.isin(s.ids, picked))) for s in graph.sites if s.axis == 0]
    expected = {}
    for names, positions in places:
        for name in names:
            module, _, entry = name.rpartition(".")
            if not entry.startswith("running_var") and not (module in norms and entry == "weight"):
                tensors[name][positions] = 0
            if entry == "weight" and module in graph.layers and len(positions):
                expected.setdefault(module, set()).update(positions.tolist())
    return expected


@pytest.mark.parametrize("name", NETWORKS)
def test_permuted_at_random_the_logits_stay(name):
    network, images = made(name)
    before, weights = logits(network, images), copy.deepcopy(network.state_dict())
    graph, rng = cg.trace(network), np.random.default_rng(3)
    found = cg.groups(graph)
    cg.permute(network, graph, {group: rng.permutation(group.size) for group in found})
    assert same(logits(network, images), before)
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, weights[name])}
    assert {place.parameters[0] for group in found for place in group.parents + group.children} <= moved
    # one place forgotten, and the function is another: the comparison above can fail
    place = found[0].children[0]
    network.load_state_dict(weights | {name: network.state_dict()[name] for name in place.parameters})
    assert not same(logits(network, images), before)


@pytest.mark.parametrize("name", NETWORKS)
def test_without_its_zero_channels_the_rebuilt_network_gives_the_same_logits(name, tmp_path):
    network, images = made(name)
    graph = cg.trace(network)
    silenced = silence(network, graph, np.random.default_rng(4))
    before = logits(network, images)
    zeros = cg.zero_channels(network, graph)
    if name != "wide-resnet":  # there a shift may follow a sum of zeros: see the next test
        assert all(channels <= set(zeros[layer].tolist()) for layer, channels in silenced.items())
    smaller = cg.remove(network, graph, zeros)
    planned = cg.removal(graph, zeros).apply(network.state_dict())
    assert networks.checksum(planned) == networks.checksum(smaller.state_dict())
    state = {name: value.numpy() for name, value in smaller.state_dict().items()}
    compressed = bitbook.Compressed.from_state(
        state, codes={}, codebooks={}, specification=smaller.specification, batch_norm="whole", dtype=np.float32
    )
    compressed.save(tmp_path / "network.bitbook")
    rebuilt = bitbook.load(tmp_path / "network.bitbook").to_module()
    assert same(logits(rebuilt, images), before)
    counts = [sum(p.numel() for p in which.parameters()) for which in (network, rebuilt)]
    assert counts[1] < 0.75 * counts[0]
    for module in rebuilt.modules():  # ordinary layers
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            twin = type(module)(**{key: getattr(module, key) for key in module.__constants__ if key in ARGUMENTS})
            assert twin.weight.shape == module.weight.shape


def test_a_sum_of_zeros_stays_where_a_shift_makes_a_constant_of_it():
    network, images = made("wide-resnet")
    graph = cg.trace(network)
    for layer in (network.layer3[0].conv2, network.layer3[0].shortcut, network.layer3[1].conv2):
        layer.weight.data[:2] = 0
    network.layer3[1].bn1.running_mean[:2], network.bn1.running_mean[:2] = 0, 0
    network.layer3[1].bn1.bias.data[:2], network.bn1.bias.data[:2] = torch.tensor([-0.5, 0.5]), -0.5
    zeros, before = cg.zero_channels(network, graph), logits(network, images)
    # channel 0 is zero for all readers; layer3.1.conv1 reads channel 1 as 0.5, so one of the sum's terms has to stay
    layers = ("layer3.0.conv2", "layer3.0.shortcut", "layer3.1.conv2")
    removable = [zeros[layer].tolist() for layer in layers]
    assert sorted(removable) == [[0], [0, 1], [0, 1]]
    smaller = cg.remove(network, graph, zeros)
    assert smaller.fc.in_features == 127
    assert same(logits(smaller, images), before)


ARGUMENTS = {"in_channels", "out_channels", "kernel_size", "groups", "in_features", "out_features"}


@pytest.mark.parametrize(("name", "count"), [("resnet18", 12), ("resnet50", 37)])
def test_groups_of_torchvisions_resnets(name, count):
    assert len(cg.groups(cg.trace(torchvision_network(name=name)))) == count


def test_a_residual_stage_is_one_group_with_all_its_producers_and_consumers():
    stream = cg.groups(cg.trace(torchvision_network(name="resnet18")))[0]
    parents = ["conv1", "bn1", *(f"layer1.{b}.{m}" for b in (0, 1) for m in ("conv2", "bn2"))]
    assert [place.module for place in stream.parents] == parents
    children = ["layer1.0.conv1", "layer1.1.conv1", "layer2.0.conv1", "layer2.0.downsample.0"]
    assert [place.module for place in stream.children] == children
    assert stream.parents[1].parameters == tuple(f"bn1.{e}" for e in ("weight", "bias", "running_mean", "running_var"))


def test_option_a_shortcuts_tie_channels_with_an_offset():
    found = cg.groups(cg.trace(networks.build({"factory": "cifar_resnet", "arguments": {"depth": 20, **INPUT}})))
    streams = [group for group in found if len(group.parents) > 2]
    assert [group.size for group in streams] == [16, 16, 32]  # stage 2 adds 16 channels around 16, stage 3 32 around 32
    where = [{place.module: place.positions.ravel().tolist() for place in group.parents} for group in streams]
    assert [rows["layer3.2.conv2"] for rows in where] == [
        list(range(24, 40)),
        [*range(16, 24), *range(40, 48)],
        [*range(16), *range(48, 64)],
    ]
    assert where[0]["conv1"] == list(range(16)) and where[0]["layer2.1.conv2"] == list(range(8, 24))
    assert where[1]["layer2.0.conv2"] == [*range(8), *range(24, 32)]


def test_a_flattened_map_moves_in_runs_of_pixels():
    found = cg.groups(cg.trace(networks.build({"factory": "lenet5", "arguments": {}})))
    (place,) = found[1].children
    assert place.module == "fc1" and np.array_equal(place.positions, np.arange(800).reshape(50, 16))


def resnet20(*, silenced, shift=0.0):
    """A ResNet-20 whose layer1.0.conv1 has zero weights in the given channels, and a batch-norm shift there."""
    network, images = made("resnet20")
    network.layer1[0].conv1.weight.data[silenced] = 0
    network.layer1[0].bn1.running_mean[silenced] = 0
    network.layer1[0].bn1.bias.data[silenced] = shift
    return network, images, cg.trace(network)


def test_a_constant_that_a_shift_makes_of_zero_weights_is_refused_by_name():
    network, _, graph = resnet20(silenced=[3, 5], shift=0.25)
    assert "layer1.0.conv1" not in cg.zero_channels(network, graph)
    with pytest.raises(
        cg.ChannelGraphError, match=r"layer1\.0\.conv1: channel 5 .*layer1_0_conv2 as the constant 0\.25"
    ):
        cg.remove(network, graph, {"layer1.0.conv1": [5]})


def test_a_constant_that_the_activation_cuts_off_goes():
    network, images, graph = resnet20(silenced=[3, 5], shift=-0.25)
    assert cg.zero_channels(network, graph)["layer1.0.conv1"].tolist() == [3, 5]
    assert same(logits(cg.remove(network, graph, {"layer1.0.conv1": [3]}), images), logits(network, images))


def test_channels_that_nobody_reads_go():
    network, images, graph = resnet20(silenced=[])
    network.layer1[0].conv2.weight.data[:, 7] = 0
    assert cg.zero_channels(network, graph)["layer1.0.conv1"].tolist() == [7]
    assert same(logits(cg.remove(network, graph, {"layer1.0.conv1": [7]}), images), logits(network, images))


def test_what_varies_the_classes_and_what_is_not_there_are_refused():
    network, _, graph = resnet20(silenced=[])
    for channels, message in [
        ({"layer1.0.conv1": [2]}, r"channel 2 .* varying with the image"),
        ({"linear": [4]}, r"linear: channel 4 cannot be removed: the network returns it"),
        ({"layer1.0.conv1": [16]}, r"has 16 channels, and no channel 16"),
        ({"layer1.0.bn1": [0]}, r"layer1\.0\.bn1: not a convolution or linear layer"),
    ]:
        with pytest.raises(cg.ChannelGraphError, match=message):
            cg.remove(network, graph, channels)


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ({"linear": [4]}, r"outputs \(classes\) cannot be removed"),
        ({"layer1.0.conv1": [16]}, r"has 16 channels, and no channel 16"),
        ({"layer1.0.bn1": [0]}, r"layer1\.0\.bn1: not a convolution or linear layer"),
    ],
)
def test_a_plan_of_what_cannot_be_removed_is_refused(channels, message):
    with pytest.raises(cg.ChannelGraphError, match=message):
        cg.removal(resnet20(silenced=[])[2], channels)


def test_a_layer_of_zeros_keeps_one_channel():
    network, images, graph = resnet20(silenced=list(range(16)))
    smaller = cg.remove(network, graph, cg.zero_channels(network, graph))
    assert smaller.layer1.get_submodule("0.conv1").weight.shape == (1, 16, 3, 3)
    assert same(logits(smaller, images), logits(network, images))


def test_removing_twice_is_removing_once():
    network, images = made("resnet20")
    graph, rng = cg.trace(network), np.random.default_rng(5)
    silence(network, graph, rng)
    before, zeros = logits(network, images), cg.zero_channels(network, graph)
    half = cg.remove(network, graph, {layer: rng.permutation(z)[: len(z) // 2] for layer, z in zeros.items()})
    graph_of_half = cg.trace(half)
    twice = cg.remove(half, graph_of_half, cg.zero_channels(half, graph_of_half))
    once = cg.remove(network, graph, zeros)
    assert twice.specification == once.specification
    assert networks.checksum(twice.state_dict()) == networks.checksum(once.state_dict())
    assert same(logits(twice, images), before)


def test_copies_keep_function_and_specification():
    network, images, graph = resnet20(silenced=[3])
    smaller = cg.remove(network, graph, cg.zero_channels(network, graph))
    for twin in (copy.deepcopy(smaller), pickle.loads(pickle.dumps(smaller))):
        assert twin.specification == smaller.specification
        assert torch.equal(logits(twin, images), logits(smaller, images))


def test_the_index_of_a_removal_serves_optimiser_state():
    network, _, graph = resnet20(silenced=[3])
    zeros = cg.zero_channels(network, graph)
    smaller, index = cg.remove(network, graph, zeros), cg.removal(graph, zeros)
    momentum = torch.randn(16, 16, 3, 3)
    kept = [c for c in range(16) if c != 3]
    assert torch.equal(index["layer1.0.conv2.weight"].take(momentum), momentum[:, kept])
    weights = dict(network.named_parameters())
    for name, value in smaller.named_parameters():
        assert torch.equal(index[name].take(weights[name]), value)


def trained(network, optimiser, images, steps):
    for _ in range(steps):
        optimiser.zero_grad()
        F.cross_entropy(network(images), torch.arange(len(images)) % 10).backward()
        optimiser.step()


def test_network_momentum_and_averages_shrink_along_one_plan_and_training_goes_on_as_if_nothing_had_happened():
    network, _ = made("resnet20")
    network.double().train()
    images = torch.rand(6, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    rng = np.random.default_rng(9)
    inner = {  # half of every block's inner width
        f"layer{stage}.{block}.conv1": rng.permutation(16 << stage - 1)[: 8 << stage - 1]
        for stage in (1, 2, 3)
        for block in range(3)
    }
    for layer, gone in inner.items():  # zero after batch norm, and without a gradient behind the activation
        norm = network.get_submodule(layer.replace("conv", "bn"))
        network.get_submodule(layer).weight.data[gone] = 0
        norm.bias.data[gone], norm.running_mean[gone] = 0, 0
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-3)
    trained(network, optimiser, images, 3)
    average = {name: value.detach() * 0.5 for name, value in network.named_parameters()}
    graph = cg.trace(network)
    plan, smaller = cg.removal(graph, inner), cg.remove(network, graph, inner)
    planned = plan.apply(network.state_dict())
    assert networks.checksum(planned) == networks.checksum(smaller.state_dict())
    momentum = plan.apply({name: optimiser.state[p]["momentum_buffer"] for name, p in network.named_parameters()})
    assert momentum["layer1.0.conv1.weight"].shape == (8, 16, 3, 3)
    for name, value in plan.apply(average).items():
        assert torch.equal(value, smaller.get_parameter(name) * 0.5)
    small = torch.optim.SGD(smaller.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-3)
    for name, parameter in smaller.named_parameters():
        small.state[parameter]["momentum_buffer"] = momentum[name].clone()
    trained(network, optimiser, images, 3)
    trained(smaller, small, images, 3)
    for name, value in plan.apply(network.state_dict()).items():
        torch.testing.assert_close(smaller.state_dict()[name], value, rtol=1e-9, atol=1e-10)


def test_a_permutation_is_a_plan_too():
    network, images = made("resnet20")
    graph = cg.trace(network)
    orders = {group: np.arange(group.size)[::-1] for group in cg.groups(graph)}
    moved = cg.permutation(graph, orders).apply(network.state_dict())
    before = logits(network, images)
    cg.permute(network, graph, orders)
    assert all(torch.equal(moved[name], value) for name, value in network.state_dict().items())
    assert same(logits(network, images), before)


def test_a_plan_finds_parametrised_weights_and_refuses_what_it_was_not_made_for():
    network = Net(lambda net, x: x)
    plan = cg.removal(cg.trace(network), {"conv2": [0, 1, 2], "conv1": [7]})
    torch.nn.utils.parametrize.register_parametrization(network.conv2, "weight", nn.Identity())
    original = network.conv2.parametrizations.weight.original
    state = {"conv2.parametrizations.weight.original": original, "step": torch.tensor(3.0), "fc.bias": network.fc.bias}
    shrunken = plan.apply(state)
    assert torch.equal(shrunken["conv2.parametrizations.weight.original"], original[3:, :7])
    assert torch.equal(shrunken["fc.bias"], network.fc.bias) and shrunken["step"] == 3
    with pytest.raises(
        cg.ChannelGraphError, match=r"weight\.original: has shape \(5, 7, 1, 1\); .*\(8, 8\): apply it once"
    ):
        plan.apply(shrunken)
    with pytest.raises(cg.ChannelGraphError, match=r"module\.fc\.bias: the network has no such name"):
        plan.apply({"module.fc.bias": network.fc.bias})


class QuantisedConv(nn.Conv2d):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.bits = nn.Parameter(torch.arange(float(self.out_channels)).view(-1, 1, 1, 1))


def test_parameters_per_channel_of_a_layer_of_ones_own_move_along():
    network = nn.Sequential(QuantisedConv(3, 8, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    network[0].weight.data[2], network[0].bias.data[2] = 0, 0
    graph, order = cg.trace(network), np.random.default_rng(6).permutation(8)
    smaller = cg.remove(network, graph, {"0": [2]})
    assert type(smaller.get_submodule("0")) is QuantisedConv
    assert smaller.get_submodule("0").bits.flatten().tolist() == [0, 1, 3, 4, 5, 6, 7]
    cg.permute(network, graph, {cg.groups(graph)[0]: order})
    assert network[0].bits.flatten().tolist() == order.tolist()


@pytest.mark.parametrize("mask", ["zz", "ff", "0000", "ffff01", 0, 17, True, None])
def test_a_mask_that_does_not_fit_is_refused(mask):
    of = {"factory": "cifar_resnet", "arguments": {"depth": 20, **INPUT}}
    with pytest.raises(cg.ChannelGraphError, match=r"layer1\.0\.conv1.*16 channels"):
        networks.build({"factory": "shrunk", "arguments": {"of": of, "kept": {"layer1.0.conv1": mask}}})


class Net(nn.Module):
    """Two convolutions and a classifier around one operation."""

    def __init__(self, middle):
        super().__init__()
        self.conv1, self.conv2, self.fc = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Linear(8, 4)
        self.middle = middle

    def forward(self, x):
        return self.fc(self.middle(self, self.conv2(self.conv1(x))).mean((2, 3)))


class Shuffle(nn.Module):
    def forward(self, x):
        return x.view(x.size(0), 2, 4, 6, 6).transpose(1, 2).flatten(1, 2)


class Branch(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("middle", "message"),
    [
        (lambda net, x: torch.fft.fft2(x).real, "fft_fft2 is not an operation"),
        (lambda net, x: x * torch.ones(8, 1, 1), "mul combines channels with .*, which is neither a number"),
        (lambda net, x: x.mean(1, keepdim=True), "mean takes the mean over something else"),
        (lambda net, x: net.conv2(x), "Conv2d.* is called twice"),
        (lambda net, x: x / x.relu(), "truediv divides channels by channels"),
        (lambda net, x: F.pad(x, (0, 0, 0, 0, 4, 4)).sigmoid(), "sigmoid makes something of channels padded"),
        (lambda net, x: torch.cat([x, x], 2), "cat joins along something else"),
        (lambda net, x: F.relu(x, inplace=True) + x, "relu works in place on conv2, which is read again later"),
        (lambda net, x: F.pad(x, (0, 0, 0, 0, x.size(1), 0)), "pad pads by something else than fixed"),
        (lambda net, x: torch.add(x, other=x), "add gets its two operands in another form"),
        (lambda net, x: x.reshape(4, -1, 6, 6), "reshape makes another shape"),
    ],
)
def test_what_the_graph_does_not_know_is_an_error_naming_the_operation(middle, message):
    with pytest.raises(cg.ChannelGraphError, match=message):
        cg.trace(Net(middle))


@pytest.mark.parametrize(
    ("module", "message"), [(Shuffle(), r"1 \(Shuffle\): view"), (Branch(), r"1 \(Branch\) cannot be traced")]
)
def test_what_cannot_be_traced_is_an_error_naming_the_module(module, message):
    with pytest.raises(cg.ChannelGraphError, match=message):
        cg.trace(nn.Sequential(nn.Conv2d(3, 8, 1), module, nn.Flatten(), nn.Linear(8, 2)))


def test_shared_and_parametrised_weights_are_errors_naming_them():
    network = Net(lambda net, x: x)
    torch.nn.utils.parametrizations.weight_norm(network.conv2)
    with pytest.raises(cg.ChannelGraphError, match=r"conv2 .* has no weight of its own"):
        cg.trace(network)
    network = Net(lambda net, x: x)
    network.fc.bias = nn.Parameter(torch.zeros(8))
    network.conv1.bias = network.fc.bias
    with pytest.raises(cg.ChannelGraphError, match=r"conv1\.bias and fc\.bias are one parameter"):
        cg.trace(network)


def test_a_functional_dropout_may_be_permuted_but_not_shrunk():
    network = Net(lambda net, x: F.dropout(x, training=net.training)).eval()
    network.conv1.weight.data[0], network.conv1.bias.data[0] = 0, 0
    graph = cg.trace(network)
    assert [group.size for group in cg.groups(graph)] == [8, 8]
    with pytest.raises(cg.ChannelGraphError, match=r"Net\): dropout .*nn\.Dropout"):
        cg.remove(network, graph, {"conv1": [0]})


def test_slices_and_concatenations_of_slices_keep_their_places():
    network = Net(lambda net, x: torch.cat([x[:, 5:], F.relu(x[:, :5])], 1)).eval()
    images = torch.rand(3, 3, 6, 6)
    graph = cg.trace(network)
    network.conv2.weight.data[[1, 6]], network.conv2.bias.data[[1, 6]] = 0, 0
    before = logits(network, images)
    smaller = cg.remove(network, graph, cg.zero_channels(network, graph))
    assert smaller.fc.in_features == 6
    assert same(logits(smaller, images), before)


@pytest.mark.parametrize(
    "shape", [lambda x: x.view(x.size(0), -1), lambda x: x.reshape((x.shape[0], 8 * 36)), lambda x: x.view(-1, 288)]
)
def test_a_view_with_a_fixed_number_of_features_shrinks(shape):
    class Viewed(Net):
        def forward(self, x):
            return self.fc(shape(self.conv2(self.conv1(x))))

    network, images = Viewed(None).eval(), torch.rand(3, 3, 6, 6)
    network.fc = nn.Linear(288, 4)
    network.conv2.weight.data[[1, 6]], network.conv2.bias.data[[1, 6]] = 0, 0
    graph, before = cg.trace(network), logits(network, images)
    smaller = cg.remove(network, graph, cg.zero_channels(network, graph))
    assert smaller.fc.in_features == 6 * 36
    assert same(logits(smaller, images), before)
    assert same(logits(copy.deepcopy(smaller), images), before)
