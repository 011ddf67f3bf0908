"""Cross entropy over the labelled pixels.

Legend: N images, K classes, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .labels import at_least_float32, label_planes, weights_per_class


def cross_entropy_loss(
    logits: Tensor,
    target: Tensor,
    *,
    ignore_value: int,
    class_weights: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Mean cross entropy, in nats, of the labelled pixels; 0 where there is none.

    Args:
        logits: (N, K, H, W) class scores, before softmax.
        target: (N, H, W) int64 class ids in [0, K), or ``ignore_value``.
        ignore_value: the label of pixels without a loss.
        class_weights: K weights of the pixels, by their class; the mean is weighted with them.
        label_smoothing: in [0, 1): the share of the label that is spread over all classes.
    """
    logits = at_least_float32(logits)
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing={label_smoothing} is outside [0, 1).")
    num_classes = logits.shape[1]
    weights = weights_per_class(class_weights, logits)
    if weights is None:
        weights = logits.new_ones(num_classes)
    total = F.cross_entropy(
        logits,
        target,
        weight=weights,
        ignore_index=ignore_value,
        label_smoothing=label_smoothing,
        reduction="sum",
    )
    valid = target != ignore_value
    weight = (weights[torch.where(valid, target, 0)] * valid).sum()
    return total / weight.clamp_min(torch.finfo(weight.dtype).tiny)


def sigmoid_cross_entropy_loss(logits: Tensor, target: Tensor, *, ignore_value: int) -> Tensor:
    """Mean binary cross entropy, in nats, over labelled pixels and classes; 0 without any.

    Args:
        logits: (N, K, H, W) scores of K independent questions, before sigmoid.
        target: as :func:`label_planes` takes it.
        ignore_value: the label of pixels without a loss.
    """
    logits = at_least_float32(logits)
    labels, valid = label_planes(target, logits, ignore_value=ignore_value)
    loss = F.binary_cross_entropy_with_logits(logits, labels, reduction="none") * valid
    return loss.sum() / valid.expand_as(loss).sum().clamp_min(1)
