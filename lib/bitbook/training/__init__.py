"""Training and evaluation: everything that retrains stands on what is here.

For timings on a machine that does other work too, set `OMP_WAIT_POLICY=PASSIVE`: waiting threads then leave it their
cores.
"""

from __future__ import annotations

from bitbook.networks import bake
from bitbook.training._attack import adversarial_training, pgd
from bitbook.training._augmentation import augment, sample
from bitbook.training._batch_norm import IMAGES, reestimate_batch_norm
from bitbook.training._distillation import distillation
from bitbook.training._evaluation import Batch, batch_length, device, evaluate, evaluating, inputs, logits, run
from bitbook.training._fit import History, fit
from bitbook.training._masks import Mask, Pruning, gradual_sparsity
from bitbook.training._metrics import kl_divergence, macro_f1, top1, top5
from bitbook.training._objective import Objective, cross_entropy
from bitbook.training._parametrisation import attach, attached, entering, original
from bitbook.training._recipe import Recipe
from bitbook.training._scheme import Quantising, Refreshing, Scheme
from bitbook.training._shared_values import CodebookTuning, SharedValues, lookup
from bitbook.training._straight_through import (
    Clustered,
    Quantiser,
    StraightThrough,
    coded,
    quantise,
    refresh,
    straight_through,
)

__all__ = [
    "IMAGES",
    "Batch",
    "Clustered",
    "CodebookTuning",
    "History",
    "Mask",
    "Objective",
    "Pruning",
    "Quantiser",
    "Quantising",
    "Recipe",
    "Refreshing",
    "Scheme",
    "SharedValues",
    "StraightThrough",
    "adversarial_training",
    "attach",
    "attached",
    "augment",
    "bake",
    "batch_length",
    "coded",
    "cross_entropy",
    "device",
    "distillation",
    "entering",
    "evaluate",
    "evaluating",
    "fit",
    "gradual_sparsity",
    "inputs",
    "kl_divergence",
    "logits",
    "lookup",
    "macro_f1",
    "original",
    "pgd",
    "quantise",
    "reestimate_batch_norm",
    "refresh",
    "run",
    "sample",
    "straight_through",
    "top1",
    "top5",
]
