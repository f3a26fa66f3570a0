"""ADMM: projections against exhaustive search, closed forms, resuming, and the pipeline on the bundled digits."""

import itertools
import math

import numpy as np
import pytest
import torch
from bitbook import training
from bitbook.methods import admm
from bitbook.methods.admm._constraints import STEPS, lamp_scores, position_bits
from bitbook.methods.admm._retrain import SHARE, Frozen
from bitbook.methods.admm._scheme import Split
from bitbook.methods.dpnet._bit_budget import lamp_scores as lamp_scores_in_numpy
from bitbook.networks import checksum
from torch import nn

RNG = np.random.default_rng(0)
SHORT = admm.Training(epochs=1, rounds=2)
PRUNING = {"admm": admm.Training(epochs=2, rounds=8, growth=1.5), "masked": SHORT}
SCHEDULE = admm.Schedule(
    prune=(
        admm.Pruning(constraint=admm.GlobalCardinality(3000), **PRUNING),
        admm.Pruning(constraint=admm.GlobalCardinality(1500, value_bits=3.0), **PRUNING),
    ),
    cluster=admm.FreeClusters({"*.weight": 4}),
    clustering=SHORT,
    freezing=SHORT,
    tuning=SHORT,
    ramp=0.5,
    share=0.5,
    batch_size=64,
)


def tensors(*shapes):
    return {f"{i}": torch.from_numpy(RNG.normal(size=shape)) for i, shape in enumerate(shapes)}


def error(weights, projected):
    return sum(float((weights[name] - projected[name]).square().sum()) for name in weights)


def test_cardinality_is_the_nearest_by_exhaustive_search():
    weights = tensors((2, 3), (4,))
    left = {"0": 2, "1": 3}
    found = admm.Cardinality(left).project(weights)
    for name, value in weights.items():
        flat = value.flatten()
        subsets = itertools.combinations(range(len(flat)), left[name])
        best = min(float(flat.square().sum() - flat[list(kept)].square().sum()) for kept in subsets)
        assert error({name: value}, {name: found[name]}) == pytest.approx(best)
        assert (found[name] != 0).sum() == left[name]


def test_channels_are_the_nearest_by_exhaustive_search():
    weights = tensors((5, 2, 3, 3), (4, 6))
    left = {"0": 2, "1": 3}
    found = admm.Channels(left).project(weights)
    for name, value in weights.items():
        subsets = itertools.combinations(range(len(value)), left[name])
        best = min(float(value.square().sum() - value[list(kept)].square().sum()) for kept in subsets)
        assert error({name: value}, {name: found[name]}) == pytest.approx(best)
        assert int((found[name] != 0).flatten(1).any(1).sum()) == left[name]


def test_global_cardinality_keeps_the_highest_scores_of_all_layers():
    weights = tensors((5, 4), (6,), (2, 2, 3, 3))
    scores = {name: lamp_scores(value) for name, value in weights.items()}
    for name, value in weights.items():
        np.testing.assert_allclose(scores[name], lamp_scores_in_numpy(value.numpy()), rtol=1e-12)
    found = admm.GlobalCardinality(17).project(weights)
    kept = torch.cat([scores[name][value != 0] for name, value in found.items()])
    gone = torch.cat([scores[name][value == 0] for name, value in found.items()])
    assert len(kept) == 17
    assert kept.min() > gone.max()


def test_a_cardinality_comes_down_along_the_cubic_law():
    weights = tensors((10, 10))
    for constraint in (admm.Cardinality({"0": 20}), admm.GlobalCardinality(20)):
        left = [int((constraint.project(weights, t)["0"] != 0).sum()) for t in (0.0, 0.5, 1.0)]
        assert left == [100, 100 - 70, 20]


def test_positions_cost_less_where_rows_columns_and_kernels_are_full():
    kept = torch.zeros(9, 8, 3, 3, dtype=torch.bool)
    kept[1, ::2, 1], kept[::2, 2, 1] = True, True
    bits = position_bits(kept)
    assert bits[1, 0].max() < bits[1, 1].min() < bits[3, 1].min()
    assert bits[0, 2].max() < bits[0, 1].min()
    dense = torch.rand(60, 70, generator=torch.Generator().manual_seed(0)) < 0.1
    spent = torch.where(dense, position_bits(dense), 0.0).sum()
    assert spent == pytest.approx(float(-dense.sum() * dense.double().mean().log2()), rel=0.1)  # nothing to gain


def test_pricing_positions_fills_fewer_rows_at_the_same_cardinality():
    weights = {"a": torch.randn(80, 90, generator=torch.Generator().manual_seed(0), dtype=torch.float64)}
    weights["a"][:20] *= 1.5
    found = [admm.GlobalCardinality(200, value_bits=bits).project(weights)["a"] for bits in (0.0, 2.0)]
    rows = [int((value != 0).any(1).sum()) for value in found]
    assert rows[1] < rows[0]


def test_free_clusters_are_the_nearest_by_exhaustive_search_and_zeros_stay():
    weights = {"a": torch.from_numpy(np.abs(RNG.normal(size=5))), "b": torch.zeros(3, dtype=torch.float64)}
    weights["b"][1] = 0.7
    found = admm.FreeClusters({"*": 3}).project(weights)
    values = torch.cat([weights["a"], weights["b"][1:2]])
    best = min(
        sum(float(((values[(m := torch.tensor(labels) == j)]) - values[m].mean()).square().sum()) for j in set(labels))
        for labels in itertools.product(range(3), repeat=len(values))
    )
    assert error(weights, found) == pytest.approx(best)
    assert (found["b"] == 0).tolist() == [True, False, True]


def test_equal_levels_are_the_nearest_of_all_steps_tried():
    weights = {"a": torch.from_numpy(RNG.normal(size=40))}
    found = admm.EqualLevels({"a": 4}).project(weights)["a"]
    values, best = weights["a"].numpy(), math.inf
    for step in STEPS * np.abs(values).max() / 2:
        levels = step * np.array([-2, -1, 1, 2])
        best = min(best, float((np.abs(values[:, None] - levels).min(1) ** 2).sum()))
    assert error(weights, {"a": found}) == pytest.approx(best)
    assert len(found.unique()) <= 4


def test_two_constraints_in_sequence():
    weights = tensors((6, 5))
    found = admm.Both(admm.Cardinality({"0": 11}), admm.FreeClusters({"0": 4})).project(weights)["0"]
    pruned = admm.Cardinality({"0": 11}).project(weights)
    assert torch.equal(found, admm.FreeClusters({"0": 4}).project(pruned)["0"])
    assert ((found != 0) == (pruned["0"] != 0)).all()


def least_squares(constraint, rounds=200):
    """Run the loop on a linear network with squared error; return what it ends in, and the problem."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(24, 1, 1, 6, generator=generator)
    targets = images.flatten(1) @ torch.tensor([0.9, 1.1, 1.0, 1.3, 0.7, 1.0]) + 0.1 * torch.randn(
        24, generator=generator
    )
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 1, bias=False))
    with torch.no_grad():
        network[1].weight.fill_(0.5)
    recipe = training.Recipe(
        epochs=600, batch_size=24, learning_rate=0.1, momentum=0.5, weight_decay=0, schedule="constant"
    )
    history = training.fit(
        network,
        images,
        targets,
        recipe,
        seed=0,
        scheme=admm.ADMM(constraint=constraint, rounds=rounds, rho=1.0),
        objective=lambda model, x, y: (model(x)[:, 0] - y).square().mean(),
        progress=False,
    )
    return history.network[1].weight.detach()[0].double(), images.flatten(1).double(), targets.double()


def test_least_squares_with_a_cardinality_of_all_weights_reaches_the_closed_form():
    weights, x, y = least_squares(admm.Cardinality({"1.weight": 6}))
    torch.testing.assert_close(weights, torch.linalg.lstsq(x, y[:, None]).solution[:, 0], atol=1e-4, rtol=0)


def test_least_squares_with_one_level_reaches_the_closed_form():
    weights, x, y = least_squares(admm.FreeClusters({"1.weight": 1}))
    level = (x.sum(1) @ y) / x.sum(1).square().sum()
    torch.testing.assert_close(weights, level.expand(6), atol=1e-4, rtol=0)


def test_residuals_and_duals_are_those_of_the_definition():
    split = Split(torch.tensor([2.0, 1.0]), torch.tensor([2.0, 0.0]), 0.5, 2)
    assert split.penalty(torch.tensor([3.0, 1.0])) == 0.25 * (1 + 1)
    split.update(torch.tensor([3.0, 1.0]), torch.tensor([0.0, 1.0]), 0, growth=2.0)
    assert split.u.tolist() == [1.5, 0]  # the multiplier rho U stays when rho doubles
    assert split.rho == 1.0
    assert split.residuals[0].tolist() == pytest.approx([3.0, 0.5 * 5**0.5])
    assert split.residuals[1].isnan().all()


def test_a_freezing_round_fixes_the_nearest_share_of_each_cell():
    weights, values = torch.tensor([1.1, 0.9, 1.5, 0.0, -1.0, -1.2]), torch.tensor([1.0, 1, 1, 0, -1, -1])
    frozen = Frozen(weights)
    frozen.freeze(weights, values, torch.tensor([1, 1, 1, 1, 0, 0]))
    assert math.ceil(3 * SHARE) == math.ceil(2 * SHARE) == 1
    assert frozen.fixed.nonzero().flatten().tolist() in ([0, 4], [1, 4])
    assert frozen(weights + 5)[4] == -1
    for _ in range(3):
        frozen.freeze(frozen(weights), values, torch.tensor([1, 1, 1, 1, 0, 0]))
    assert frozen.fixed.tolist() == [True, True, True, False, True, True]


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def stages(network, task):
    return admm.run(network, task, SCHEDULE)


def test_pipeline_keeps_its_cardinalities_and_its_levels(network, task, stages):
    for name, most in {"pruned 1": 3000, "pruned 2": 1500, "clustered": 1500}.items():
        file = admm.compressed(stages[name], network, task)
        decoded = {weight: code.decode(file.codebooks) for weight, code in file.codes.items()}
        assert 0.8 * most < sum(np.count_nonzero(weights) for weights in decoded.values()) <= most
        assert file.original_parameters == sum(value.numel() for value in network.parameters())
        if name == "clustered":
            assert all(len(np.unique(weights[weights != 0])) <= 4 for weights in decoded.values())
    assert set(stages["pruned 1"].residuals) == set(file.codes)
    for pairs in stages["pruned 1"].residuals.values():
        assert np.isfinite(pairs).all()


def test_a_killed_run_resumes_to_the_same_weights(network, task, stages, tmp_path, monkeypatch):
    before, fit = checksum(network.state_dict()), training.fit

    def killed(*arguments, callback, **options):
        def counted(epoch, current):
            callback(epoch, current)
            if epoch and options["folder"].name == "freeze":
                raise Killed

        return fit(*arguments, callback=counted, **options)

    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", killed)
        with pytest.raises(Killed):
            admm.run(network, task, SCHEDULE, folder=tmp_path)
    again = admm.run(network, task, SCHEDULE, folder=tmp_path)
    assert checksum(network.state_dict()) == before
    files = [admm.compressed(found["clustered"], network, task).to_bytes() for found in (stages, again)]
    assert files[0] == files[1]
    for name, pairs in again["pruned 2"].residuals.items():
        np.testing.assert_array_equal(pairs, stages["pruned 2"].residuals[name])


def test_dead_channels_leave_with_their_biases_and_what_they_computed(task):
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 8), nn.ReLU(), nn.Linear(8, 10)
    )
    with torch.no_grad():
        network[0].weight[1], network[3].weight[:, 2 * 36 : 3 * 36], network[3].weight[4] = 0, 0, 0
        network[0].bias[1], network[3].bias[4] = 0, 0
        network[5].weight[:, 6], network[5].weight[3], network[5].bias[3] = 0, 0, 2.0
    images = torch.rand(5, 1, 8, 8)
    expected = network(images)
    smaller = admm.without_dead_channels(network)
    assert {name: tuple(value.shape) for name, value in smaller.named_parameters() if "weight" in name} == {
        "0.weight": (4, 1, 3, 3),
        "3.weight": (6, 144),
        "5.weight": (10, 6),
    }
    torch.testing.assert_close(smaller(images), expected, atol=1e-6, rtol=1e-5)
