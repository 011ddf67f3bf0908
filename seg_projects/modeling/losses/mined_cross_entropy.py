"""Cross entropy of the hardest pixels alone.

Legend: N images, K classes, H x W pixels.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from .labels import label_planes


def hard_pixel_cross_entropy_loss(
    logits: Tensor, target: Tensor, *, ignore_value: int, fraction: float = 0.2
) -> Tensor:
    """Mean cross entropy, in nats, of the hardest ``fraction`` of the pixels (arXiv:1902.05093).

    Args:
        logits: (N, K, H, W) class scores, before softmax.
        target: (N, H, W) int64 class ids in [0, K), or ``ignore_value``.
        ignore_value: the label of pixels that count with loss 0.
        fraction: in (0, 1], of all pixels of the batch.
    """
    loss = F.cross_entropy(logits, target, ignore_index=ignore_value, reduction="none")
    return _mean_of_hardest(loss, fraction)


def sigmoid_hard_pixel_cross_entropy_loss(
    logits: Tensor, target: Tensor, *, ignore_value: int, fraction: float = 0.2
) -> Tensor:
    """Mean binary cross entropy, in nats, of the hardest ``fraction`` of pixels and classes.

    Args:
        logits: (N, K, H, W) scores of K independent questions, before sigmoid.
        target: as :func:`label_planes` takes it.
        ignore_value: the label of pixels that count with loss 0.
        fraction: in (0, 1], of all answers, pixels times classes.
    """
    labels, valid = label_planes(target, logits.shape[1], ignore_value=ignore_value)
    loss = F.binary_cross_entropy_with_logits(logits, labels, reduction="none") * valid
    return _mean_of_hardest(loss, fraction)


def _mean_of_hardest(loss: Tensor, fraction: float) -> Tensor:
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction={fraction} is outside (0, 1]; 0.2 keeps the hardest fifth.")
    if loss.numel() == 0:
        return loss.sum()
    # Ignored pixels count, with loss 0, as in DeepLab: k follows from the shape alone.
    return loss.flatten().topk(max(1, int(fraction * loss.numel()))).values.mean()
