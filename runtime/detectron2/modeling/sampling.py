"""Random choice of the elements that a loss is computed on."""

from __future__ import annotations

import torch
from torch import Tensor

from detectron2.layers import nonzero_tuple

__all__ = ["subsample_labels"]


def subsample_labels(
    labels: Tensor, num_samples: int, positive_fraction: float, bg_label: int
) -> tuple[Tensor, Tensor]:
    """Draws positives, then fills up with negatives, without replacement.

    Fewer than ``num_samples`` are drawn where there are not enough negatives.

    Args:
        labels: (R,) with ``bg_label`` for negatives, -1 for ignored, anything else for positives.
        num_samples: how many to draw in all.
        positive_fraction: the largest share of positives among ``num_samples``.
        bg_label: the label of negatives.

    Returns:
        Indices of the positives and of the negatives, int64, in random order.
    """
    positive = nonzero_tuple((labels != -1) & (labels != bg_label))[0]
    negative = nonzero_tuple(labels == bg_label)[0]
    num_positive = min(positive.numel(), int(num_samples * positive_fraction))
    num_negative = min(negative.numel(), num_samples - num_positive)
    # The positives are drawn first: seeded choices are those of Detectron2.
    return _draw(positive, num_positive), _draw(negative, num_negative)


def _draw(indices: Tensor, count: int) -> Tensor:
    """``count`` of the ``indices``, at random."""
    return indices[torch.randperm(indices.numel(), device=indices.device)[:count]]
