"""Genes against what the clustering functions give directly; merging by trial against a brute-force scan."""

import itertools

import numpy as np
import pytest
import torch
from bitbook.clustering import input_factor
from bitbook.codes import Coded, ScalarCode
from bitbook.compression import Divergence, assemble, compensate, nondominated
from bitbook.methods import moea_bins
from bitbook.search import FastDivergence, Genes, evolve, hypervolume, round_again
from bitbook.search import _genes as meaning
from bitbook.search._nsga2 import exchange_genes, move_genes
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

TENSORS = {
    "a": np.random.default_rng(0).laplace(scale=0.1, size=(6, 4, 3, 3)).astype(np.float32),
    "b": np.random.default_rng(1).normal(scale=0.3, size=(5, 12)).astype(np.float32),
}


def _factors():
    rng = np.random.default_rng(2)
    inputs = {"a": rng.normal(size=(1, 36, 80)), "b": rng.normal(size=(1, 12, 80))}
    return {name: [[input_factor(x @ x.T) for x in group]] for name, group in inputs.items()}


@pytest.fixture(scope="module")
def genes():
    return Genes.of(TENSORS, _factors())


def _decoded(genes, candidate):
    keys = genes.keys(candidate)
    coded = genes.coded(keys, [genes.levels(key) for key in keys])
    return coded.codes, coded.codebooks, coded.decode()


def test_without_a_rate_weight_layers_are_rounded_to_multiples_of_their_step():
    genes = Genes.of(TENSORS, {})
    candidate = genes.uniform(3, rate_weight=0)
    candidate[-1] += 4  # the last layer's step
    _, books, decoded = _decoded(genes, candidate)
    assert list(books) == ["grid"]
    for (name, tensor), step in zip(TENSORS.items(), (3, 7), strict=True):
        width = float(genes.steps[step])
        np.testing.assert_allclose(decoded[name], np.rint(tensor / width) * width, rtol=1e-3)


def test_levels_are_those_of_compensated_rounding(genes):
    candidate = genes.uniform(4, rate_weight=2)
    _, _, decoded = _decoded(genes, candidate)
    for name, tensor in TENSORS.items():
        scale, largest = genes.steps[4], int(np.rint(np.abs(tensor).max() / float(genes.steps[4])))
        values = np.arange(-largest, largest + 1)
        nearest = np.abs(tensor[..., None] / np.float64(scale) - values).argmin(-1)
        coded = Coded({name: ScalarCode(nearest, "b", scale)}, {"b": values.astype(np.float16)})
        expected = compensate(TENSORS, coded, genes.factors, rate_weight=meaning.RATE_WEIGHTS[2])
        np.testing.assert_array_equal(decoded[name], expected.decode()[name])


def test_every_candidate_within_the_bounds_has_codes(genes):
    low, high = genes.bounds
    rng = np.random.default_rng(0)
    for candidate in [low, high, *rng.integers(low, high + 1, size=(8, len(low)))]:
        codes, books, decoded = _decoded(genes, candidate)
        assert all(np.isfinite(values).all() for values in decoded.values())
        for name, code in codes.items():
            code.check(books)
            assert code.shape == TENSORS[name].shape


@pytest.mark.parametrize("steps", [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (1.0, np.inf)])
def test_steps_that_make_no_sense_are_refused(steps):
    with pytest.raises(ValueError, match="finest < coarsest"):
        Genes.of(TENSORS, {}, finest=steps[0], coarsest=steps[1])
    with pytest.raises(ValueError, match="equal"):
        Genes.of({"a": np.ones((2, 2))}, {})


def test_offspring_stay_within_the_bounds_and_have_the_genes_of_their_parents(genes):
    low, high = genes.bounds
    problem = type("Problem", (), {"xl": low, "xu": high, "n_var": len(low)})()
    rng = np.random.default_rng(0)
    parents = rng.integers(low, high + 1, size=(2, 50, len(low)))
    children = exchange_genes(seed=0)._do(problem, parents)
    assert (children != parents).any()
    np.testing.assert_array_equal(np.sort(children, 0), np.sort(parents, 0))
    moved = move_genes(seed=0)._do(problem, parents[0])
    assert ((moved >= low) & (moved <= high)).all() and (moved != parents[0]).any()


def _brute_force(bins, score, reference):
    """The scan of the authors' description, on lists of sets."""
    groups = [{b} for b in range(bins)]

    def worth(candidate):
        return score(np.array([next(i for i, group in enumerate(candidate) if b in group) for b in range(bins)]))

    i = 1
    while i < len(groups) - 1:
        left = [*groups[: i - 1], groups[i - 1] | groups[i], *groups[i + 1 :]]
        right = [*groups[:i], groups[i] | groups[i + 1], *groups[i + 2 :]]
        best = left if worth(left) >= worth(right) else right
        if worth(best) >= reference:
            groups = best
        else:
            i += 1
    return np.array([next(i for i, group in enumerate(groups) if b in group) for b in range(bins)])


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(0, 10**6), st.floats(0, 1))
def test_merging_agrees_with_brute_force(bins, seed, reference):
    weights = np.random.default_rng(seed).random(bins)

    def score(groups):  # groups of much weight cost; bits of the seed make the rest arbitrary
        sums = np.bincount(groups, weights)
        return 1 - (sums**2).sum() / weights.sum() ** 2 - (seed % 7 + 1) * 0.01 * len(sums) ** 0.5

    found = moea_bins.merge_neighbours(bins, score, reference=reference)
    np.testing.assert_array_equal(found, _brute_force(bins, score, reference))


def test_merging_scores_no_grouping_twice_and_may_rise():
    asked = []

    def score(groups):
        asked.append(groups.tobytes())
        return 1.0 - 0.01 * (groups[-1] < 4)

    groups = moea_bins.merge_neighbours(8, score, reference=0.5)
    assert groups[-1] == 1  # only the ends have a single neighbour
    assert len(asked) == len(set(asked))
    assert moea_bins.merge_neighbours(8, score, reference=0.5, rising=True)[-1] == 4
    with pytest.raises(ValueError, match="at least one"):
        moea_bins.merge_neighbours(0, score, reference=0.5)


def test_merged_values_are_means_over_all_members():
    values, counts = np.array([0.0, 1.0, 4.0]), np.array([1, 3, 1])
    np.testing.assert_allclose(moea_bins.merged_values(values, counts, np.array([0, 0, 1])), [0.75, 4.0])


def test_hypervolume_by_hand():
    assert hypervolume([[0, 2], [1, 1]], [3, 3]) == pytest.approx(3 * 1 + 2 * 1)


def test_evolution_finds_the_front_of_a_problem_with_a_known_one():
    def costs(genes):
        return np.stack([(genes**2).sum(1), ((genes - 3) ** 2).sum(1)], axis=1)

    low, high = np.zeros(2, int), np.full(2, 5)
    every = np.array(list(itertools.product(range(6), repeat=2)))
    exact = nondominated(costs(every))
    history = evolve(costs, every[::9], low, high, population=12, generations=12, seed=0)
    np.testing.assert_array_equal(history[-1].front_costs, costs(every)[exact])
    again = evolve(costs, every[::9], low, high, population=12, generations=12, seed=0)
    assert all((a.genes == b.genes).all() for a, b in zip(history, again, strict=True))
    for options in ({"population": 1, "generations": 2}, {"population": 4, "generations": 0}):
        with pytest.raises(ValueError, match="population"):
            evolve(costs, every, low, high, seed=0, **options)
    with pytest.raises(ValueError, match="bounds"):
        evolve(costs, every, high, low, population=4, generations=2, seed=0)


def test_the_fast_divergence_ranks_like_the_full_one(task, network):
    fast = FastDivergence(network, task, images=300, temperature=1.0)
    full = Divergence(network, task, images=300)
    assert torch.equal(fast.images, full.images)
    tensors = {name: v.detach().numpy() for name, v in network.named_parameters() if v.ndim > 1}
    quick, slow, kept = [], [], []
    for k in (6, 8, 11, 16, 24, 48):
        coded = moea_bins.shared_bins(tensors, k)
        weights = coded.decode()
        quick.append(fast(weights))
        slow.append(full(assemble(network, coded, calibration=task.calibration(seed=0))))
        kept.append(fast(weights, reestimate=False))
        plain = full(assemble(network, coded))
        assert kept[-1] == pytest.approx(plain, rel=0.05, abs=1e-4)
    np.testing.assert_array_equal(np.argsort(quick), np.argsort(slow))
    np.testing.assert_allclose(quick, slow, rtol=0.3, atol=1e-3)
    assert fast(tensors) < 0.01


def test_the_divergence_of_the_first_images_in_float64(task):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    fast = FastDivergence(network, task, images=250, temperature=2.0)
    weights = {"1.weight": np.zeros((10, 64), np.float32)}
    first = fast(weights, images=200)
    assert first != fast(weights)
    p, q = (z.double() / 2 for z in (fast.float_logits[:200], network[1].bias.detach()))
    log_ratio = p.log_softmax(1) - q.log_softmax(0)
    assert first == pytest.approx(4 * float((p.softmax(1) * log_ratio).sum(1).mean()))
    with pytest.raises(ValueError, match="image"):
        FastDivergence(network, task, images=0)
    with pytest.raises(ValueError, match="temperature"):
        FastDivergence(network, task, images=10, temperature=0.0)


def test_stored_precision_is_that_of_the_file(task):
    network = task.network(seed=0).eval()
    fast = FastDivergence(network, task, images=120)
    tensors = {name: v.detach().numpy() for name, v in network.named_parameters() if v.ndim > 1}
    fast(tensors, mantissa=3)
    file = assemble(fast.module, Coded({}, {}), mantissa=3)
    state = file.decode()
    for name, norm in fast.module.named_modules():
        if isinstance(norm, nn.BatchNorm2d):
            np.testing.assert_allclose(state[f"{name}.weight"], norm.weight.detach(), rtol=1e-6)
            np.testing.assert_allclose(state[f"{name}.bias"], norm.bias.detach(), rtol=1e-6)
    assert all(np.count_nonzero(rows.view(np.uint16) & 0x7F) == 0 for rows in file.batch_norm.values())


def test_rounding_again_takes_the_inputs_of_the_rounded_layers_before(task):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 12, bias=False), nn.Linear(12, 10)).eval()
    tensors = {name: v.detach().numpy() for name, v in network.named_parameters() if v.ndim > 1}
    fast = FastDivergence(network, task, images=60)
    genes = Genes.of(tensors, {}, finest=0.5)
    candidate = genes.uniform(3)
    decoded = round_again(genes, candidate, network, fast.images[:50]).decode()
    decoded = {name: weights.astype(np.float64) for name, weights in decoded.items()}

    x = fast.images[:50].flatten(1).double().numpy().T / 255  # (inputs, n)
    expected = genes.levels(genes.keys(candidate)[0], factors=[[input_factor(x @ x.T)]])
    own = genes.coded([genes.keys(candidate)[0]], [expected])
    np.testing.assert_allclose(decoded["1.weight"], own.decode()["1.weight"], rtol=1e-3)

    x, y = tensors["1.weight"].astype(np.float64) @ x, decoded["1.weight"] @ x
    moments = y @ y.T
    damped = moments + 0.01 * np.trace(moments) / 12 * np.eye(12)
    weights = tensors["2.weight"].astype(np.float64)
    moved = weights + 0.5 * weights @ (x - y) @ y.T @ np.linalg.inv(damped)
    expected = genes.levels(genes.keys(candidate)[1], tensor=moved, factors=[[input_factor(moments)]])
    own = genes.coded([genes.keys(candidate)[1]], [expected])
    agree = np.isclose(decoded["2.weight"], own.decode()["2.weight"], rtol=1e-3)
    assert agree.mean() > 0.97  # sums in float32 may tip a weight that lies between two values
    assert not np.array_equal(decoded["2.weight"], _decoded(genes, candidate)[2]["2.weight"])
