"""Dice loss: one minus the overlap of predicted and true regions (arXiv:1606.04797).

Legend: N images, K classes, H x W pixels.
"""

from __future__ import annotations

from torch import Tensor

from .labels import at_least_float32, label_planes


def dice_loss(logits: Tensor, target: Tensor, *, ignore_value: int, smooth: float = 1.0) -> Tensor:
    """Mean of one minus the soft Dice coefficient, over the classes that the batch holds.

    Args:
        logits: (N, K, H, W) class scores, before softmax.
        target: (N, H, W) int64 class ids in [0, K), or ``ignore_value``.
        ignore_value: the label of pixels without a loss; the loss of these alone is 0.
        smooth: > 0, pixels added to the overlap and to the mean size of the two regions.
    """
    logits = at_least_float32(logits)
    labels, valid = label_planes(target, logits, ignore_value=ignore_value)
    losses = _losses(logits.softmax(dim=1) * valid, labels, smooth)
    occurs = labels.sum(dim=(0, 2, 3)) > 0
    return (losses * occurs).sum() / occurs.sum().clamp_min(1)


def sigmoid_dice_loss(
    logits: Tensor, target: Tensor, *, ignore_value: int, smooth: float = 1.0
) -> Tensor:
    """Mean of one minus the soft Dice coefficient, over all classes: also those to be absent.

    Args:
        logits: (N, K, H, W) scores of K independent questions, before sigmoid.
        target: as :func:`label_planes` takes it.
        ignore_value: the label of pixels without a loss; the loss of these alone is 0.
        smooth: > 0, pixels added to the overlap and to the mean size of the two regions.
    """
    logits = at_least_float32(logits)
    labels, valid = label_planes(target, logits, ignore_value=ignore_value)
    return _losses(logits.sigmoid() * valid, labels, smooth).mean()


def _losses(probabilities: Tensor, labels: Tensor, smooth: float) -> Tensor:
    """One loss per class, (K,), the regions being those of the whole batch."""
    if smooth <= 0:
        raise ValueError(f"smooth={smooth} has to be positive: two empty regions would give 0 / 0.")
    over = (0, 2, 3)
    overlap = (probabilities * labels).sum(dim=over)
    sizes = (probabilities.sum(dim=over) + labels.sum(dim=over)) / 2
    return 1 - (overlap + smooth) / (sizes + smooth)
