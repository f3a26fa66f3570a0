"""Metrics against scikit-learn, divergence against SciPy's and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from bitbook.training import kl_divergence, macro_f1, top1, top5
from scipy.special import rel_entr, softmax
from sklearn.metrics import accuracy_score, f1_score, top_k_accuracy_score


@pytest.mark.parametrize("classes", [10, 100])
def test_metrics_are_scikit_learns(classes):
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes - 2, 300)  # two classes are never the right one
    outputs = rng.normal(size=(300, classes))
    outputs[np.arange(300), labels] += 1.5
    outputs[:, -1] = -9  # and one of them is never predicted either
    ours = [metric(torch.tensor(outputs), torch.tensor(labels)) for metric in (top1, top5, macro_f1)]
    predicted = outputs.argmax(1)
    theirs = [
        accuracy_score(labels, predicted),
        top_k_accuracy_score(labels, outputs, k=5, labels=np.arange(classes)),
        f1_score(labels, predicted, average="macro"),
    ]
    assert ours == pytest.approx(theirs, abs=1e-12)


def test_divergence_is_the_relative_entropy_of_the_softmax():
    rng = np.random.default_rng(0)
    p, q = rng.normal(size=(2, 50, 7)) * 3
    expected = rel_entr(softmax(p, axis=1), softmax(q, axis=1)).sum(1).mean()
    assert kl_divergence(torch.tensor(p), torch.tensor(q)) == pytest.approx(expected, rel=1e-12)
    half = torch.tensor([[0.0, 0.0]])
    assert kl_divergence(half, torch.tensor([[0.0, math.log(3.0)]])) == pytest.approx(0.5 * math.log(4 / 3))
    assert kl_divergence(half, half + 5) == 0


def test_one_logit_is_a_yes_or_a_no():
    reference, other = torch.tensor([[0.0], [0.0]]), torch.tensor([[math.log(3.0)], [0.0]])
    expected = 0.5 * (0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25))
    assert kl_divergence(reference, other) == pytest.approx(expected)
    assert kl_divergence(reference[:, 0], other[:, 0]) == pytest.approx(expected)


def test_many_labels_are_a_yes_or_a_no_each():
    reference, other = torch.zeros(1, 2), torch.tensor([[math.log(3.0), math.log(3.0)]])
    expected = 2 * (0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25))
    assert kl_divergence(reference, other, labels="many") == pytest.approx(expected)
    assert kl_divergence(reference, other) == pytest.approx(0)
    with pytest.raises(ValueError, match="'one' or 'many'"):
        kl_divergence(reference, other, labels="softmax")


def test_outputs_that_cannot_be_compared_are_refused_and_broken_ones_are_the_worst():
    masked = torch.tensor([[0.0, -math.inf, 1.0]])
    assert kl_divergence(masked, masked) == 0
    assert kl_divergence(torch.zeros(1, 2), torch.tensor([[math.nan, 0.0]])) == math.inf
    for reference, other in (((9, 5), (9, 1)), ((9, 5), (3, 5)), ((0, 5), (0, 5)), ((), ())):
        with pytest.raises(ValueError, match="are compared with"):
            kl_divergence(torch.zeros(reference), torch.zeros(other))
    with pytest.raises(ValueError, match="reference outputs are not finite"):
        kl_divergence(masked * math.nan, masked)


@pytest.mark.parametrize("metric", [top1, top5, macro_f1])
def test_metrics_of_classes_refuse_one_logit(metric):
    for logits in (torch.zeros(4, 1), torch.zeros(0, 9), torch.zeros(4)):
        with pytest.raises(ValueError, match="a metric of its own"):
            metric(logits, torch.zeros(len(logits), dtype=torch.long))
