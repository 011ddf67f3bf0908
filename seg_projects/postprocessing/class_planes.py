"""The classes of each pixel where it may have several or none."""

from __future__ import annotations

from torch import Tensor


def class_planes(logits: Tensor) -> Tensor:
    """Where each class is, (K, H, W) bool: its score is above 0, so its sigmoid above one half.

    Args:
        logits: (K, H, W) scores of K independent questions, before sigmoid.
    """
    return logits > 0
