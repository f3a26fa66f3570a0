"""The numbers of all options are checked where they enter: none out of range begins a training."""

from __future__ import annotations

import math
from functools import partial

import pytest
from bitbook.compression import LSQ, Retraining
from bitbook.methods import admm, dpnet, permuted_vq, self_compression
from bitbook.training import Recipe, Refreshing

COUNT = [0, -1, 10**12, math.nan]  # of what there has to be one of
NUMBER = [-1e-9, math.nan, math.inf, -math.inf]  # that may be zero
SHARE = [*NUMBER, 1.001]
OPTIONS = [
    (partial(Recipe, epochs=1), {"epochs": NUMBER, "batch_size": COUNT, "learning_rate": NUMBER, "momentum": SHARE}),
    (
        partial(Recipe, epochs=1),
        {"weight_decay": NUMBER, "warmup": SHARE, "label_smoothing": SHARE, "averaging": SHARE},
    ),
    (partial(Retraining, epochs=1), {"epochs": NUMBER, "codebook_epochs": NUMBER, "distil": SHARE}),
    (partial(Retraining, epochs=1), dict.fromkeys(("learning_rate", "codebook_learning_rate", "weight_decay"), NUMBER)),
    (Refreshing, {"every": COUNT, "until": SHARE}),
    (LSQ, {"k": [1, *COUNT, {"a": 2, "b": 1}]}),
    (partial(dpnet.DPQ, k=2), {"k": [*COUNT, {"a": 0}], "every": COUNT, "until": SHARE}),
    (partial(dpnet.DPR, k=2), {"k": COUNT, "every": COUNT, "until": SHARE, "strength": NUMBER, "ramp": SHARE}),
    (partial(dpnet.Attack, epsilon=0.1, steps=1), {"epsilon": SHARE, "steps": COUNT}),
    (partial(dpnet.Schedule, ratio=8, epochs=1), {"ratio": COUNT, "epochs": NUMBER, "bits": COUNT, "values": COUNT}),
    (partial(dpnet.Schedule, ratio=8, epochs=1), {"every": COUNT, "temperature": COUNT}),
    (partial(dpnet.Schedule, ratio=8, epochs=1), dict.fromkeys(("ramp", "frozen", "share"), SHARE)),
    (
        partial(self_compression.SelfCompression, gamma=1),
        {"gamma": NUMBER, "depth": [*COUNT, 17], "every": NUMBER, "whole_from": [*SHARE, 1]},
    ),
    (partial(self_compression.SelfCompression, gamma=1), dict.fromkeys(("learning_rate", "epsilon", "push"), NUMBER)),
    (partial(admm.Training, epochs=1), {"epochs": NUMBER, "rounds": COUNT, "growth": COUNT}),
    (partial(admm.Training, epochs=1), {"learning_rate": NUMBER, "rho": NUMBER}),
    (partial(admm.Schedule, prune=()), {"ramp": SHARE, "share": SHARE, "temperature": COUNT, "batch_size": COUNT}),
    (permuted_vq.Blocks, dict.fromkeys(("k", "linear_k", "kernels", "pointwise", "linear"), COUNT)),
    (permuted_vq.Quantisation, {"iterations": COUNT, "sparsity": SHARE}),
]


@pytest.mark.parametrize(("make", "wrong"), OPTIONS)
def test_numbers_out_of_range_are_refused_by_name(make, wrong):
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(ValueError, match=rf"\w+: {name} is .*, not from [\de.+-]+ to [\de.+-]+$"):
                make(**{name: value})


@pytest.mark.parametrize("policy", ["nope", "crop", "crop-1", "crop1+", "flip2", "cutout9999999"])
def test_a_policy_that_is_none_is_refused_before_training(policy):
    with pytest.raises(ValueError, match="augmentation policy"):
        Recipe(epochs=1, augmentation=policy)


def test_a_small_part_of_a_kernel_is_a_block_of_one_weight(network):
    sizes = permuted_vq.Blocks(kernels=0.01).sizes(network)
    shapes = {name: value.ndim for name, value in network.named_parameters()}
    assert {d for name, (_, d) in sizes.items() if shapes[name] == 4} == {1}
