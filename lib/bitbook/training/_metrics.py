"""What outputs are worth: metrics over logits (N, C) and labels (N,), and the divergence from a reference."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def top1(logits: Tensor, labels: Tensor) -> float:
    """The share of images whose largest logit is that of their class."""
    return _top(logits, labels, 1)


def top5(logits: Tensor, labels: Tensor) -> float:
    """The share of images whose class is among the five largest logits."""
    return _top(logits, labels, 5)


def _top(logits: Tensor, labels: Tensor, k: int) -> float:
    _check(logits, labels, max(k, 2))
    hits = (logits.topk(k, dim=1).indices == labels[:, None]).any(1)  # (N,)
    return hits.sum().item() / len(labels)


def _check(logits: Tensor, labels: Tensor, fewest: int) -> None:
    if logits.ndim != 2 or logits.shape[1] < fewest or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(
            f"this metric takes logits (N, {fewest} classes or more) and labels (N,), not {tuple(logits.shape)} and "
            f"{tuple(labels.shape)}: give the task a metric of its own"
        )


def macro_f1(logits: Tensor, labels: Tensor) -> float:
    """The mean over classes of F1 = 2 TP / (2 TP + FP + FN); classes neither present nor predicted are left out."""
    _check(logits, labels, 2)
    classes = logits.shape[1]
    predicted = logits.argmax(1)  # (N,)
    hits = torch.bincount(labels[predicted == labels], minlength=classes)  # (C,)
    total = torch.bincount(labels, minlength=classes) + torch.bincount(predicted, minlength=classes)  # (C,)
    return (2 * hits[total > 0] / total[total > 0].double()).mean().item()


def kl_divergence(reference: Tensor, logits: Tensor, *, labels: str = "one") -> float:
    """Mean Kullback-Leibler divergence of outputs from reference outputs, in nats an image, computed in float64.

    Args:
        reference: (N, C) logits, or (N,) for one class.
        logits: of the same shape; where they are NaN the divergence is infinite.
        labels: "one" label an image: softmax, or for a single logit, whose softmax says nothing, the sigmoid; "many":
            a sigmoid for each class, summed.
    """
    if labels not in ("one", "many"):
        raise ValueError(f"labels are 'one' or 'many' an image, not {labels!r}")
    if reference.shape != logits.shape or not reference.numel() or not reference.ndim:
        raise ValueError(f"outputs {tuple(logits.shape)} are compared with reference outputs {tuple(reference.shape)}")
    if reference.isnan().any() or reference.isposinf().any():
        raise ValueError("the reference outputs are not finite: check the network's weights and inputs")
    p, q = reference.double(), logits.double()
    if labels == "many" or p.ndim < 2 or p.shape[1] == 1:
        p, q = (F.logsigmoid(torch.stack([x, -x], 1)) for x in (p, q))  # (N, 2, C): log of yes, log of no
    else:
        p, q = p.log_softmax(1), q.log_softmax(1)
    divergence = torch.where(p == -torch.inf, 0.0, p.exp() * (p - q))
    mean = divergence.sum(1).mean().item() if labels == "one" else divergence.flatten(1).sum(1).mean().item()
    return mean if mean == mean else math.inf
