"""Training: channels leave and nothing changes, killed runs resume, and the file is the trained network."""

import copy
import json

import numpy as np
import pytest
import torch
from bitbook import codes, datasets, networks, tasks, training
from bitbook.compression import assemble
from bitbook.methods import self_compression as sc
from bitbook.methods.self_compression._removal import shrink_biases
from bitbook.networks import channel_graph
from bitbook.networks.channel_graph._plan import IndexMap
from bitbook.runtime import to_module

RECIPE = training.Recipe(epochs=4, batch_size=8, optimiser="adam", learning_rate=1e-3)
CIFAR = {"mean": [0.5] * 3, "std": [0.25] * 3}
NETWORKS = {
    "lenet5": ({"factory": "lenet5", "arguments": {}}, (1, 28, 28)),
    "resnet20": ({"factory": "cifar_resnet", "arguments": {"depth": 20, **CIFAR}}, (3, 8, 8)),
    "resnet9": ({"factory": "resnet9", "arguments": CIFAR}, (3, 32, 32)),
    "mnist_cnn": ({"factory": "mnist_cnn", "arguments": {}}, (1, 28, 28)),
    "digits": ({"factory": "digits_cnn", "arguments": {}}, (1, 8, 8)),
    "mobilenet": (
        {"factory": "torchvision", "arguments": {"name": "mobilenet_v3_small", "classes": 5, **CIFAR}},
        (3, 32, 32),
    ),
}


def images(shape, count=48):
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("union", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_empty_channels_leave_and_outputs_stay(name, union):
    specification, shape = NETWORKS[name]
    network = networks.build(specification, seed=0).eval()
    scheme = sc.SelfCompression(gamma=0.1, union=union)
    scheme.prepare(network)
    generator = torch.Generator().manual_seed(1)
    for layer in training.attached(network, sc.LearnedDepth).values():
        with torch.no_grad():
            layer.depths[torch.rand(len(layer.depths), generator=generator) < 0.5] = 0
    scheme.after_step(network, 1, 10)
    assert all(layer.depths.max() >= 1 for layer in training.attached(network, sc.LearnedDepth).values())
    graph = channel_graph.trace(network)
    shrink_biases(network, graph, sc.empty_channels(network), 10.0)
    gone = sc.leaving(network, graph, union=union)
    assert gone
    x = torch.rand(2, *shape, generator=generator)
    with torch.no_grad():
        before = network(x)
        smaller = channel_graph.remove(network, graph, gone)
        assert torch.allclose(smaller(x), before, rtol=1e-5, atol=1e-5)
    if union:  # an ordinary narrower network: no index maps but in the place of padding shortcuts
        padding = [step for step in graph.steps if step.kind == "gather"]
        assert sum(isinstance(module, IndexMap) for module in smaller.modules()) <= len(padding)
    layers = training.attached(smaller, sc.LearnedDepth)
    assert all(len(layer.depths) == len(training.original(smaller, key)) for key, layer in layers.items())


def test_biases_behind_empty_channels_reach_zero_and_no_others_move():
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten()
    )
    network.append(torch.nn.Linear(4, 2))
    with torch.no_grad():
        network[0].bias.copy_(torch.tensor([0.5, -0.5, 0.05, 0.5]))
        network[1].bias.copy_(torch.tensor([0.05, -0.3, 0.3, 0.3]))
    empty = {"0": torch.tensor([True, True, True, False]), "4": torch.zeros(2, dtype=torch.bool)}
    shrink_biases(network, channel_graph.trace(network), empty, 0.1)
    assert network[0].bias.tolist() == pytest.approx([0.4, -0.4, 0.0, 0.5])
    assert network[1].bias.tolist() == pytest.approx([0.0, -0.2, 0.2, 0.3])


class Killed(Exception):
    pass


def train(folder, *, charge, die_at=None):
    task = tasks.Task(
        name="own",
        data=datasets.OwnImages(
            "own", train=(images((1, 8, 8)), torch.arange(48) % 10), test=(images((1, 8, 8)), torch.arange(48) % 10)
        ),
        specification=NETWORKS["digits"][0],
        metrics=tasks.FEW_CLASSES,
        recipe=training.Recipe(epochs=1),
    )
    network = task.network(seed=0)
    scheme = sc.SelfCompression(gamma=2.0, charge=charge, depth=4.0, learning_rate=2.0, push=1.0)
    if die_at:

        def dies(self, current, epoch, epochs, plain=sc.SelfCompression.after_epoch):
            if epoch == die_at:
                raise Killed
            return plain(self, current, epoch, epochs)

        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            patch.setattr(sc.SelfCompression, "after_epoch", dies)
            sc.compress(network, task, scheme, RECIPE, folder=folder)
    return sc.compress(network, task, scheme, RECIPE, folder=folder)


@pytest.mark.parametrize("charge", sc.CHARGES)
def test_a_killed_training_ends_in_the_same_file_and_records(tmp_path, charge):
    whole, records = train(tmp_path / "whole", charge=charge)
    again, more = train(tmp_path / "killed", charge=charge, die_at=3)
    assert again.to_bytes() == whole.to_bytes()
    for a, b in zip(records, more, strict=True):
        assert a.__dict__ | {"seconds": 0} == b.__dict__ | {"seconds": 0}
    assert [record.epoch for record in records] == [0, 1, 2, 3, 4]
    assert records[0].charged > records[-1].charged and records[0].weights >= records[-1].weights
    if charge == "depth":
        assert records[-1].weights < records[0].weights  # channels have left
        assert whole.original_parameters > sum(code.values.size for code in whole.codes.values()) + 1000
    assert json.loads((tmp_path / "whole" / "records.json").read_text())[0]["epoch"] == 0


def test_the_file_computes_what_the_trained_network_does(tmp_path):
    network = networks.build(NETWORKS["digits"][0], seed=0)
    x, labels = images((1, 8, 8)), torch.arange(48) % 10
    scheme = sc.SelfCompression(gamma=0.5, depth=5.0)
    ends = []

    def keep(epoch, current):
        ends.append(copy.deepcopy(current))

    done = training.fit(network, x, labels, RECIPE, seed=0, scheme=scheme, callback=keep, progress=False)
    trained, float_images = ends[-1].eval(), x.float() / 255
    with torch.no_grad():
        expected = trained(float_images)
        assert torch.equal(done.network.eval()(float_images), expected)  # codes hold the very weights
        for name, weights in done.coded.decode().items():
            assert np.array_equal(weights, dict(done.network.named_parameters())[name].detach().numpy())
        assemble(done.network, done.coded).save(tmp_path / "digits.bitbook")
        loaded = to_module(codes.load(tmp_path / "digits.bitbook"))
        assert torch.allclose(loaded(float_images), expected, atol=5e-3)  # batch norms and biases are float16 in a file


@pytest.mark.parametrize("fixed", [True, False])
def test_exponents_stay_where_they_became_whole_if_they_are_to(fixed):
    network = networks.build(NETWORKS["digits"][0], seed=0)
    x, labels, seen = images((1, 8, 8)), torch.arange(48) % 10, []

    def watch(epoch, current):
        layers = training.attached(current, sc.LearnedDepth).values()
        seen.append((torch.cat([layer.exponent() for layer in layers]), all(layer.whole for layer in layers)))

    scheme = sc.SelfCompression(gamma=2.0, depth=4.0, learning_rate=2.0, epsilon=1e-8, every=0, fixed_exponents=fixed)
    training.fit(network, x, labels, RECIPE, seed=0, scheme=scheme, callback=watch, progress=False)
    assert [whole for _, whole in seen] == [False, False, True, True, True]
    assert torch.equal(seen[2][0], seen[2][0].round()) and not torch.equal(seen[1][0], seen[1][0].round())
    assert torch.equal(seen[2][0], seen[4][0]) == fixed


@pytest.mark.parametrize(
    ("options", "recipe", "fault"),
    [
        ({}, {"optimiser": "sgd"}, "adam"),
        ({"charge": "bits"}, {}, "none of depth"),
        ({"gamma": -1.0}, {}, "gamma is -1, not from 0"),
        ({"depth": 0.5}, {}, "from 1 to 16"),
        ({"whole_from": 1.0}, {}, "whole_from"),
        ({"push": 1e-4}, {}, "learning rate"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, recipe, fault):
    with pytest.raises(ValueError, match=fault):
        sc.SelfCompression(**{"gamma": 0.1} | options).check(
            training.Recipe(**{"epochs": 1, "optimiser": "adam", "learning_rate": 1e-3} | recipe)
        )
