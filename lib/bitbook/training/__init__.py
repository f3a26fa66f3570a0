"""Training and evaluation: everything that retrains stands on what is here.

For timings on a machine that does other work too, set `OMP_WAIT_POLICY=PASSIVE`: waiting threads then leave it their
cores.
"""

from __future__ import annotations

from bitbook.training.augmentation import augment, sample
from bitbook.training.batch_norm import reestimate_batch_norm
from bitbook.training.evaluation import evaluate, inputs, logits
from bitbook.training.fit import History, cross_entropy, fit
from bitbook.training.metrics import kl_divergence, macro_f1, top1, top5
from bitbook.training.recipe import Recipe

__all__ = [
    "History",
    "Recipe",
    "augment",
    "cross_entropy",
    "evaluate",
    "fit",
    "inputs",
    "kl_divergence",
    "logits",
    "macro_f1",
    "reestimate_batch_norm",
    "sample",
    "top1",
    "top5",
]
