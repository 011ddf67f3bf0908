"""Focal loss: cross entropy that turns away from what is easy (arXiv:1708.02002).

Legend: N images, K classes, H x W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .labels import at_least_float32, label_planes


def focal_loss(logits: Tensor, target: Tensor, *, ignore_value: int, gamma: float = 2.0) -> Tensor:
    """Mean of ``-(1 - p)^gamma ln p`` (equation 4), p being the true class's probability.

    Args:
        logits: (N, K, H, W) class scores, before softmax.
        target: (N, H, W) int64 class ids in [0, K), or ``ignore_value``.
        ignore_value: the label of pixels without a loss; the loss of these alone is 0.
        gamma: >= 0; 0 is cross entropy.
    """
    logits = at_least_float32(logits)
    _check_gamma(gamma)
    log_p = -F.cross_entropy(logits, target, ignore_index=ignore_value, reduction="none")
    # Bounded, because the derivative of x^gamma at 0 is infinite for gamma < 1.
    missing = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).eps)
    valid = (target != ignore_value).sum().clamp_min(1)
    return -(missing**gamma * log_p).sum() / valid


def sigmoid_focal_loss(
    logits: Tensor, target: Tensor, *, ignore_value: int, gamma: float = 2.0, alpha: float = -1.0
) -> Tensor:
    """Mean focal loss over labelled pixels and classes; 0 without any.

    Args:
        logits: (N, K, H, W) scores of K independent questions, before sigmoid.
        target: as :func:`label_planes` takes it.
        ignore_value: the label of pixels without a loss.
        gamma: >= 0; 0 is binary cross entropy.
        alpha: in [0, 1], the weight of pixels that have the class, 1 - alpha being that of the
            others (equation 5); negative for weight 1 of both.
    """
    logits = at_least_float32(logits)
    from fvcore.nn.focal_loss import sigmoid_focal_loss as focal

    _check_gamma(gamma)
    labels, valid = label_planes(target, logits, ignore_value=ignore_value)
    loss = focal(logits, labels, alpha=alpha, gamma=gamma, reduction="none") * valid
    return loss.sum() / valid.expand_as(loss).sum().clamp_min(1)


def _check_gamma(gamma: float) -> None:
    if gamma < 0:
        raise ValueError(f"gamma={gamma} is negative: easy pixels would weigh more; 2 is usual.")
