"""Label maps as one plane per class, and weights of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class LabelPlanes(NamedTuple):
    """What is to be learned of each pixel and class; both tensors broadcast to (N, K, H, W)."""

    labels: Tensor  # (N, K, H, W), 1 where the pixel has the class; 0 where ignored
    valid: Tensor  # (N, 1, H, W) or (N, K, H, W), 0 where the pixel is ignored


def at_least_float32(logits: Tensor) -> Tensor:
    """``logits`` in float32, or float64 where they are: sums over pixels overflow in float16."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def label_planes(target: Tensor, scores: Tensor, *, ignore_value: int) -> LabelPlanes:
    """Splits labels into one plane per class, of the dtype of ``scores``.

    Args:
        target: (N, H, W) integer class ids in [0, K), or ``ignore_value``; or, where a pixel may
            have several classes or none, (N, K, H, W) of 0, 1 and ``ignore_value``.
        scores: (N, K, H, W), logits or probabilities; their values are not read.
        ignore_value: marks what no loss is taken of.
    """
    num_classes = scores.shape[1]
    valid = target != ignore_value
    known = torch.where(valid, target, 0)
    if target.dim() == 4:
        if target.shape[1] != num_classes:
            raise ValueError(
                f"The labels have {target.shape[1]} planes, the logits {num_classes} classes."
            )
        return LabelPlanes(known.to(scores.dtype), valid.to(scores.dtype))
    valid = valid[:, None]
    classes = torch.arange(num_classes, device=target.device).view(1, -1, 1, 1)
    labels = (known[:, None] == classes) & valid
    return LabelPlanes(labels.to(scores.dtype), valid.to(scores.dtype))


def weights_per_class(
    class_weights: Tensor | Sequence[float] | None, logits: Tensor
) -> Tensor | None:
    """(K,) weights as ``logits`` (N, K, H, W) want them; None where there are none.

    Raises:
        ValueError: there is another number of weights than of classes.
    """
    if class_weights is None:
        return None
    num_classes = logits.shape[1]
    if len(class_weights) != num_classes:
        raise ValueError(f"class_weights has {len(class_weights)} values, K is {num_classes}.")
    weights = torch.as_tensor(class_weights, dtype=logits.dtype)
    # Straight to a GPU, the host would wait for all that comes before.
    return weights.to(logits.device, non_blocking=True)
