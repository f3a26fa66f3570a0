"""What outputs are worth: metrics over logits (N, C) and labels (N,), and the divergence from a reference."""

from __future__ import annotations

import torch
from torch import Tensor


def top1(logits: Tensor, labels: Tensor) -> float:
    """The share of images whose largest logit is that of their class."""
    return _top(logits, labels, 1)


def top5(logits: Tensor, labels: Tensor) -> float:
    """The share of images whose class is among the five largest logits."""
    return _top(logits, labels, 5)


def _top(logits: Tensor, labels: Tensor, k: int) -> float:
    hits = (logits.topk(k, dim=1).indices == labels[:, None]).any(1)  # (N,)
    return hits.sum().item() / len(labels)


def macro_f1(logits: Tensor, labels: Tensor) -> float:
    """The mean over classes of F1 = 2 TP / (2 TP + FP + FN); classes neither present nor predicted are left out."""
    classes = logits.shape[1]
    predicted = logits.argmax(1)  # (N,)
    hits = torch.bincount(labels[predicted == labels], minlength=classes)  # (C,)
    total = torch.bincount(labels, minlength=classes) + torch.bincount(predicted, minlength=classes)  # (C,)
    return (2 * hits[total > 0] / total[total > 0].double()).mean().item()


def kl_divergence(reference: Tensor, logits: Tensor) -> float:
    """Mean over images of KL(softmax(reference) || softmax(logits)) in nats; both (N, C), computed in float64."""
    log_p = reference.double().log_softmax(1)
    log_q = logits.double().log_softmax(1)
    return (log_p.exp() * (log_p - log_q)).sum(1).mean().item()
