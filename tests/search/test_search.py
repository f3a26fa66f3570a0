"""The searches for bins on the bundled digits: against the exhaustive sweep, resumed, and on several workers."""

import pickle
import shutil

import bitbook
import joblib
import numpy as np
import pytest
import torch
from bitbook import fpga, networks, training
from bitbook.compression import Divergence, assemble, weight_tensors
from bitbook.methods import moea_bins
from bitbook.search import FastDivergence, Genes, GeneSearch, Point, spread_evenly
from bitbook.search import _genes as meaning
from bitbook.search._workers import Workers
from torch import nn

SMALL = {"fewest": 2, "bins": 40, "images": 120}


@pytest.fixture(scope="module")
def bins(task, network, tmp_path_factory):
    return moea_bins.BinSearch(network, task, folder=tmp_path_factory.mktemp("bins"), **SMALL)


@pytest.fixture(scope="module")
def genes(task, network, tmp_path_factory):
    search = GeneSearch(network, task, images=120, folder=tmp_path_factory.mktemp("genes"))
    search.history = search.evolve(population=6, evaluations=40)
    return search


def test_nsga2_finds_the_front_of_the_exhaustive_sweep(bins, reads):
    history = bins.evolve(population=20, generations=20)
    assert bins.evaluated <= 39
    exact = np.array([(s.loss, s.shared) for s in bins.front(bins.sweep())])
    np.testing.assert_array_equal(history[-1].front_costs, exact)
    assert reads == []


def test_a_solution_costs_what_its_file_does(bins, task, network):
    (solution,) = bins.solutions([13])
    compressed = bins.compressed(solution)
    assert len(compressed.codebooks["shared"]) == solution.shared == np.count_nonzero(bins.counts(solution))
    for name, weights in moea_bins.shared_bins(weight_tensors(network), 13).decode().items():
        np.testing.assert_array_equal(compressed.codes[name].decode(compressed.codebooks), weights)
    outputs = training.logits(compressed.to_module(), bins.loss.images)
    assert 1 - training.macro_f1(outputs, bins.loss.labels) == pytest.approx(solution.loss, abs=0.02)


def test_all_parameters_may_share_values(task, network, tmp_path):
    search = moea_bins.BinSearch(network, task, parameters="all", without=["fc.*"], folder=tmp_path, **SMALL)
    assert search.loss.theta.size == sum(v.size for v in search.loss.tensors.values())
    assert "fc.weight" not in search.loss.tensors
    norm = next(name for name, value in search.loss.tensors.items() if value.ndim == 1)
    (solution,) = search.solutions([10])
    compressed = search.compressed(solution)
    own = dict(search.network.named_parameters())[norm]
    assert "fc.weight" not in compressed.codes and norm not in compressed.codes
    assert own.unique().numel() > 1  # the given network is left alone


def test_merging_keeps_the_reference_and_is_remembered(bins, monkeypatch):
    solution = bins.front(bins.sweep())[0]
    tolerance = max(0.0, solution.loss - bins.reference)
    merged = bins.merge(solution, tolerance=tolerance)
    assert merged.loss <= bins.reference + tolerance + 1e-12
    assert merged.shared < solution.shared
    assert len(bins.compressed(merged).codebooks["shared"]) == merged.shared
    monkeypatch.setattr(bins.loss, "_loss", lambda *_: pytest.fail("scored again"))
    np.testing.assert_array_equal(bins.merge(solution, tolerance=tolerance).groups, merged.groups)


def test_only_solutions_that_reach_the_float_network_are_kept(bins):
    good = moea_bins.Solution(9, 8, bins.reference), moea_bins.Solution(30, 5, bins.reference)
    poor = moea_bins.Solution(8, 7, bins.reference + 0.01)
    assert bins.reaching([*good, poor]) == [good[1], good[0]]
    assert bins.reaching([poor]) == []
    assert bins.reaching([poor], tolerance=0.02) == [poor]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fewest": 5, "bins": 5}, "fewest < bins"),
        ({"fewest": 1, "bins": 5}, "fewest < bins"),
        ({"images": 0}, "image"),
        ({"parameters": "biases"}, "'weights' or 'all'"),
        ({"without": ["nothing"]}, "fits none"),
        ({"without": ["*"]}, "no weights to share"),
        ({"workers": -1}, "workers"),
    ],
)
def test_nonsense_is_refused(task, network, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        moea_bins.BinSearch(network, task, folder=tmp_path, **(SMALL | options))


def test_a_network_without_weights_is_refused(task, tmp_path):
    bare = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten())
    for search in (moea_bins.BinSearch, GeneSearch):
        with pytest.raises(ValueError, match="no weights to share"):
            search(bare, task, images=10, folder=tmp_path)


def test_candidates_cost_the_bytes_of_their_file(genes, task):
    point = genes.front()[0]
    coded = genes.cost.coded(point.genes)
    genes.cost.divergence(coded.decode())
    mantissa = genes.genes.mantissa(point.genes)
    whole = assemble(genes.cost.divergence.module, coded, mantissa=mantissa)
    assert len(whole.to_bytes()) == point.file_bytes


def test_balanced_layers_pay_the_same_for_a_byte(genes, monkeypatch):
    tensors = {name: np.zeros(900) for name in "abcd"}
    sizes, costs = np.array([100.0, 400.0, 900.0, 50.0]), np.array([40.0, 10.0, 300.0, 0.001])

    def points(candidates, **_):
        steps = np.array(candidates)[:, meaning.NETWORK :] - meaning.OFF
        bytes_, divergences = 9000 - steps @ sizes / 8, 2.0 ** (steps / 4) @ costs
        return [Point((), b, d) for b, d in zip(bytes_, divergences, strict=True)]

    monkeypatch.setattr(genes, "points", points)
    monkeypatch.setattr(genes, "genes", Genes(tensors, {}, genes.genes.steps))
    off = genes.balanced(10)
    assert off[3] == 0  # its cost cannot be told from chance
    slopes = np.log2(costs / sizes)  # of divergence over bytes
    assert off[0] <= 0 and np.ptp((slopes + off / 4)[[0, 2]]) < np.ptp(slopes[[0, 2]])
    assert genes.balanced(10, most=1).tolist() == [0, 0, 0, 0]


def test_latency_is_a_third_objective(task, network, tmp_path):
    positions = networks.output_positions(network, networks.image_shape(networks.specification_of(network)))
    latency = fpga.Latency("xc7z020", "accumulate, 8 bits", positions)
    search = GeneSearch(network, task, images=40, latency=latency, folder=tmp_path / "three")
    history = search.evolve(population=4, evaluations=16)
    points = search.points(genes for generation in history for genes in generation.genes)
    everything = {point.costs for point in points}
    for point in points:  # by comparing all pairs
        beaten = any(other != point.costs and all(np.less_equal(other, point.costs)) for other in everything)
        assert beaten != (point.costs in map(tuple, history[-1].front_costs))
    best = min(points, key=lambda point: point.latency)
    file = assemble(search.cost.divergence.module, search.cost.coded(best.genes))
    layers = fpga.layers(file, positions)
    assert best.latency == fpga.search("accumulate, 8 bits", layers, fpga.board("xc7z020")).latency
    assert best.latency < max(point.latency for point in points)
    assert pickle.loads(pickle.dumps(search.cost)).latency == latency  # for workers


@pytest.mark.parametrize("again", [0, 40])
def test_members_are_files_evaluated_in_full(genes, task, network, again):
    divergence = Divergence(network, task, images=120)
    spread = spread_evenly(genes.front(), 3)
    members = genes.members(spread, divergence, again=again)
    assert [m.mode for m in members] == ["rounded again" if again else "searched"] * 3
    for member, point in zip(members, spread, strict=True):
        compressed = bitbook.load(member.file)
        assert member.file.stat().st_size == member.file_bytes == len(compressed.to_bytes())
        assert member.divergence == divergence(compressed)
        assert member.setting == point.divergence
        assert member.file_bytes == pytest.approx(point.file_bytes, rel=0.1 if again else 0.02)
    assert genes.members(spread, divergence, again=again) == members


def test_a_stopped_search_evaluates_nothing_again(genes, task, network, monkeypatch):
    first = genes.front()
    again = GeneSearch(network, task, images=120, folder=genes.folder)
    monkeypatch.setattr(again.cost, "candidate", lambda *_: pytest.fail("evaluated again"))
    again.evolve(population=6, evaluations=40)
    assert again.evaluated == genes.evaluated
    assert again.front() == first
    with pytest.raises(ValueError, match="made with another seed"):
        GeneSearch(network, task, images=120, seed=1, folder=genes.folder)


def test_a_search_that_was_killed_ends_as_if_it_had_not_been(genes, task, network, tmp_path):
    shutil.copytree(genes.folder / "points", tmp_path / "points")
    records = tmp_path / "points" / "records.jsonl"
    lines = records.read_text().splitlines(keepends=True)
    records.write_text("".join(lines[: int(0.7 * len(lines))]) + lines[-1][:20])
    resumed = GeneSearch(network, task, images=120, folder=tmp_path)
    assert 0 < resumed.evaluated < genes.evaluated
    history = resumed.evolve(population=6, evaluations=40)
    assert resumed.front() == genes.front() and resumed.evaluated == genes.evaluated
    np.testing.assert_array_equal(history[-1].front_genes, genes.history[-1].front_genes)


def test_the_waterfall_falls_and_leaves_out_what_does_not_reach_the_target(genes, monkeypatch):
    options = {"fewest": 2, "bins": 64, "again": 40}
    steps = moea_bins.waterfall(genes, target=0.5, **options)
    names = ["64 bins, fixed length", "bin count searched", "neighbours merged", "Huffman code", "our entropy coder"]
    names += ["batch norm re-estimated", "GPTQ rounding", "a step for each layer", "rounded again"]
    assert list(steps) == names
    sizes = list(steps.values())
    assert sizes[0] >= sizes[1] >= sizes[2] > sizes[3] > sizes[5]
    assert sizes[7] == min(p.file_bytes for p in genes.front() if p.divergence <= 0.5)
    assert moea_bins.waterfall(genes, target=1e-12, **options) == {}
    monkeypatch.setattr(FastDivergence, "__call__", lambda *_, **__: pytest.fail("evaluated again"))
    assert moea_bins.waterfall(genes, target=0.5, **options) == steps


def _fronts(task, network, folder, workers):
    options = {"images": 40, "finest": 0.5, "coarsest": 1.0, "workers": workers}
    search = GeneSearch(network, task, folder=folder / "genes", **options)
    history = search.evolve(population=4, evaluations=8)
    bins = moea_bins.BinSearch(network, task, folder=folder / "bins", workers=workers, **SMALL)
    return [*(g.front_costs for g in history), *(g.front_costs for g in bins.evolve(population=4, generations=2))]


def test_the_front_is_the_same_on_two_workers(task, network, tmp_path):
    alone = _fronts(task, network, tmp_path / "alone", 1)
    both = _fronts(task, network, tmp_path / "both", 2)
    for one, other in zip(alone, both, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_the_front_is_the_same_on_a_dask_cluster(task, network, tmp_path):
    alone = _fronts(task, network, tmp_path / "alone", 1)
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        distributed.LocalCluster(**options) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        remote = _fronts(task, network, tmp_path / "dask", 0)
    for one, other in zip(alone, remote, strict=True):
        np.testing.assert_array_equal(one, other)


class Counter:
    """Doubles numbers and tells the threads that it was given."""

    def double(self, number):
        return 2 * number, torch.get_num_threads()


def test_every_call_has_one_thread_and_results_keep_their_order(tmp_path):
    before = torch.get_num_threads()
    for workers in (1, 2):
        found = list(Workers(Counter(), tmp_path, workers=workers).each("double", range(5)))
        assert found == [(2 * number, 1) for number in range(5)]
    assert torch.get_num_threads() == before
