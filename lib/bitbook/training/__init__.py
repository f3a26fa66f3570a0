"""Training and evaluation: everything that retrains stands on what is here.

For timings on a machine that does other work too, set `OMP_WAIT_POLICY=PASSIVE`: waiting threads then leave it their
cores.
"""

from bitbook.networks import bake

from ._augmentation import augment, sample
from ._batch_norm import IMAGES, reestimate_batch_norm
from ._evaluation import Batch, batch_length, device, evaluate, evaluating, inputs, joined, logits, run
from ._fit import History, fit
from ._masks import Mask, Pruning, gradual_sparsity
from ._metrics import kl_divergence, macro_f1, top1, top5
from ._objective import Objective, adversarial_training, cross_entropy, distillation, pgd
from ._parametrisation import attach, attached, entering, original
from ._recipe import Recipe, require_ranges
from ._scheme import Quantising, Refreshing, Scheme
from ._shared_values import CodebookTuning, SharedValues, lookup
from ._straight_through import Clustered, Quantiser, StraightThrough, coded, quantise, refresh, straight_through

__all__ = [
    "IMAGES", "Batch", "Clustered", "CodebookTuning", "History", "Mask", "Objective", "Pruning", "Quantiser",
    "Quantising", "Recipe", "Refreshing", "Scheme", "SharedValues", "StraightThrough", "adversarial_training",
    "attach", "attached", "augment", "bake", "batch_length", "coded", "cross_entropy", "device", "distillation",
    "entering", "evaluate", "evaluating", "fit", "gradual_sparsity", "inputs", "joined", "kl_divergence", "logits",
    "lookup", "macro_f1", "original", "pgd", "quantise", "reestimate_batch_norm", "refresh", "require_ranges", "run",
    "sample", "straight_through", "top1", "top5",
]  # fmt: skip
