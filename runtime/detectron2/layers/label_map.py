"""From class scores to labels."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["label_map"]


def label_map(scores: Tensor) -> Tensor:
    """Class of the highest score of each pixel; the first one where several are equal.

    Args:
        scores: (K, H, W).

    Returns:
        (H, W), uint8 for up to 256 classes, else int64.
    """
    dtype = torch.uint8 if len(scores) <= 256 else torch.int64
    if scores.device.type != "cpu":
        return scores.argmax(dim=0).to(dtype)
    # Several times faster than argmax(0), which jumps through memory.
    best = scores[0].clone()
    labels = torch.zeros(best.shape, dtype=dtype)
    for index in range(1, len(scores)):
        labels.masked_fill_(scores[index] > best, index)
        torch.maximum(best, scores[index], out=best)
    return labels
