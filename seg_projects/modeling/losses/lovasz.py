"""Lovasz losses: the Jaccard index as a loss, by its convex extension (arXiv:1705.08790).

Legend: N images, K classes, P = N * H * W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .labels import at_least_float32, label_planes


def lovasz_softmax_loss(logits: Tensor, target: Tensor, *, ignore_value: int) -> Tensor:
    """Mean Lovasz-softmax loss (equation 11) over the classes that the batch holds.

    Args:
        logits: (N, K, H, W) class scores, before softmax.
        target: (N, H, W) int64 class ids in [0, K), or ``ignore_value``.
        ignore_value: the label of pixels without a loss; the loss of these alone is 0.
    """
    logits = at_least_float32(logits)
    labels, valid = label_planes(target, logits, ignore_value=ignore_value)
    errors = (labels - logits.softmax(dim=1)).abs() * valid
    labels = _by_class(labels)
    occurs = labels.sum(dim=1) > 0
    losses = _extended_jaccard(_by_class(errors), labels)
    return (losses * occurs).sum() / occurs.sum().clamp_min(1)


def lovasz_hinge_loss(logits: Tensor, target: Tensor, *, ignore_value: int) -> Tensor:
    """Mean Lovasz hinge (section 3.1) over all classes, each a binary question of its own.

    Args:
        logits: (N, K, H, W) scores of K independent questions, before sigmoid.
        target: as :func:`label_planes` takes it.
        ignore_value: the label of pixels without a loss; the loss of these alone is 0.
    """
    logits = at_least_float32(logits)
    labels, valid = label_planes(target, logits, ignore_value=ignore_value)
    errors = (1 - logits * (2 * labels - 1)).clamp_min(0) * valid
    return _extended_jaccard(_by_class(errors), _by_class(labels)).mean()


def _by_class(planes: Tensor) -> Tensor:
    """(N, K, H, W) to (K, P)."""
    return planes.transpose(0, 1).flatten(start_dim=1)


def _extended_jaccard(errors: Tensor, labels: Tensor) -> Tensor:
    """The Lovasz extension of the Jaccard loss (equations 8 and 9) at ``errors``, (K,).

    Pixels without an error add nothing, wherever they stand: so ignored ones may stay, with error
    0, and nothing depends on how many they are.

    Args:
        errors: (K, P), not negative.
        labels: (K, P), 1 where the pixel has the class, else 0.
    """
    errors, order = errors.sort(dim=1, descending=True)
    labels = labels.gather(1, order)
    found = labels.sum(dim=1, keepdim=True)
    # Of the i + 1 largest errors taken as wrong: true pixels that are left, and the union.
    left = found - labels.cumsum(dim=1)
    union = found + (1 - labels).cumsum(dim=1)
    jaccard = 1 - left / union.clamp_min(1)
    steps = jaccard.diff(dim=1, prepend=jaccard.new_zeros(len(jaccard), 1))
    return torch.linalg.vecdot(errors, steps)
