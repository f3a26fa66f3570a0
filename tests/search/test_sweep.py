"""A sweep on the bundled digits: its files, its sizes, its resumption, and that it never sees a test image."""

import bitbook
import numpy as np
import pytest
import torch
from bitbook import training
from bitbook.compression import assemble, measure, weight_tensors
from bitbook.methods import moea_bins
from bitbook.search import _sweep, sweep
from torch import nn


def test_every_candidate_is_a_file_with_its_own_size(task, network, tmp_path, reads):
    candidates = sweep(network, task, moea_bins.shared_bins, [4, 16], folder=tmp_path, images=50)
    modes = ("compensated", "plain", "re-estimated")
    assert [(c.setting, c.mode) for c in candidates] == [(k, t) for t in modes for k in (4, 16)]
    for c in candidates:
        assert c.file.stat().st_size == c.file_bytes == bitbook.load(c.file).ledger().total
        assert c.entropy_bytes <= c.huffman_bytes <= c.fixed_bytes
        n = sum(t.size for t in weight_tensors(network).values())
        assert c.fixed_bytes == pytest.approx(n * np.ceil(np.log2(c.shared)) / 8)
    assert reads == []


def test_a_stopped_sweep_evaluates_nothing_twice(task, network, tmp_path, monkeypatch):
    first = sweep(network, task, moea_bins.shared_bins, [4], folder=tmp_path, images=50)
    made = []
    monkeypatch.setattr(_sweep, "assemble", lambda *a, **k: made.append(1) or assemble(*a, **k))
    again = sweep(network, task, moea_bins.shared_bins, [4, 5], folder=tmp_path, images=50)
    assert len(made) == 3  # the new bin count, in each mode
    assert [c for c in again if c.setting == 4] == first


def test_an_empty_range_is_refused(task, network, tmp_path):
    with pytest.raises(ValueError, match=r"one setting, and \[\] holds none"):
        sweep(network, task, moea_bins.shared_bins, [], folder=tmp_path)


def test_an_unknown_mode_is_refused(task, network, tmp_path):
    with pytest.raises(ValueError, match="modes are"):
        sweep(network, task, moea_bins.shared_bins, [4], folder=tmp_path, modes=["magic"])


def test_divergence_is_that_of_the_outputs_in_float64(task, network, tmp_path):
    (candidate,) = sweep(network, task, moea_bins.shared_bins, [6], folder=tmp_path, images=64, modes=["plain"], seed=3)
    images = task.calibration(64, seed=1_000_003)
    p = torch.log_softmax(training.logits(network, images).double(), 1)
    q = torch.log_softmax(training.logits(bitbook.load(candidate.file).to_module(), images).double(), 1)
    assert candidate.divergence == pytest.approx(float((p.exp() * (p - q)).sum(1).mean()), rel=1e-4)


def test_assemble_leaves_the_network_alone_and_reestimates(task, network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    coded = moea_bins.shared_bins(weight_tensors(network), 8)
    kept = assemble(network, coded)
    anew = assemble(network, coded, calibration=task.calibration(seed=0))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    norm = next(iter(kept.batch_norm))
    assert not np.array_equal(kept.batch_norm[norm], anew.batch_norm[norm])


def test_files_meet_the_test_set_once(task, network, tmp_path, reads):
    file = tmp_path / "a.bitbook"
    moea_bins.compress(network, task, bins=16).save(file)
    values = measure([file], task, folder=tmp_path / "tested")
    assert measure([file], task, folder=tmp_path / "tested") == values
    assert reads == [task.data.name]
    test = task.test()
    expected = training.evaluate(bitbook.load(file).to_module(), test.images, test.labels, task.metrics)
    assert values[file] == expected


def test_a_folder_of_another_sweep_is_refused_and_only_what_is_asked_for_returned(task, network, tmp_path):
    options = {"folder": tmp_path, "images": 50, "modes": ["plain"]}
    sweep(network, task, moea_bins.shared_bins, np.arange(4, 7), **options)
    (candidate,) = sweep(network, task, moea_bins.shared_bins, [5], **options)
    assert candidate.setting == 5
    with pytest.raises(ValueError, match="made with another seed"):
        sweep(network, task, moea_bins.shared_bins, [5], seed=1, **options)


@pytest.mark.parametrize("epsilon", [1e-3, None])
def test_a_module_of_ones_own_with_its_own_epsilon(task, epsilon, tmp_path):
    torch.manual_seed(0)
    norms = [nn.BatchNorm2d(4, eps=epsilon or 1e-5), nn.BatchNorm2d(4, eps=epsilon or 1e-4)]
    layers = [nn.Conv2d(1, 4, 3), norms[0], nn.Conv2d(4, 4, 3), norms[1], nn.Flatten(), nn.Linear(64, 10)]
    own = nn.Sequential(*layers).eval()
    for norm in norms:
        norm.running_var.fill_(1e-4)
    coded = moea_bins.shared_bins(weight_tensors(own), 5000)
    assemble(own, coded).save(tmp_path / "own.bitbook")
    images = task.calibration(20, seed=0)
    with pytest.raises(ValueError, match="no network of bitbook"):
        bitbook.load(tmp_path / "own.bitbook").to_module()
    expected = training.logits(own, images)
    back = bitbook.load(tmp_path / "own.bitbook").to_module(into=own)
    torch.testing.assert_close(training.logits(back, images), expected, rtol=0.01, atol=0.01 * float(expected.std()))
