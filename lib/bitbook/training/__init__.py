"""Training and evaluation: everything that retrains stands on what is here.

For timings on a machine that does other work too, set `OMP_WAIT_POLICY=PASSIVE`: waiting threads then leave it their
cores.
"""

from __future__ import annotations

from bitbook.training._attack import adversarial_training, pgd
from bitbook.training._augmentation import augment, sample
from bitbook.training._batch_norm import reestimate_batch_norm
from bitbook.training._distillation import distillation
from bitbook.training._evaluation import device, evaluate, inputs, logits
from bitbook.training._fit import History, Objective, cross_entropy, fit
from bitbook.training._masks import Mask, gradual_sparsity, pruning
from bitbook.training._metrics import kl_divergence, macro_f1, top1, top5
from bitbook.training._parametrisation import attach, bake, original
from bitbook.training._recipe import Recipe
from bitbook.training._shared_values import SharedValues, lookup
from bitbook.training._straight_through import Quantiser, StraightThrough, refreshing, straight_through

__all__ = [
    "History",
    "Mask",
    "Objective",
    "Quantiser",
    "Recipe",
    "SharedValues",
    "StraightThrough",
    "adversarial_training",
    "attach",
    "augment",
    "bake",
    "cross_entropy",
    "device",
    "distillation",
    "evaluate",
    "fit",
    "gradual_sparsity",
    "inputs",
    "kl_divergence",
    "logits",
    "lookup",
    "macro_f1",
    "original",
    "pgd",
    "pruning",
    "reestimate_batch_norm",
    "refreshing",
    "sample",
    "straight_through",
    "top1",
    "top5",
]
