"""Distillation against its closed form and gradient in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bitbook.training import cross_entropy
from bitbook.training._objective import distillation
from scipy.special import log_softmax, rel_entr, softmax
from torch import nn

RNG = torch.Generator().manual_seed(0)
IMAGES = torch.randn(5, 4, dtype=torch.float64, generator=RNG)
LABELS = torch.tensor([0, 2, 1, 1, 0])


def linear(seed):
    network = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5)).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(seed))
    return network


def test_the_loss_is_hintons():
    teacher, student = linear(1).train(), linear(2).eval()
    p, q = (network.eval()(IMAGES).detach().numpy() for network in (teacher, student))
    teacher.train()  # the objective runs it in evaluation mode and puts it back
    soft = rel_entr(softmax(p / 3, axis=1), softmax(q / 3, axis=1)).sum(1).mean()
    hard = -log_softmax(q, axis=1)[np.arange(5), LABELS].mean()
    loss = distillation(teacher, temperature=3.0, share=0.7)(student, IMAGES, LABELS)
    assert loss.item() == pytest.approx(0.7 * 9 * soft + 0.3 * hard, rel=1e-12)
    assert teacher.training and teacher[1].training


def test_the_gradient_with_respect_to_outputs_is_t_times_the_difference_of_probabilities():
    teacher, student = linear(1).eval(), linear(2).eval()
    loss = distillation(teacher, temperature=3.0, share=1.0)(student, IMAGES, LABELS)
    loss.backward()
    p, q = ((network(IMAGES) / 3).softmax(1).detach() for network in (teacher, student))
    outputs = 3 * (q - p) / 5  # T^2 / T, the mean over five images
    torch.testing.assert_close(student[0].weight.grad, outputs.T @ IMAGES)
    assert teacher[0].weight.grad is None


def test_without_a_share_it_is_the_cross_entropy():
    student = linear(2).eval()
    loss = distillation(linear(1), share=0.0)(student, IMAGES, LABELS)
    assert loss.item() == pytest.approx(cross_entropy()(student, IMAGES, LABELS).item(), rel=1e-12)
